"""Melodies that a network proposes: what it is told, and that the rules hold whatever it says."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openvmas.pretrained import find_weights
from openvmas.symbolic.form import Slot
from openvmas.symbolic.harmony import Key
from openvmas.symbolic.melodist.events import (
    COLUMNS,
    N_PITCHES,
    REACH,
    Event,
    encode,
    find_twins,
    length_class,
    pitch_class,
    tell_pitch,
)
from openvmas.symbolic.melodist.proposals import N_LINES, Melodist
from openvmas.symbolic.melody import MelodyNote, ask_pitches, make_theme, place_notes

REACH_OF_LEAD = (62, 81)
CHORDS = ("I", "IV", "V", "I")
KEY = Key(2, "major")


class Noise(Melodist):
    """A network that wants anything at all."""

    def __init__(self, seed: int) -> None:
        self._nothing = np.zeros((3, 2, N_LINES, 4, 0, 24), np.float32)
        self._graph: Any = self
        self._rng = np.random.default_rng(seed)
        self.rows: list[np.ndarray] = []

    def run(self, outputs: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.rows.append(inputs["rows"][:, 0].copy())
        return [self._rng.normal(0, 6, (N_LINES, 1, N_PITCHES)), inputs["past"]]


def slot_at(beat: float) -> Slot:
    place = min(int(beat // 4), 3)
    return Slot(4.0 * place, 4.0 * place + 4, KEY.chord(CHORDS[place], 3), KEY)


def bass_at(beat: float) -> int:
    return 36 + slot_at(beat).harmony.root


def phrase(seed: int) -> list[MelodyNote]:
    theme = make_theme(np.random.default_rng(seed), "lively")
    notes = [note for k in range(4) for note in place_notes(theme, k, 4.0 * k, 4.0 * k + 4, 71.0)]
    return [*notes[:-1], notes[-1]._replace(is_last=True)]


@pytest.mark.parametrize("seed", range(8))
def test_the_rules_hold_whatever_is_proposed(seed: int) -> None:
    notes = phrase(seed)
    line = ask_pitches(Noise(seed), notes, slot_at, bass_at, REACH_OF_LEAD, seed, 4)
    assert [stroke.beat for stroke in line] == [note.beat for note in notes]
    for stroke in line:
        assert REACH_OF_LEAD[0] <= stroke.pitch <= REACH_OF_LEAD[1]
        assert stroke.pitch % 12 in slot_at(stroke.beat).harmony.scale
    assert line[-1].pitch % 12 == KEY.tonic
    for a, b in itertools.pairwise(line):
        basses = bass_at(a.beat), bass_at(b.beat)
        for interval in (0, 7):
            held = (a.pitch - basses[0]) % 12 == interval and (b.pitch - basses[1]) % 12 == interval
            assert not (held and basses[0] != basses[1] and a.pitch != b.pitch)


def test_the_shipped_network_sings() -> None:
    """Mostly in steps, seldom in wide leaps, and as the rules want it; the rules alone hardly leap or repeat."""
    network = Melodist(find_weights("symbolic").file("melodist"))
    lines = [ask_pitches(network, phrase(seed), slot_at, bass_at, REACH_OF_LEAD, seed, 4) for seed in range(12)]
    moves = np.concatenate([np.abs(np.diff([stroke.pitch for stroke in line])) for line in lines])
    assert 0.35 < np.mean((moves > 0) & (moves <= 2)) < 0.75
    assert np.mean(moves == 0) < 0.25 and np.mean(moves > 7) < 0.08
    assert all(stroke.pitch % 12 in slot_at(stroke.beat).harmony.scale for line in lines for stroke in line)
    assert all(line[-1].pitch % 12 == KEY.tonic for line in lines)


def test_one_seed_gives_one_melody() -> None:
    lines = [ask_pitches(Noise(1), phrase(1), slot_at, bass_at, REACH_OF_LEAD, seed, 4) for seed in (3, 3, 4)]
    assert lines[0] == lines[1] != lines[2]


def test_the_network_is_told_what_came_before() -> None:
    noise = Noise(0)
    notes = phrase(0)
    line = ask_pitches(noise, notes, slot_at, bass_at, REACH_OF_LEAD, 0, 4)
    middle = float(np.mean([note.target for note in notes]))
    reference = round(middle) + (KEY.tonic - round(middle) + 6) % 12 - 6
    pitches = [pitch_class(stroke.pitch - reference) + 1 for stroke in line]
    before, earlier = (list(COLUMNS).index(name) for name in ("before", "earlier"))
    told = [[[int(row[column]) for row in step] for step in noise.rows] for column in (before, earlier)]
    lines = [tuple(zip(*steps, strict=True)) for steps in told]
    chosen = lines[0].index((0, *pitches[:-1]))
    assert lines[1][chosen] == (0, 0, *pitches[:-2])
    assert len(set(lines[0])) == N_LINES  # each is told of itself


def test_rows_stay_within_their_tables() -> None:
    wild = Event(9, 99.0, 99.0, 5.0, 30, 11, (11, 3, 6), 40, 30, 40.0, -1)
    events = [Event(0, 0.0, 4.0, 0.0, 1, 0, (0, 4, 7)), wild, Event(1, 0.0, 4.0, 0.0, 0, 5, (5, 9, 0), twin=0)]
    rows = encode(events, 2, False)
    for i in range(3):
        tell_pitch(rows, events, i, [40, -40, 3])
    for k, size in enumerate(COLUMNS.values()):
        assert rows[:, k].min() >= 0 and rows[:, k].max() < size
    assert rows[2, list(COLUMNS).index("repeated")] == pitch_class(REACH) + 1
    assert rows[2, list(COLUMNS).index("shift")] == 5
    assert np.flatnonzero(rows[0, len(COLUMNS) :]).tolist() == [0, 4, 7]


def test_bars_of_one_rhythm_are_twins() -> None:
    onsets = [(0, 0.0), (0, 8.0), (1, 0.0), (1, 4.0), (2, 0.0), (2, 8.0), (3, 0.0)]
    assert find_twins(onsets) == [-1, -1, -1, -1, 0, 1, -1]


def test_lengths_count_as_the_longest_that_they_reach() -> None:
    assert [length_class(n) for n in (0.5, 1, 2, 5, 8, 23.9, 60)] == [0, 0, 1, 3, 5, 8, 8]


def test_a_score_is_cut_into_segments_with_chords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    from musicxml_melodies import read_segments

    def note(step: str, octave: int, duration: int) -> str:
        pitch = f"<pitch><step>{step}</step><octave>{octave}</octave></pitch>"
        return f"<note>{pitch}<duration>{duration}</duration><voice>1</voice></note>"

    def chord(*steps: str) -> str:
        first, *others = (note(step, 3, 16) for step in steps)
        return first + "".join(other.replace("<note>", "<note><chord/>") for other in others)

    attributes = (
        "<attributes><divisions>4</divisions><key><fifths>1</fifths></key>"
        "<time><beats>4</beats><beat-type>4</beat-type></time></attributes>"
    )
    tune = "".join(note(step, 4, 4) for step in "GABD")
    parts = ((tune, tune), (chord("G", "B", "D"), chord("C", "E", "G")))
    body = "".join(
        f'<part id="P{i}"><measure number="1">{attributes}{bars[0]}</measure>'
        f'<measure number="2">{bars[1]}</measure></part>'
        for i, bars in enumerate(parts)
    )
    path = tmp_path / "song.musicxml"
    path.write_text(f"<score-partwise>{body}</score-partwise>", encoding="utf-8")
    (segment,) = read_segments(path)
    assert (segment.reference % 12, segment.is_minor, segment.metre) == (7, False, 2)
    assert [pitch + segment.reference for pitch in segment.pitches] == [67, 69, 71, 62] * 2
    assert [event.root for event in segment.events] == [0] * 4 + [5] * 4
    assert [event.twin for event in segment.events] == [-1] * 4 + [0, 1, 2, 3]
    assert segment.events[0].left == 7 and segment.events[-1].left == 0
