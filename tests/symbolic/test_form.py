"""Form: builds and drops, pauses and lifts, free time, and stretches without music."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from openvmas.generate.piece import Piece
from openvmas.generate.scorer import fit_length
from openvmas.planning.conditioning import build_condition
from openvmas.planning.plan_yaml import read_plan, write_plan
from openvmas.planning.schema import Section
from openvmas.symbolic.brief import with_ritard
from openvmas.symbolic.form import shape
from openvmas.symbolic.harmony import Key
from tests.symbolic.made import brief_of, make_plan, notes_of
from tests.symbolic.made import write_plan as compose

DROP = 19.2
DROPPED = make_plan(
    "metal", seconds=38.4, tempo=150.0, energies=(0.75, 0.75), hits=((DROP, 1.0), (25.0, 0.5)), first=0.0
)


def silent_plan(**changes: object) -> object:
    """Four sections, of which one is without music."""
    plan = make_plan("rock", seconds=40.0, energies=(0.7, 0.7, 0.7, 0.7), hits=((12.0, 1.0), (24.0, 0.9)), first=0.0)
    sections = list(plan.sections)
    sections[1] = dataclasses.replace(sections[1], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(plan, sections=tuple(sections))


def test_the_strongest_moment_is_a_drop() -> None:
    assert shape(brief_of(DROPPED), (0, 0)).drop == DROP
    calm = make_plan("lofi", seconds=38.4, tempo=80.0, energies=(0.7,), hits=((21.0, 1.0),), first=0.0)
    assert shape(brief_of(calm), (0, 0)).drop is None  # lo-fi has no drops


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_before_the_drop_is_a_build_and_silence_and_behind_it_everybody(seed: int) -> None:
    piece = compose(DROPPED, seed)
    notes = [n for part in piece.parts if part.name.split()[0] != "lift" for n in part.notes]
    beat = 60 / 150
    assert not [n for n in notes if DROP - beat + 0.02 < n.start < DROP - 0.04]
    still = [n for n in notes if n.start < DROP - beat and n.end > DROP - beat + 0.1 and n.pitch > 59]
    assert not still
    at = {part.name.split()[0] for part in piece.parts for n in part.notes if abs(n.start - DROP) < 1e-6}
    assert {"drums", "keys", "bass"} <= at
    drums = notes_of(piece, "drums")
    before = [n for n in drums if DROP - 4 * beat - 0.03 < n.start < DROP - beat]
    assert sum(n.pitch in (41, 45) for n in before) >= 4  # toms


def test_a_section_without_music_is_silent_for_every_voice() -> None:
    for plan in (silent_plan(energy=0.0), silent_plan(text="No music."), silent_plan(text="silence")):
        assert plan.silences == ((10.0, 20.0),)  # type: ignore[attr-defined]
        piece = compose(plan)  # type: ignore[arg-type]
        inside = [n for part in piece.parts for n in part.notes if 10.0 < n.start < 19.9]
        assert not inside
        assert 12.0 not in piece.answered and 24.0 in piece.answered
        assert notes_of(piece, "drums") and any(n.start > 20 for n in notes_of(piece, "drums"))
        blocks = [np.ones((2, 48_000), np.float32) for _ in range(40)]
        wave = np.concatenate(list(fit_length(Piece(blocks), plan)), axis=1)  # type: ignore[arg-type]
        assert not wave[:, 480_000:960_000].any()
        assert (wave[:, :465_000] == 1).all() and (wave[:, 961_000:] == 1).all()
        assert np.abs(np.diff(wave[0])).max() < 0.01  # faded, no click
        energy = build_condition(plan).events.energy  # type: ignore[arg-type]
        assert energy[600:900].max() == 0.0


def test_a_section_without_music_survives_its_yaml() -> None:
    plan = silent_plan(energy=0.0)
    assert read_plan(write_plan(plan)).silences == plan.silences  # type: ignore[arg-type, attr-defined]
    assert make_plan("rock").silences == ()


def test_silences_that_meet_are_one() -> None:
    plan = make_plan("rock", seconds=30.0, energies=(0.0, 0.0, 0.7))
    assert plan.silences == ((0.0, 20.0),)


def test_without_a_beat_there_are_long_tones_and_few() -> None:
    piece = compose(make_plan("calm piano", seconds=60.0, tempo=0.0, hits=(), energies=(0.5,)))
    notes = [n for part in piece.parts for n in part.notes]
    assert 10 < len(notes) < 150
    assert np.median([n.end - n.start for n in notes]) > 1.0
    level = piece.level[200:-200]
    assert np.ptp(level) > 2.0  # each chord swells


def test_a_long_section_pauses_a_part_and_takes_it_back() -> None:
    plan = make_plan("funk", seconds=80.0, tempo=108.0, energies=(0.8,), hits=(), first=0.0)
    piece = compose(plan)
    bar = 4 * 60 / 108
    phrases = int(80 / (4 * bar))
    changing = set()
    for name in ("keys", "lead", "bass"):
        starts = [n.start for n in notes_of(piece, name)]
        played = [any(4 * bar * k + 0.1 < s < 4 * bar * (k + 1) - 0.1 for s in starts) for k in range(phrases)]
        if not all(played[1:]) and sum(played) >= 3:
            changing.add(name)
    assert changing


def test_the_last_section_may_be_a_tone_higher_and_is_led_to() -> None:
    plan = make_plan("happy pop", seconds=72.0, energies=(0.5, 0.6, 0.9), hits=(), first=0.0)
    lifted = 0
    for seed in range(12):
        form = shape(brief_of(plan), (seed, 0))
        first, last = form.settings[0].key, form.settings[-1].key
        if first != last:
            lifted += 1
            assert (last.tonic - first.tonic) % 12 == 2 and last.mode == first.mode
            border = form.measures[[m.scene for m in form.measures].index(2)].start
            before = next(s for s in reversed(form.slots) if s.start < border - 1e-6)
            assert set(before.harmony.tones) <= set(first.scale) & set(last.scale)
    assert 2 <= lifted <= 10


def test_common_chords_lead_from_key_to_key() -> None:
    assert Key(0, "major").common_chord(Key(2, "major")) == "V"  # G is IV of D
    assert Key(0, "major").common_chord(Key(9, "minor")) is not None
    assert Key(0, "major").common_chord(Key(6, "major")) is None


def test_a_button_ends_short_and_a_ring_rings() -> None:
    for text, is_short in (("swing", True), ("ambient", False)):
        piece = compose(make_plan(text, hits=()))
        last = [n for n in notes_of(piece, "keys") if n.start > piece.chords[-1].start - 0.1]
        assert last and (max(n.end - n.start for n in last) < 1.0) == is_short


def test_sections_keep_their_own_style() -> None:
    plan = make_plan(None, seconds=40.0, energies=(0.7, 0.7), hits=())
    a, b = plan.sections
    plan = dataclasses.replace(
        plan, sections=(dataclasses.replace(a, text="bossa nova"), Section(b.start, b.end, 0.8, "metal"))
    )
    assert [p.style for p in compose(plan).passages] == ["bossa", "metal"]


def test_the_last_beats_broaden_where_the_picture_allows() -> None:
    brief = brief_of(make_plan("waltz", hits=((4.8, 0.9),)))
    brief = dataclasses.replace(brief, hits=tuple(hit for hit in brief.hits if hit[0] < 30))
    slower = with_ritard(brief)
    last = round(brief.ending)
    before, after = np.diff(brief.beats)[: last + 1], np.diff(slower.beats)[: last + 1]
    assert (np.diff(after[last - 4 : last]) > 0.01).all() and after[last - 1] > 1.3 * before[last - 1]
    assert after[: last - 4] == pytest.approx(before[: last - 4]) and after[last] == pytest.approx(before[last])
    assert slower.duration - slower.at(slower.ending) >= 1.2


@pytest.mark.parametrize("room", [0.0, 0.9])
def test_no_hit_and_no_ending_is_given_up_for_a_ritard(room: float) -> None:
    plan = make_plan("waltz", hits=((4.8, 0.9),))
    brief = brief_of(plan)
    if room:  # the picture ends soon after the last chord
        brief = dataclasses.replace(brief, length=Fraction(brief.at(brief.ending) + room))
    else:
        held = brief.at(brief.ending - 1.5)
        brief = dataclasses.replace(brief, hits=(*brief.hits, (held, 1.0)))
    assert with_ritard(brief) is brief


def test_one_seed_is_another_piece_for_another_picture() -> None:
    plans = [make_plan(seconds=seconds) for seconds in (38.4, 38.8, 39.2, 40.0, 41.0, 42.0)]
    assert len({compose(plan, 0).tonic for plan in plans}) > 1
