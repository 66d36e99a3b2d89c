"""Likelihood of melodies under models that are not learned by a network: intervals that are counted, and the rules."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from musicxml_melodies import Segment

from openvmas.symbolic.form import Slot
from openvmas.symbolic.harmony import MODES, Harmony, Key
from openvmas.symbolic.melodist.events import N_PITCHES, REACH
from openvmas.symbolic.melody import MelodyNote, move_costs, parallel_costs, pitch_costs

SHARES = (2.0, 6.0, 20.0)  # of the model with less context, in counts (Witten-Bell like smoothing)
SHARPNESS = (0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)  # of the rules' Boltzmann distribution, tried on validation
OUTSIDE = 12.0  # cost of a tone outside the scale, which the rules forbid and composers write


def _contexts(segment: Segment, number: int, pitches: np.ndarray) -> list[tuple]:
    """Contexts of the next pitch, from the least to the most: harmony, the last interval, place and length."""
    event = segment.events[number]
    strong = 2 if event.place % 8 == 0 else 1 if event.place % 4 == 0 else 0
    twin = -99 if event.twin < 0 else segment.pitches[event.twin] - (segment.pitches[number - 1] if number else 0)
    before = segment.pitches[number - 1] - segment.pitches[number - 2] if number > 1 else 99
    shape = (event.root, 4 in {(t - event.root) % 12 for t in event.tones}, segment.is_minor)
    last = segment.pitches[number - 1] % 12 if number else 12
    return [(), (last,), (last, *shape), (last, *shape, np.clip(before, -5, 5), strong, twin if twin == -99 else 0),
            (last, *shape, strong, twin)]  # fmt: skip


def interval_likelihood(train: Sequence[Segment], test: Sequence[Segment]) -> float:
    """Mean negative log-likelihood, nats a note, of counted intervals with ever more context, smoothed by the
    model with less of it. The first note of a segment is counted about the reference."""
    counts: list[dict[tuple, np.ndarray]] = [defaultdict(lambda: np.zeros(2 * N_PITCHES)) for _ in range(5)]

    def each(segment: Segment):
        for i, pitch in enumerate(segment.pitches):
            here = int(np.clip(pitch, -REACH, REACH))
            from_ = int(np.clip(segment.pitches[i - 1], -REACH, REACH)) if i else 0
            yield i, here - from_ + N_PITCHES - 1, from_

    for segment in train:
        for i, move, _ in each(segment):
            for level, context in enumerate(_contexts(segment, i, np.zeros(0))):
                counts[level][level, i == 0, *context][move] += 1
    total, n = 0.0, 0
    for segment in test:
        for i, move, from_ in each(segment):
            chance = np.full(2 * N_PITCHES, 1.0)
            moves = np.arange(2 * N_PITCHES) - N_PITCHES + 1 + from_
            chance[np.abs(moves) > REACH] = 0.0
            chance /= chance.sum()
            for level, context in enumerate(_contexts(segment, i, np.zeros(0))):
                seen = counts[level].get((level, i == 0, *context))
                if seen is not None:
                    kinds = SHARES[1] + 0.6 * np.count_nonzero(seen)
                    chance = (seen + kinds * chance) / (seen.sum() + kinds)
            total -= math.log(chance[move])
            n += 1
    return total / n


def rules_likelihood(validation: Sequence[Segment], test: Sequence[Segment]) -> float:
    """Mean negative log-likelihood, nats a note, under the costs of the rules; how sharp they are and how much of the
    time a composer breaks them is fitted on validation."""
    fitted = [(rules_costs(validation[::4], sharpness, share), sharpness, share)
              for sharpness in SHARPNESS for share in (0.02, 0.05, 0.1)]  # fmt: skip
    _, sharpness, share = min(fitted)
    return rules_costs(test, sharpness, share)


_kept: dict[int, list[tuple[np.ndarray, int]]] = {}


def rules_costs(segments: Sequence[Segment], sharpness: float, share: float) -> float:
    """See rules_likelihood; share: of notes that follow no rule."""
    total, n = 0.0, 0
    for segment in segments:
        if id(segment) not in _kept:
            _kept[id(segment)] = list(_costs_of(segment))
        for costs, pitch in _kept[id(segment)]:
            chances = np.exp(-sharpness * (costs - costs.min()))
            chances = (1 - share) * chances / chances.sum() + share / N_PITCHES
            total -= math.log(chances[pitch])
            n += 1
    return total / n


def _costs_of(segment: Segment):
    pitches = np.arange(-REACH, REACH + 1)
    mode = "minor" if segment.is_minor else "major"
    key = Key(0, mode)
    for i, event in enumerate(segment.events):
        tones = tuple(dict.fromkeys(event.tones))
        scale = tuple(sorted({*MODES[mode][0], *tones}))
        slot = Slot(0.0, 99.0, Harmony(event.root, tones, "", scale), key)
        contour = event.contour or 0.0
        note = MelodyNote(event.place / 4, event.length / 4, contour, event.left == 0)
        costs = np.minimum(pitch_costs(note, slot, pitches, "mode"), OUTSIDE)
        if i:
            last = int(np.clip(segment.pitches[i - 1], -REACH, REACH))
            costs = costs + move_costs(np.abs(pitches - last))
            basses = (segment.events[i - 1].bass, event.bass)
            if min(basses) >= 0:
                costs = costs + np.minimum(parallel_costs(np.array([last]), pitches, *basses)[0], 4.0)
        yield costs, int(np.clip(segment.pitches[i], -REACH, REACH)) + REACH
