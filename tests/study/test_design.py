"""Orders are balanced: counted, for many sizes."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from openvmas.study.session import Comparison, comparison_at, part_order, rating_round, shuffle_apart, williams


@pytest.mark.parametrize("n", range(1, 12))
def test_williams_rows_balance_places_and_neighbours(n: int) -> None:
    rows = williams(n)
    assert len(rows) == (n if n % 2 == 0 or n == 1 else 2 * n)
    assert all(sorted(row) == list(range(n)) for row in rows)
    places = Counter((place, value) for row in rows for place, value in enumerate(row))
    assert set(places.values()) == {len(rows) // n}
    neighbours = Counter(pair for row in rows for pair in itertools.pairwise(row))
    if n > 1:
        assert len(neighbours) == n * (n - 1)
        assert len(set(neighbours.values())) == 1


@pytest.mark.parametrize(("n_clips", "n_pairs"), [(1, 1), (2, 3), (4, 6), (5, 6), (6, 3), (12, 15), (7, 1)])
def test_dealing_goes_through_all_cells_and_changes_sides(n_clips: int, n_pairs: int) -> None:
    generator = np.random.default_rng(0)
    clips, pairs = generator.permutation(n_clips).tolist(), generator.permutation(n_pairs).tolist()
    size = n_clips * n_pairs
    dealt = [comparison_at(i, clips, pairs) for i in range(2 * size)]
    for end in range(1, 2 * size):  # after any number of answers, and so of listeners
        counts = Counter((cell.clip, cell.pair) for cell in dealt[:end])
        assert max(counts.values()) - (min(counts.values()) if len(counts) == size else 0) <= 1
        n_each = Counter(cell.clip for cell in dealt[:end])
        assert max(n_each.values()) - (min(n_each.values()) if len(n_each) == n_clips else 0) <= 1
    sides = Counter((cell.clip, cell.pair, cell.is_swapped) for cell in dealt)
    assert len(sides) == 2 * size and set(sides.values()) == {1}
    for pair in range(n_pairs):  # in the first half already, over clips
        n_swapped = sum(cell.is_swapped for cell in dealt[:size] if cell.pair == pair)
        assert abs(2 * n_swapped - n_clips) <= 1


@pytest.mark.parametrize(("n_conditions", "n_clips"), [(4, 3), (4, 4), (5, 4), (6, 10), (3, 1)])
def test_ratings_balance_conditions_places_and_clips(n_conditions: int, n_clips: int) -> None:
    n_rows = len(williams(n_conditions))
    n_rounds = n_rows * n_clips * 2
    rounds = [rating_round(number, n_conditions, list(range(n_clips))) for number in range(n_rounds)]
    assert all(sorted(condition for condition, _ in heard) == list(range(n_conditions)) for heard in rounds)
    cells = Counter(cell for heard in rounds for cell in heard)
    assert len(cells) == n_conditions * n_clips
    assert max(cells.values()) - min(cells.values()) <= 2
    places = Counter((place, condition) for heard in rounds for place, (condition, _) in enumerate(heard))
    assert len(set(places.values())) == 1


def test_parts_come_in_every_order() -> None:
    orders = Counter(part_order(block, ["a", "b", "c"]) for block in range(60))
    assert len(orders) == 6 and set(orders.values()) == {10}
    assert part_order(3, []) == ()


def test_neighbours_of_one_clip_are_rare() -> None:
    cells = [Comparison(i % 4, i, False) for i in range(8)]
    found = shuffle_apart(cells, np.random.default_rng(1))
    assert sorted(cell.pair for cell in found) == list(range(8))
    assert sum(a.clip == b.clip for a, b in itertools.pairwise(found)) == 0
    assert shuffle_apart([], np.random.default_rng(1)) == []
