"""A composer by rule behind the same door as the model: a condition in, blocks of music out; or notes, for MIDI.

In the spirit of the Controllable Music Transformer (Di et al. 2021): the picture's timing sets tempo and strong notes,
its motion density and loudness. Here rules write the notes, so that they are in key, lead somewhere and end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.condition import Condition
from openvmas.media.audio import write_wav
from openvmas.planning.schema import ScorePlan
from openvmas.pretrained import Weights
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions
from openvmas.symbolic.brief import Brief, read_brief
from openvmas.symbolic.instruments import Bank
from openvmas.symbolic.midi import write_midi
from openvmas.symbolic.notes import Composition
from openvmas.symbolic.render import render
from openvmas.symbolic.scoring import Worth, weigh
from openvmas.symbolic.write import write


class Composer:
    """Writes pieces and plays them with one bank of instruments. The same seed, condition and plan give the same."""

    def __init__(self, weights: Weights) -> None:
        self.bank = Bank(weights.file("instruments"))

    def write(
        self,
        condition: Condition,
        options: GenerateOptions,
        plan: ScorePlan | None = None,
        report: dict[str, Any] | None = None,
    ) -> Composition:
        """The best of `options.candidates` pieces by the rules of `worth`. report: is given how it was made.

        plan: what the condition was made from; with it hits are exact, else they lie on the condition's steps.
        """
        brief = read_brief(condition, plan)
        pieces = [write(brief, (options.seed, k)) for k in range(options.candidates)]
        worths = [weigh(piece, brief) for piece in pieces]
        best = max(range(len(pieces)), key=lambda k: worths[k].value)
        if report is not None:
            report.update(describe(pieces[best], brief, worths, best))
        return pieces[best]

    def stream(
        self,
        condition: Condition,
        options: GenerateOptions,
        report: dict[str, Any] | None = None,
        plan: ScorePlan | None = None,
    ) -> Iterator[np.ndarray]:
        """Blocks [2, n] float32 at 48 kHz, together as long as the condition (or exactly as its plan)."""
        yield from render(self.write(condition, options, plan, report), self.bank)

    def save_midi(self, piece: Composition, path: Path) -> None:
        """The notes as a Standard MIDI File."""
        write_midi(piece, path, self.bank.programs)

    def save_stems(self, piece: Composition, folder: Path) -> None:
        """Every part with its share of the room as a WAV file; their sum is the music as `stream` gives it."""
        for number, part in enumerate(piece.parts, 1):
            path = folder / f"{number:02d}-{part.name.replace(' ', '-')}-{part.instrument}.wav"
            write_wav(path, render(replace(piece, parts=(part,)), self.bank), SAMPLE_RATE_OUT)


def describe(piece: Composition, brief: Brief, worths: list[Worth], best: int) -> dict[str, Any]:
    """What the sidecar says of a piece."""
    passages = []
    for passage in piece.passages:
        chords = [chord.symbol for chord in piece.chords if passage.start - 1e-3 <= chord.start < passage.end - 1e-3]
        passages.append(
            {
                "start": round(passage.start, 3), "end": round(passage.end, 3), "letter": passage.letter,
                "key": passage.key, "style": passage.style, "parts": list(passage.parts), "chords": chords,
            }
        )  # fmt: skip
    return {
        "candidates": len(worths),
        "chosen": best,
        "values": [round(worth.value, 3) for worth in worths],
        "key": piece.passages[-1].key if piece.passages else "",
        "tempo": None if brief.is_free else round(60 / float(np.median(np.diff(brief.beats))), 2),
        "notes": piece.n_notes,
        "hits_answered": len(piece.answered),
        "parts": {part.name: {"instrument": part.instrument, "notes": len(part.notes)} for part in piece.parts},
        "sections": passages,
        "music": vars(worths[best]) | {"value": worths[best].value},
        "reason": worths[best].explain(len(worths)),
    }
