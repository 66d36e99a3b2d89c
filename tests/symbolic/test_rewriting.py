"""A part of a piece of notes written again: in the key of the piece, and everything outside as it was."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import openvmas
from openvmas.errors import InputError
from openvmas.media.audio import WavReader
from openvmas.planning.conditioning import build_condition
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions
from openvmas.symbolic.composer import PlayedNotes, SymbolicComposer
from openvmas.symbolic.editing.saved import load_composition, save_composition
from openvmas.symbolic.editing.splicing import semitones_between, splice
from openvmas.symbolic.notes import Note
from openvmas.symbolic.render import render
from tests.symbolic.made import make_plan, write_plan

START, END = 12.0, 16.0
TEXTS = ("happy pop", "epic trailer", "lofi", "ambient, spacious")


@pytest.mark.parametrize("text", TEXTS)
def test_a_composition_is_read_as_it_was_saved(text: str, tmp_path: Path) -> None:
    piece = write_plan(make_plan(text))
    save_composition(piece, tmp_path / "notes.json")
    again = load_composition(tmp_path / "notes.json")
    for item in dataclasses.fields(piece):
        assert np.array_equal(getattr(again, item.name), getattr(piece, item.name)) or getattr(
            again, item.name
        ) == getattr(piece, item.name), item.name
    (tmp_path / "notes.json").write_text('{"parts": 3}')
    with pytest.raises(InputError, match=r"notes\.json cannot be read; score the whole again"):
        load_composition(tmp_path / "notes.json")


@pytest.mark.parametrize("text", TEXTS)
def test_only_the_part_has_other_notes(text: str) -> None:
    plan = make_plan(text)
    old, new = write_plan(plan), write_plan(plan, seed=5)
    made = splice(old, new, START, END)

    def outside(notes: list[Note]) -> list[Note]:
        return [note for note in notes if note.end < START - 0.05 or note.start > END]

    assert [outside(part.notes) for part in made.parts if outside(part.notes)] == [
        outside(part.notes) for part in old.parts if outside(part.notes)
    ]
    assert made.parts != old.parts
    for part in made.parts:  # nothing is held over a border
        spans = [(note.start + 0.03, note.end - 0.001) for note in part.notes]
        crossing = [span for span in spans for time in (START, END) if span[0] < time < span[1]]
        assert part.is_kit or not crossing, part.name
    assert [chord.start for chord in made.chords] == sorted(chord.start for chord in made.chords)


def test_the_part_is_in_the_key_of_the_piece() -> None:
    plan = make_plan("happy pop")
    old = write_plan(plan)
    others = [write_plan(plan, seed) for seed in range(1, 9)]
    assert len({one.tonic for one in others}) > 3
    for new in others:
        shift = semitones_between(new, old)
        tones = {(tone + shift) % 12 for tone in new.passages[0].scale}
        assert len(tones & set(old.passages[0].scale)) >= min(len(tones), 6)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["happy pop", "lofi"])
def test_a_part_sounds_as_in_the_whole_and_the_rest_as_before(text: str, tmp_path: Path) -> None:
    composer = openvmas.load("symbolic").composer
    assert isinstance(composer, SymbolicComposer)
    plan = make_plan(text)
    condition, rate = build_condition(plan), SAMPLE_RATE_OUT
    piece = composer.compose(condition, plan, GenerateOptions(seed=3, candidates=1))
    old = np.concatenate([*piece], axis=1)
    assert isinstance(piece.notes, PlayedNotes)
    piece.notes.save(tmp_path / "notes.json")
    notes = composer.open_notes(tmp_path / "notes.json")
    step = float(condition.rate)
    span = round(START * step), round(END * step)
    changed = composer.inpaint(None, *span, condition, plan, GenerateOptions(seed=8, candidates=2), None, notes)
    assert isinstance(changed.notes, PlayedNotes)
    begin, sound = composer.render_part(changed, condition, *span) or (0, np.zeros((2, 0)))
    assert begin / rate == pytest.approx(START - 0.05, abs=0.001)
    whole = np.concatenate([*changed], axis=1)
    level = np.sqrt(np.mean(whole**2))
    inside = whole[:, begin : begin + sound.shape[1]] - sound
    assert np.sqrt(np.mean(inside[:, rate:] ** 2)) < 0.01 * level  # played alone it is what the whole has
    last = slice(begin + sound.shape[1] - rate // 10, begin + sound.shape[1])
    assert np.sqrt(np.mean((old[:, last] - sound[:, -rate // 10 :]) ** 2)) < 0.1 * level  # and goes over into the old
    middle = slice(round((START + 1) * rate), round((END - 1) * rate))
    assert np.sqrt(np.mean((old - whole)[:, middle] ** 2)) > 0.3 * level
    stems = tmp_path / "stems"
    stems.mkdir()
    changed.notes.save_stems(stems, (begin, begin + rate))
    found = [WavReader(path) for path in sorted(stems.iterdir())]
    assert {one.n_samples for one in found} == {rate}
    played = [
        np.concatenate([*render(changed.notes.composition, composer.sounds, only=part)], axis=1)
        for part in changed.notes.composition.parts
    ]
    together = np.sum(played, axis=0)[:, begin : begin + rate]
    assert np.allclose(np.sum([one.read(0, rate) for one in found], axis=0), together, atol=0.05)
