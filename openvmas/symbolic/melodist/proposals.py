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
FORBIDDEN = 400.0  # cost from which a rule is not weighed but kept


class Melodist:
    """The network on ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        self._graph = open_graph(path, 1)
        shape = self._graph.get_inputs()[1].shape  # layers, keys and values, batch, heads, notes before, width
        self._nothing = np.zeros([0 if isinstance(n, str) else n for n in shape], np.float32)

    def propose(
        self,
        events: Sequence[Event],
        metre: int,
        is_minor: bool,
        cost_of: Callable[[int, Sequence[int]], np.ndarray],
        seed: int,
    ) -> list[int]:
        """A pitch for every event, in semitones about the reference.

        cost_of(number, pitches so far): what the rules charge for each of N_PITCHES, from −REACH up, in nats. The
        chance of each note is drawn by itself, so that a theme that returns over the same chords is the same again.
        """
        rows, past, chosen = encode(events, metre, is_minor), self._nothing, list[int]()
        luck = np.random.default_rng(seed).gumbel(size=(len(events), N_PITCHES))
        for i in range(len(events)):
            tell_pitch(rows, events, i, chosen)
            logits, past = self._graph.run(None, {"rows": rows[None, i : i + 1], "past": past})
            cost = cost_of(i, chosen)
            value = np.asarray(logits)[0, 0] / TEMPERATURE + luck[i] - cost
            value[cost >= FORBIDDEN] = -1e9
            chosen.append(int(value.argmax() if (cost < FORBIDDEN).any() else cost.argmin()) - REACH)
        return chosen
