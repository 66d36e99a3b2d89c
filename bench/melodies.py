"""Melodies of a network beside those of the rules and of composers: steps, repeated tones, leaps, and how seeds differ.

    python bench/melodies.py FOLDER [--seeds 4]

FOLDER is what tools/train_melodies.py made (`melodist.onnx`, `segments.pt`). Pieces of 38 s in the words of every
second style are written, none is played. steps, repeats, leaps: shares of a melody's intervals of one or two
semitones, of none, and beyond a fifth; turns: share of the moves beyond a third that are followed by one the other
way; echoes: share of runs of three intervals that the same melody has had before;
seeds differ: share of tones that are others than in the same place of another seed's melody.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.conditioning import build_condition
from openvmas.planning.schema import Hit, ScorePlan, Section
from openvmas.symbolic.arrangement import arrange
from openvmas.symbolic.brief import Brief, read_brief
from openvmas.symbolic.melodist.proposals import Melodist
from openvmas.symbolic.styles import read_styles

ENERGIES, SECONDS, TEMPO = (0.42, 0.62, 0.88, 0.55), 38.4, 100.0
LEAST = 8  # notes of a melody


def brief_of(words: str) -> Brief:
    """A brief of four sections with two hits."""
    edges = np.linspace(0, SECONDS, len(ENERGIES) + 1)
    sections = tuple(Section(float(a), float(b), e) for a, b, e in zip(edges, edges[1:], ENERGIES, strict=False))
    hits = (Hit(7.8, 1.0, "user"), Hit(21.0, 0.8, "user"))
    plan = ScorePlan(Fraction(192, 5), sections, (TempoMark(0.6, TEMPO, 1),), 4, hits, text=words)
    return read_brief(build_condition(plan), plan)


def describe(pitches: np.ndarray) -> list[float]:
    """Steps, repeats, leaps, turns and echoes of one melody [n]."""
    moves = np.diff(pitches)
    runs = [tuple(moves[i : i + 3]) for i in range(len(moves) - 2)]
    sizes = np.abs(moves)
    wide = np.flatnonzero(sizes[:-1] > 4)
    return [
        float(np.mean((sizes > 0) & (sizes <= 2))), float(np.mean(sizes == 0)), float(np.mean(sizes > 7)),
        float(np.mean(moves[wide] * moves[wide + 1] < 0)) if len(wide) else float("nan"),
        1 - len(set(runs)) / max(len(runs), 1),
    ]  # fmt: skip


def measure(melodist: Melodist | None, n_seeds: int) -> list[float]:
    """Means of `describe` over styles and seeds, and how seeds differ."""
    rows, apart = [], []
    for style in read_styles().styles[::2]:
        brief, lines = brief_of(style.words[0]), []
        for seed in range(n_seeds):
            piece = arrange(brief, (seed, 0), melodist=melodist)
            notes = sorted(note for part in piece.parts if part.name.startswith("lead") for note in part.notes)
            pitches = np.array([note.pitch for note in notes])
            if len(pitches) >= LEAST:
                rows.append(describe(pitches))
                lines.append((pitches - piece.tonic) % 12)
        for a, b in itertools.combinations(lines, 2):
            n = min(len(a), len(b))
            apart.append(float(np.mean(a[:n] != b[:n])))
    return [*np.nanmean(rows, axis=0), float(np.mean(apart))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    given = parser.parse_args()
    print("| melodies | steps | repeats | leaps | turns | echoes | seeds differ |\n|---|---|---|---|---|---|---|")
    for name, melodist in (("rules", None), ("network", Melodist(given.folder / "melodist.onnx"))):
        cells = [f"{value:.3f}" for value in measure(melodist, given.seeds)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    segments = torch.load(given.folder / "segments.pt", weights_only=False)["test"]
    human = np.nanmean([describe(np.array(segment.pitches)) for segment in segments[::3]], axis=0)
    print("| composers | " + " | ".join(f"{value:.3f}" for value in human) + " | |")


if __name__ == "__main__":
    main()
