"""Rules that every piece keeps, in every style."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from openvmas.planning.conditioning import build_condition
from openvmas.planning.lexicon import parse_text
from openvmas.planning.schema import Section
from openvmas.symbolic.arrangement import arrange, reach_of
from openvmas.symbolic.brief import read_brief
from openvmas.symbolic.form import shape
from openvmas.symbolic.notes import Composition
from openvmas.symbolic.scoring import density_correlation
from openvmas.symbolic.styles import Style, choose_style, read_styles
from tests.symbolic.made import TEXTS, UNPITCHED, brief_of, make_plan, notes_of, write_plan

LAYERS = ("lead", "counter", "arp", "keys", "pad", "bass", "low", "drums")
HUMAN = 0.03  # s, beyond which nobody strikes beside the beat
OFF_THE_ONE = ("reggae", "Latin", "house", "techno")  # styles whose bass leaves the first beat out
POWER = ("hard rock", "metal", "punk")  # styles whose chords move in parallel
SPARSE = ("ambient", "horror", "new age")
BLUE = ("blues", "hard rock")  # styles whose melodies have blue notes


def style_of(piece: Composition) -> Style:
    """The style of its last section."""
    return read_styles().style(piece.passages[-1].style)


@pytest.fixture(scope="module", params=[(text, seed) for text in (*TEXTS, "") for seed in (0, 1)], ids=str)
def piece(request: pytest.FixtureRequest) -> Composition:
    text, seed = request.param
    return write_plan(make_plan(text or None), seed)


def test_every_style_is_chosen_by_words() -> None:
    for text, name in TEXTS.items():
        said = parse_text(text)
        assert choose_style(said.axes, said.named).name == name, text
    assert {style.name for style in read_styles().styles} == set(TEXTS.values())


def test_notes_are_in_the_key_or_in_a_chromatic_chord(piece: Composition) -> None:
    for part in piece.parts:
        if part.is_kit or part.instrument in UNPITCHED:
            continue
        for note in part.notes:
            passages = [p for p in piece.passages if p.start - 0.7 <= note.start < p.end + 0.7]
            allowed = {tone for p in passages for tone in (*p.scale, *p.chromatics)}
            assert note.pitch % 12 in allowed, (part.name, note)


def test_chromatics_belong_to_chords_that_sound(piece: Composition) -> None:
    for passage in piece.passages:
        near = [c for c in piece.chords if c.end > passage.start - 0.7 and c.start < passage.end + 0.7]
        blue = set() if passage.style not in BLUE else {(root + step) % 12 for root in range(12) for step in (3, 10)}
        assert set(passage.chromatics) <= {tone for chord in near for tone in chord.tones} | blue
    for chord in piece.chords:
        scale = next(p.scale for p in reversed(piece.passages) if p.start <= chord.start + 0.7)
        assert len(set(chord.tones) - set(scale)) <= 3, chord


def test_the_bass_begins_every_chord_with_its_root(piece: Composition) -> None:
    bass = notes_of(piece, "bass")
    starts = np.array([note.start for note in bass])
    n_roots, n_chords = 0, 0
    for chord in piece.chords:
        n_chords += bool(((starts > chord.start + 0.1) & (starts < chord.end - 0.1)).any())
        near = np.flatnonzero(np.abs(starts - chord.start) < HUMAN) if chord.start > 0.1 else []
        for k in near:
            assert bass[k].pitch % 12 == chord.root
            n_roots += 1
    assert n_roots >= min(3, n_chords) or not bass or piece.passages[0].style in OFF_THE_ONE


def test_melody_and_bass_move_in_no_parallel_octaves_or_fifths(piece: Composition) -> None:
    lead, bass = notes_of(piece, "lead"), notes_of(piece, "bass")
    starts = np.array([note.start for note in bass])
    last: tuple[int, int] | None = None
    for note in lead:
        if note.end - note.start < 0.07:
            continue  # a grace note
        k = int(np.searchsorted(starts, note.start + HUMAN)) - 1
        if k < 0:
            continue
        below = bass[k].pitch
        if last is not None and last[0] != note.pitch and last[1] != below:
            intervals = ((last[0] - last[1]) % 12, (note.pitch - below) % 12)
            assert intervals not in ((0, 0), (7, 7)), note
        last = (note.pitch, below)


def test_instruments_stay_in_their_ranges(piece: Composition) -> None:
    for part in piece.parts:
        pitches = [note.pitch for note in part.notes]
        if part.name.startswith("lead"):
            low, high = reach_of(part.instrument)
            assert low <= min(pitches) and max(pitches) <= high
        elif part.name.startswith("bass"):
            assert min(pitches) >= 28 and max(pitches) <= 60
        elif part.name.split()[0] in ("keys", "pad", "arp"):
            assert min(pitches) >= 36 and max(pitches) <= 81


def test_a_melody_mostly_steps_and_hardly_ever_leaps_beyond_an_octave(piece: Composition) -> None:
    for part in piece.parts:
        if part.name.startswith("lead") and len(part.notes) > 8:
            leaps = np.abs(np.diff([note.pitch for note in part.notes]))
            gaps = np.diff([note.start for note in part.notes])
            assert (leaps[gaps < 3] > 12).sum() <= 1  # where a hit took the notes between away
            assert np.mean(leaps <= 4) > 0.6


def test_something_begins_exactly_at_every_hit_and_it_is_strong(piece: Composition) -> None:
    notes = sorted(note for part in piece.parts if part.name not in ("pad", "lift") for note in part.notes)
    starts = np.array([note.start for note in notes])
    assert len(piece.answered) == len(make_plan().hits) + 1  # and the last chord
    strong = [time for time, strength in brief_of(make_plan()).hits if strength >= 0.5]
    for time in piece.answered:
        there = np.flatnonzero(np.abs(starts - time) < 0.001)
        assert len(there)
        around = [note.velocity for note in notes if abs(note.start - time) < 2]
        assert time not in strong or max(notes[k].velocity for k in there) >= np.median(around)
        beside = np.flatnonzero((np.abs(starts - time) < 0.05) & (np.abs(starts - time) > 0.001))
        assert not len(beside)  # no flam


def test_density_follows_energy(piece: Composition) -> None:
    style = piece.passages[0].style
    least = 0.3 if style in SPARSE else 0.6
    assert density_correlation(piece, brief_of(make_plan())) > least, style


def test_the_piece_ends_at_home_and_with_the_picture(piece: Composition) -> None:
    last = piece.chords[-1]
    end = float(piece.duration)
    assert last.root == piece.tonic == last.tones[0]
    assert 0.5 < end - last.start < 4
    sounding = [n for part in piece.parts if not part.is_kit for n in part.notes if n.end > end - 0.05]
    is_short = style_of(piece).form.ending == "button"
    assert len(sounding) >= 3 or is_short
    assert all(note.pitch % 12 in last.tones for note in sounding)
    pitched = [n for p in piece.parts if not p.is_kit and p.instrument not in UNPITCHED for n in p.notes]
    if not is_short:
        assert min(n.pitch for n in pitched if n.end > end - 0.05) % 12 == piece.tonic
    late = [n for part in piece.parts for n in part.notes if n.start > last.start + 0.7]
    assert not late
    lead = notes_of(piece, "lead")
    if lead and lead[-1].start > last.start - 0.1:
        assert lead[-1].pitch % 12 == piece.tonic
    assert all(0 <= n.start < n.end <= end + 1e-9 for part in piece.parts for n in part.notes)


def test_parts_come_in_with_energy(piece: Composition) -> None:
    played = []
    for passage in piece.passages:
        inside = [
            sum(passage.start + 0.7 < n.start < passage.end - 0.7 for n in notes_of(piece, name)) for name in LAYERS
        ]
        played.append(sum(n >= 2 for n in inside))
    assert played[2] >= played[0]
    assert max(played) == played[2]


def test_no_two_notes_of_a_part_overlap_on_one_pitch(piece: Composition) -> None:
    for part in piece.parts:
        ends: dict[int, float] = {}
        for note in part.notes:
            assert note.start >= ends.get(note.pitch, 0.0) - 1e-9
            ends[note.pitch] = note.end


def test_chords_are_connected_smoothly(piece: Composition) -> None:
    for name in ("pad", "keys") if piece.passages[0].style not in POWER else ("pad",):
        chords: dict[float, list[int]] = {}
        for note in notes_of(piece, name):
            slot = max((c.start for c in piece.chords if c.start <= note.start + HUMAN), default=0.0)
            if note.pitch >= 52:
                chords.setdefault(slot, []).append(note.pitch)
        tops = [max(pitches) for _, pitches in sorted(chords.items())]
        moves = np.abs(np.diff(tops))
        if len(moves) > 3:
            assert moves.mean() <= 5


def test_the_same_seed_gives_the_same_piece_and_another_another() -> None:
    plan = make_plan("happy pop")
    first, again, other = write_plan(plan, 3), write_plan(plan, 3), write_plan(plan, 4)
    assert [p.notes for p in first.parts] == [p.notes for p in again.parts]
    assert [p.notes for p in first.parts] != [p.notes for p in other.parts]


def test_a_theme_returns() -> None:
    plan = make_plan("happy pop", seconds=57.6, energies=(0.7, 0.7), hits=(), first=0.0)
    lead = notes_of(write_plan(plan), "lead")
    bar = 2.4
    rhythms = {}
    for number in range(2, 20):
        inside = [n for n in lead if number * bar - HUMAN <= n.start < (number + 1) * bar - HUMAN]
        rhythm = tuple(round((n.start - number * bar) / bar * 16) for n in inside)
        rhythms.setdefault(rhythm, []).append([n.pitch for n in inside])
    repeated = [pitches for pitches in rhythms.values() if len(pitches) >= 3]
    assert repeated
    assert len(rhythms) >= 3  # and there is something else
    assert any(a == b for pitches in repeated for i, a in enumerate(pitches) for b in pitches[:i])


def test_a_fill_leads_to_a_new_section_and_a_crash_opens_it() -> None:
    plan = make_plan("rock", seconds=38.4, energies=(0.7, 0.9), hits=(), first=0.0)
    drums = notes_of(write_plan(plan), "drums")
    before = [n.pitch for n in drums if 19.2 - 0.62 <= n.start < 19.2 - HUMAN]
    assert sum(pitch in (38, 41, 45, 48) for pitch in before) >= 3
    assert any(n.pitch == 49 and abs(n.start - 19.2) < HUMAN for n in drums)


@pytest.mark.parametrize("border", [9.6, 10.2, 10.8, 11.4])
def test_a_section_begins_with_a_bar_on_the_beat_of_its_cut(border: float) -> None:
    plan = make_plan("rock", seconds=24.0, energies=(0.6, 0.8), first=0.0)
    plan = dataclasses.replace(plan, sections=(Section(0.0, border, 0.6), Section(border, 24.0, 0.8)))
    piece = write_plan(plan)
    assert np.abs(piece.downbeats - border).min() < 1e-6
    assert any(abs(chord.start - border) < 1e-6 for chord in piece.chords)
    assert np.all(np.diff(piece.downbeats) > 0.6 + 1e-6)  # no bar of one beat


@pytest.mark.parametrize("per_bar", [2, 3, 5, 6, 7])
def test_other_metres(per_bar: int) -> None:
    piece = write_plan(make_plan("happy pop", per_bar=per_bar))
    assert piece.beats_per_bar == per_bar
    assert piece.n_notes > 100


@pytest.mark.parametrize("seconds", [0.2, 0.7, 1.5, 3.0, 6.0])
@pytest.mark.parametrize("tempo", [0.0, 40.0, 220.0])
def test_short_videos_have_music_from_the_first_to_the_last(seconds: float, tempo: float) -> None:
    piece = write_plan(
        make_plan("epic", seconds=seconds, tempo=tempo, energies=(0.7,), hits=((seconds / 3, 1.0),), first=0.1)
    )
    notes = [note for part in piece.parts for note in part.notes]
    assert notes
    assert piece.chords[-1].root == piece.tonic
    assert max(note.end for note in notes) == pytest.approx(seconds, abs=0.02)


def test_without_a_beat_nothing_tells_one() -> None:
    piece = write_plan(make_plan("electronic", tempo=0.0))
    assert not len(piece.beats)
    assert not {part.name.split()[0] for part in piece.parts} & {"drums", "arp"} or not any(
        len(part.notes) > len(piece.answered) * 3 for part in piece.parts if part.name.startswith(("drums", "arp"))
    )


@pytest.mark.parametrize("text", ["rock, no drums", "epic cinematic, no drums", "electronic without drums"])
def test_refused_drums_are_not_there(text: str) -> None:
    piece = write_plan(make_plan(text))
    assert not any(part.is_kit or part.instrument in ("taiko", "timpani") for part in piece.parts)


@pytest.mark.parametrize(
    ("text", "instrument"),
    [("rock with flute", "flute"), ("electronic with choir", "choir"), ("calm piano and strings", "strings"),
     ("jazz with organ", "organ"), ("pop with trumpet", "horn"), ("piano with drums", "kit")],
)  # fmt: skip
def test_instruments_that_are_asked_for_play(text: str, instrument: str) -> None:
    assert instrument in {part.instrument for part in write_plan(make_plan(text)).parts}


def test_mood_decides_the_mode() -> None:
    keys = [write_plan(make_plan(text), seed).passages[0].key for seed in range(6) for text in ("happy", "sad")]
    assert all(key.split()[1] in ("major", "lydian", "mixolydian") for key in keys[::2])
    assert all(key.split()[1] in ("minor", "dorian", "phrygian") for key in keys[1::2])


def test_a_condition_alone_says_nearly_what_its_plan_says() -> None:
    plan = make_plan("happy pop")
    planned, alone = brief_of(plan), read_brief(build_condition(plan))
    assert len(alone.scenes) == len(planned.scenes)
    for a, b in zip(alone.scenes, planned.scenes, strict=True):
        assert a.start == pytest.approx(b.start, abs=0.1)
        assert a.semantics == pytest.approx(b.semantics, abs=1e-6)
    assert [h[0] for h in alone.hits] == pytest.approx([h[0] for h in planned.hits], abs=0.0101)
    assert np.array_equal(alone.beats, planned.beats)
    assert len(arrange(alone, (0, 0)).answered) == len(alone.hits)


def test_scenes_that_are_alike_share_a_letter() -> None:
    plan = make_plan("happy pop", seconds=96.0, energies=(0.6, 0.9, 0.6, 0.9, 0.6))
    letters = [setting.letter for setting in shape(brief_of(plan), (0, 0)).settings]
    assert letters == ["A", "B", "A", "B", "A"]
