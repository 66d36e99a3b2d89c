"""The composer by rule: it writes notes and plays them on samples and a synthesiser.

In the spirit of the Controllable Music Transformer (Di et al. 2021): the picture's timing sets tempo and strong notes,
its motion density and loudness. Here rules write the notes, so that they are in key, lead somewhere and end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.condition import Condition
from openvmas.generate.piece import Composer, Notes, Piece
from openvmas.media.audio import write_wav
from openvmas.planning.schema import ScorePlan
from openvmas.pretrained import Weights
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions
from openvmas.symbolic.arrangement import arrange
from openvmas.symbolic.brief import Brief, read_brief
from openvmas.symbolic.desk.rooms import BLOCK
from openvmas.symbolic.instruments import Bank
from openvmas.symbolic.melodist.proposals import Melodist
from openvmas.symbolic.midi import write_midi
from openvmas.symbolic.notes import Composition
from openvmas.symbolic.render import render
from openvmas.symbolic.scoring import PieceScore, score_piece
from openvmas.symbolic.synth.arpeggio import arpeggiated
from openvmas.symbolic.synth.sampler import Sounds

BEFORE = 3  # blocks that are played before a part, so that what rings into it is there
LEAD, RING = SAMPLE_RATE_OUT // 20, 3 * SAMPLE_RATE_OUT  # samples before a part, and after it, that it may change


class SymbolicComposer(Composer):
    """Writes pieces and plays them with one set of sounds. The same seed, condition and plan give the same."""

    writes_notes = True

    def __init__(self, weights: Weights) -> None:
        self.weights, self.sounds = weights, Sounds(Bank(weights.file("instruments")))
        self._melodist = Melodist(weights.file("melodist")) if "melodist" in weights.files else None
        self._own: tuple[tuple[str, ...], Sounds] | None = None

    def prepare(self, options: GenerateOptions, plan: ScorePlan | None = None) -> None:
        """See Composer; reads the user's soundfonts."""
        super().prepare(options, plan)
        self._sounds_for(options)

    def _sounds_for(self, options: GenerateOptions) -> Sounds:
        """Our sounds, or with the user's in their place."""
        if not options.soundfont:
            return self.sounds
        if self._own is None or self._own[0] != options.soundfont:
            from openvmas.symbolic.synth.fonts import UserFonts

            self._own = options.soundfont, Sounds(self.sounds.bank, UserFonts(options.soundfont))
        return self._own[1]

    def compose(self, condition: Condition, plan: ScorePlan | None, options: GenerateOptions) -> Piece:
        """The best of `options.candidates` pieces by the rules of `scoring`, in blocks [2, n].

        plan: what the condition was made from; with it hits and length are exact, without it they lie on the
        condition's steps.
        """
        piece = Piece()
        piece.blocks = self._play(piece, condition, plan, options)
        return piece

    def _play(
        self, piece: Piece, condition: Condition, plan: ScorePlan | None, options: GenerateOptions
    ) -> Iterator[np.ndarray]:
        brief = read_brief(condition, plan)
        seeds = [(options.seed, k) for k in range(options.candidates)]
        written = [arpeggiated(arrange(brief, seed, melodist=self._melodist)) for seed in seeds]
        yield from self._play_best(piece, written, brief, self._sounds_for(options))

    def _play_best(
        self, piece: Piece, written: list[Composition], brief: Brief, sounds: Sounds
    ) -> Iterator[np.ndarray]:
        """Give the piece the best of what was written, and its blocks."""
        scores = [score_piece(composition, brief) for composition in written]
        best = max(range(len(written)), key=lambda k: scores[k].value)
        piece.notes = PlayedNotes(written[best], sounds)
        piece.report |= describe(written[best], brief, scores, best)
        return render(written[best], sounds)

    def open_notes(self, path: Path) -> PlayedNotes:
        """Read the notes that a piece of this composer saved. Raises InputError."""
        from openvmas.symbolic.editing.saved import load_composition  # whoever only scores does not load it

        return PlayedNotes(load_composition(path), self.sounds)

    def inpaint(
        self,
        codes: np.ndarray | None,
        start: int,
        end: int,
        condition: Condition,
        plan: ScorePlan | None,
        options: GenerateOptions,
        progress: Callable[[float], None] | None = None,
        notes: Notes | None = None,
    ) -> Piece:
        """A piece with other notes in steps [start, end), in the form of the old one: its style, key and chords."""
        if not isinstance(notes, PlayedNotes):
            return self.compose(condition, plan, options)
        from openvmas.symbolic.editing.splicing import splice

        old, brief = notes.composition, read_brief(condition, plan)
        low, high = start / float(condition.rate), end / float(condition.rate)
        written: list[Composition] = []
        for k in range(options.candidates):
            new = arpeggiated(arrange(brief, (options.seed, k), old.seed, self._melodist))
            written.append(splice(old, new, low, high))
            if progress is not None:
                progress((k + 1) / options.candidates)
        piece = Piece()
        piece.blocks = self._play_best(piece, written, brief, notes.sounds)
        return piece

    def render_part(self, piece: Piece, condition: Condition, start: int, end: int) -> tuple[int, np.ndarray] | None:
        """The sound from a part's beginning until it has died away: its first sample, and [2, n]."""
        if not isinstance(piece.notes, PlayedNotes):
            return None
        rate = SAMPLE_RATE_OUT / float(condition.rate)
        begin, stop = round(start * rate) - LEAD, round(end * rate) + RING
        first = max(0, begin // BLOCK - BEFORE)
        blocks = [*render(piece.notes.composition, piece.notes.sounds, span=(first, -(-stop // BLOCK)))]
        sound, begin = np.concatenate(blocks, axis=1), max(begin, 0)
        return begin, sound[:, begin - first * BLOCK : stop - first * BLOCK]


@dataclass(frozen=True)
class PlayedNotes:
    """A composition and the sounds that play it."""

    composition: Composition
    sounds: Sounds

    def save(self, path: Path) -> None:
        """Write all of the composition, to be read by `open_notes`."""
        from openvmas.symbolic.editing.saved import save_composition

        save_composition(self.composition, path)

    def save_midi(self, path: Path) -> None:
        """Write the notes as a Standard MIDI File."""
        instruments = {part.instrument for part in self.composition.parts}
        write_midi(self.composition, path, {name: self.sounds.program(name) for name in instruments})

    def save_stems(self, folder: Path, span: tuple[int, int] | None = None) -> None:
        """Write every part with its share of room and echo as a WAV file; their sum is what the bus is given."""
        first, last = span or (0, None)
        begin = max(0, first // BLOCK - BEFORE)
        for number, part in enumerate(self.composition.parts, 1):
            path = folder / f"{number:02d}-{part.name.replace(' ', '-')}-{part.instrument.replace(':', '-')}.wav"
            blocks = render(self.composition, self.sounds, part, None if last is None else (begin, -(-last // BLOCK)))
            if last is not None:
                blocks = [np.concatenate([*blocks], axis=1)[:, first - begin * BLOCK : last - begin * BLOCK]]
            write_wav(path, blocks, SAMPLE_RATE_OUT)


def describe(piece: Composition, brief: Brief, scores: list[PieceScore], best: int) -> dict[str, Any]:
    """The entry of a piece in the report."""
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
        "candidates": len(scores),
        "chosen": best,
        "values": [round(score.value, 3) for score in scores],
        "key": piece.passages[-1].key if piece.passages else "",
        "tempo": None if brief.is_free else round(60 / float(np.median(np.diff(brief.beats))), 2),
        "notes": piece.n_notes,
        "hits_answered": len(piece.answered),
        "parts": {part.name: {"instrument": part.instrument, "notes": len(part.notes)} for part in piece.parts},
        "sections": passages,
        "mix": asdict(piece.mix),
        "music": vars(scores[best]) | {"value": scores[best].value},
        "reason": scores[best].explain(len(scores)),
    }
