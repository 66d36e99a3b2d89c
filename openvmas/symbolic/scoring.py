"""Scores of a piece by rules that can be counted, by which the best of several candidates is kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openvmas.symbolic.brief import Brief
from openvmas.symbolic.notes import Composition


@dataclass(frozen=True)
class PieceScore:
    """density: correlation of notes a bar with energy; steps: share of a melody's intervals that are steps or repeats;
    span: semitones from its lowest to its highest note; closure: 1 if it ends on the tonic; clashes: share of
    melody notes a semitone from a tone of the chord on a beat."""

    density: float
    steps: float
    span: float
    closure: float
    clashes: float

    @property
    def value(self) -> float:
        """Greater is better. A melody should mostly step and still use between an octave and a twelfth."""
        reach = -abs(self.span - 14) / 20 if self.span else 0.0
        return self.density - 2 * abs(self.steps - 0.65) + reach + 0.5 * self.closure - 2 * self.clashes

    def explain(self, n: int) -> str:
        """One sentence on the choice."""
        finding = f"notes follow energy with r {self.density:.2f}, {100 * self.steps:.0f} % of the melody moves by step"
        return f"{'the only piece' if n == 1 else f'the best of {n} pieces by rules of melody and form'}: {finding}."


def score_piece(piece: Composition, brief: Brief) -> PieceScore:
    """The score of a piece by its notes, chords and bars."""
    lead = sorted(note for part in piece.parts if part.name.startswith("lead") for note in part.notes)
    pitches = np.array([note.pitch for note in lead])
    leaps = np.abs(np.diff(pitches))
    starts = np.array([chord.start for chord in piece.chords])
    clashes = 0
    for note in lead:
        chord = piece.chords[max(int(np.searchsorted(starts, note.start + 0.02, side="right")) - 1, 0)]
        clashes += note.pitch % 12 not in chord.tones and (note.pitch - 1) % 12 in chord.tones
    return PieceScore(
        density=density_correlation(piece, brief),
        steps=float(np.mean(leaps <= 2)) if len(leaps) else 0.65,
        span=float(np.ptp(pitches)) if len(pitches) else 0.0,
        closure=float(not lead or lead[-1].pitch % 12 == piece.tonic),
        clashes=clashes / max(len(lead), 1),
    )


def density_correlation(piece: Composition, brief: Brief) -> float:
    """Correlation of notes a second with energy, bar by bar; 0 for fewer than three bars or an even energy."""
    bars = [bar for bar in brief.bars if bar.start >= 0 and bar.end <= brief.at(brief.ending) + 1e-6]
    onsets = np.sort([note.start for part in piece.parts for note in part.notes])
    if len(bars) < 3:
        return 0.0
    edges = np.array([[bar.start - 0.02, bar.end - 0.02] for bar in bars])
    rate = np.diff(np.searchsorted(onsets, edges), axis=1)[:, 0] / np.diff(edges, axis=1)[:, 0]
    energy = np.array([brief.mean_energy(bar.start, bar.end) for bar in bars])
    if rate.std() < 1e-9 or energy.std() < 1e-3:
        return 0.0
    return float(np.corrcoef(rate, energy)[0, 1])
