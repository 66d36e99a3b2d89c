"""MIDI files, read back by the project's reader of other people's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from midi_scores import DRUMS, read_midi

from openvmas.pretrained import find_weights
from openvmas.symbolic.instruments import Bank
from openvmas.symbolic.midi import TICKS, write_midi
from openvmas.symbolic.notes import Composition
from openvmas.symbolic.synth.sampler import Sounds
from tests.symbolic.made import make_plan, write_plan


class Programs(dict[str, int]):
    """General MIDI programs, asked for when a sound is met."""

    def __missing__(self, instrument: str) -> int:
        return SOUNDS.program(instrument)


SOUNDS = Sounds(Bank(find_weights("symbolic").file("instruments")))


@pytest.fixture(scope="module")
def programs() -> dict[str, int]:
    return Programs()


def written(piece: Composition, programs: dict[str, int], path: Path) -> Path:
    write_midi(piece, path, programs)
    return path


@pytest.mark.parametrize(("text", "tempo", "first"), [("rock", 97.3, 0.4), ("calm piano", 60.0, 0.02), ("jazz", 0, 0)])
def test_every_note_comes_back(tmp_path: Path, programs: dict[str, int], text: str, tempo: float, first: float) -> None:
    piece = write_plan(make_plan(text, tempo=tempo, first=first))
    score = read_midi(written(piece, programs, tmp_path / "piece.mid"))
    wanted = sorted(
        (DRUMS if part.is_kit else programs[part.instrument], note.pitch, note.start, note.end, note.velocity)
        for part in piece.parts
        for note in part.notes
    )
    found = sorted((note.program, note.pitch, note.start, note.end, note.velocity) for note in score.notes)
    # Two parts may share a program and begin within a tick of each other.
    wanted, found = (sorted(rows, key=lambda row: (row[0], row[1], row[4], row[2])) for rows in (wanted, found))
    assert len(found) == len(wanted)
    assert [(f[0], f[1], f[4]) for f in found] == [(w[0], w[1], w[4]) for w in wanted]
    assert np.abs(np.subtract([f[2] for f in found], [w[2] for w in wanted])).max() < 0.001
    assert np.abs(np.subtract([f[3] for f in found], [w[3] for w in wanted])).max() < 0.0025


def test_beats_bars_and_sections_are_those_of_the_piece(tmp_path: Path, programs: dict[str, int]) -> None:
    piece = write_plan(make_plan("happy pop", tempo=97.3, first=0.4))
    score = read_midi(written(piece, programs, tmp_path / "piece.mid"))
    beats = piece.beats[(piece.beats > 0.2) & (piece.beats < float(piece.duration))]
    assert np.abs(score.beats[1 : len(beats) + 1] - beats).max() < 0.002
    downbeats = piece.downbeats[(piece.downbeats > 0.2) & (piece.downbeats < float(piece.duration))]
    assert all(np.abs(score.downbeats - time).min() < 0.002 for time in downbeats)
    assert score.beats_per_bar == 4
    assert score.title == "OpenVMAS"
    assert [section.label[0] for section in score.sections] == [passage.letter for passage in piece.passages]
    assert [s.start for s in score.sections] == pytest.approx([p.start for p in piece.passages], abs=0.001)


def test_tracks_have_names_and_the_key_is_told(tmp_path: Path, programs: dict[str, int]) -> None:
    piece = write_plan(make_plan("rock"))
    data = written(piece, programs, tmp_path / "piece.mid").read_bytes()
    assert data[:4] == b"MThd"
    assert int.from_bytes(data[10:12], "big") == len(piece.parts) + 1
    assert int.from_bytes(data[12:14], "big") == TICKS
    for part in piece.parts:
        assert bytes([0xFF, 3, len(part.name)]) + part.name.encode() in data
    assert b"\xff\x59\x02" in data
