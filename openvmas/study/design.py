"""Who hears what, in which order: balanced over listeners, and known from the number of a listener's block alone.

Blocks are numbered from 0. A new listener gets the smallest number that nobody holds, so those who stop early leave no
hole. Everything is derived from the seed and the block; nothing is drawn while the study runs.

- Comparisons are dealt like cards: a fixed endless sequence goes through all (clip, pair of systems) before any comes
  again, clips and pairs both turning, and each listener takes the next few. After any number of blocks the counts of
  any two cells differ by at most one, and a cell's sides change from one time to the next: a balanced incomplete
  block design.
- Ratings follow a Williams design (Williams 1949), in which every condition comes equally often at every place and
  after every other one; the clip of a condition moves on by one from listener to listener (a Latin square).
- The order of the parts runs through all permutations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cell:
    """One comparison: clip and pair by index; is_swapped: the second system of the pair is A."""

    clip: int
    pair: int
    is_swapped: bool


def williams(n: int) -> list[tuple[int, ...]]:
    """Rows of 0 .. n-1: every number equally often at every place and directly after every other; n rows, 2n if n is
    odd."""
    if n < 2:
        return [tuple(range(n))]
    first = [0]
    for step in range(1, n):
        first.append((first[-1] + (step if step % 2 else -step)) % n)
    rows = [tuple((value + shift) % n for value in first) for shift in range(n)]
    return rows if n % 2 == 0 else [*rows, *(row[::-1] for row in rows)]


def deal(index: int, clips: Sequence[int], pairs: Sequence[int]) -> Cell:
    """The comparison at a place of the endless sequence. clips, pairs: a permutation of their indices each."""
    n_clips, n_pairs = len(clips), len(pairs)
    replicate, place = divmod(index, n_clips * n_pairs)
    # Both indices turn; after a whole turn of both, the pairs are shifted by one, so that every cell comes once.
    clip = clips[place % n_clips]
    pair = pairs[(place + place // math.lcm(n_clips, n_pairs)) % n_pairs]
    return Cell(clip, pair, bool((clip + pair + replicate) % 2))


def rating_round(number: int, n_conditions: int, clips: Sequence[int]) -> list[tuple[int, int]]:
    """(condition, clip) in the order heard, for round `number` of all rounds of all listeners."""
    rows = williams(n_conditions)
    row = rows[number % len(rows)]
    # The extra shift keeps places and clips from going in step when their numbers share a factor.
    shift = number + number // math.lcm(len(rows), len(clips))
    return [(condition, clips[(condition + shift) % len(clips)]) for condition in row]


def part_order(block: int, parts: Sequence[str]) -> tuple[str, ...]:
    """The parts of a session in the order of this block."""
    orders = list(itertools.permutations(parts))
    return orders[block % len(orders)]


def spread(cells: list[Cell], generator: np.random.Generator) -> list[Cell]:
    """The cells in random order, with as few neighbours of one clip as a few draws find."""
    orders = [[cells[i] for i in generator.permutation(len(cells))] for _ in range(20)]
    return min(orders, key=lambda order: sum(a.clip == b.clip for a, b in itertools.pairwise(order)), default=cells)
