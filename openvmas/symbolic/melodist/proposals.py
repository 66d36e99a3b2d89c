"""Pitches that a small Transformer proposes, note by note, among those that the rules leave open.

The network (tools/train_melodies.py) knows chord, bass, metre, place, length, phrase, contour and the notes before;
rules take away what is out of range, out of key, parallel to the bass or wrong at a close.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from openvmas.pretrained import open_graph
from openvmas.symbolic.melodist.events import N_PITCHES, REACH, Event, encode, tell_pitch

TEMPERATURE = 0.85
N_LINES = 8  # drawn at a time, of which the likeliest is kept
FORBIDDEN = 400.0  # cost from which a rule is not weighed but kept


class Melodist:
    """The network on ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        self._graph = open_graph(path, 1)
        shape = self._graph.get_inputs()[1].shape  # layers, keys and values, lines, heads, notes before, width
        self._nothing = np.zeros([*shape[:2], N_LINES, shape[3], 0, shape[5]], np.float32)

    def propose(
        self,
        events: Sequence[Event],
        metre: int,
        is_minor: bool,
        cost_of: Callable[[int, Sequence[int]], np.ndarray],
        seed: int,
    ) -> list[int]:
        """A pitch for every event, in semitones about the reference: the best of N_LINES lines that are drawn.

        cost_of(number, pitches so far): what the rules charge for each of N_PITCHES, from −REACH up, in nats. The
        chance of each note is drawn by itself, so that a theme that returns over the same chords is the same again.
        A line is judged by its likelihood less the rules' costs.
        """
        rows = np.repeat(encode(events, metre, is_minor)[None], N_LINES, axis=0)
        past, lines, worth = self._nothing, [list[int]() for _ in range(N_LINES)], np.zeros(N_LINES)
        luck = np.random.default_rng(seed).gumbel(size=(len(events), N_LINES, N_PITCHES))
        for i in range(len(events)):
            for row, line in zip(rows, lines, strict=True):
                tell_pitch(row, events, i, line)
            found, past = self._graph.run(None, {"rows": rows[:, i : i + 1], "past": past})
            logits = np.asarray(found)[:, 0]
            costs = np.stack([cost_of(i, line) for line in lines])
            free = costs < FORBIDDEN
            values = np.where(free, logits / TEMPERATURE + luck[i] - costs, -1e9)
            picks = np.where(free.any(axis=1), values.argmax(axis=1), costs.argmin(axis=1))
            chances = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True) - np.minimum(costs, FORBIDDEN)
            worth += np.take_along_axis(chances, picks[:, None], axis=1)[:, 0]
            for line, pick in zip(lines, picks, strict=True):
                line.append(int(pick) - REACH)
        return lines[int(worth.argmax())]
