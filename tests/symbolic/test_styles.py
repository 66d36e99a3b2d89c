"""Styles as data: what the files hold, and what is said about one that is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openvmas.errors import InputError
from openvmas.planning.lexicon import lexicon
from openvmas.planning.text import parse_text
from openvmas.symbolic import styles
from openvmas.symbolic.desk.mixes import read_mix
from openvmas.symbolic.figures import Lane, play_bass, play_chord
from openvmas.symbolic.harmony import Key, read_chord
from openvmas.symbolic.players.touch import Drummer, Place, read_drummers
from openvmas.symbolic.styles import (
    NEAR,
    Style,
    choose_style,
    equip,
    fit,
    named_style,
    read_style,
    read_styles,
    read_usual,
)

FILES = sorted((Path(styles.__file__).parent / "style_files").glob("*.toml"))
STYLES = read_styles().styles


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_a_style_is_whole(style: Style) -> None:
    assert {*style.words, *style.hints, *style.moods} <= set(lexicon().entries)
    assert len(style.figures["keys"]) >= 2 and style.about.endswith(".")
    if "kit" in style.voices:
        assert len(style.grooves) >= 2 and style.fills
    read_mix(style.mix)
    assert style.entries.get("keys", 0) <= 0.5
    assert all(progressions for progressions in style.progressions.values())


def test_there_are_thirty_and_none_answers_to_the_words_of_another() -> None:
    assert len(STYLES) >= 30
    words = [word for style in STYLES for word in (*style.words, *style.hints)]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("text", "name"),
    [("piano jazz", "swing"), ("no metal, calm piano", "documentary piano"), ("ein Walzer", "waltz"),
     ("scary drum and bass", "drum and bass"), ("Bossa-Nova with flute", "bossa"), ("epic rock", "indie rock")],
)  # fmt: skip
def test_words_choose_a_style(text: str, name: str) -> None:
    found = named_style(parse_text(text).named)
    assert found is not None and found.name == name


@pytest.mark.parametrize("text", ["happy", "calm", "melancholic"])
def test_a_mood_alone_leaves_the_choice_to_the_styles_that_list_it(text: str) -> None:
    named = parse_text(text).named
    drawn = [choose_style({}, named, 4, np.random.default_rng(k)) for k in range(30)]
    assert all(text in style.moods for style in drawn) and len({style.name for style in drawn}) > 1
    assert choose_style({}, (*named, "jazz"), 4).name == "swing"


def test_a_denied_style_is_not_taken() -> None:
    assert named_style(parse_text("not techno").named) is None


def test_a_waltz_is_drawn_only_where_bars_have_three_beats() -> None:
    semantics = {"classical": 1.0, "tender": 0.7, "strings": 0.6}
    drawn = {choose_style(semantics, (), 4, np.random.default_rng(k)).name for k in range(20)}
    assert "waltz" not in drawn
    assert choose_style(semantics, (), 3).name == "waltz"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('drummer = "funk"', 'drummer = "funky"', r"drummer: 'funky' is not known; did you mean funk\?"),
        ("n_tones = 5", "n_tones = 9", "n_tones: 9 is not a number from 2 to 5"),
        ('kick = "X.......x......."', 'kick = "X......x"', r"grooves\[0\].kick: .* has 8 steps; give a multiple of 16"),
        ('"1-..1-..1-..8..."', '"1-..1-..1-..9..."', r"figures.bass\[0\]: .* has '9'; the signs here are"),
        ("i9 IV9 i9 IV9", "i9 IVx i9 IV9", r"progressions.dorian: 'IVx' is no chord; give Roman numerals"),
        ("[voices]", "[voices]\nlute = 'piano'", "voices.lute: 'lute' is not known; give one of lead, counter"),
        ('bass = ["slap",', 'bass = ["slapp",', r"voices.bass: 'slapp' is not known; did you mean slap\?"),
        ("danceability = 1.0", "dancability = 1.0", "profile.dancability: .* did you mean danceability"),
        ("has_stop = true", "has_stop = 1", "form.has_stop: 1 is neither true nor false"),
        ("tempo = [98, 122]", "tempo = 98", r"tempo: give the lowest and the highest, such as \[80, 95\]"),
        ('name = "funk"', "", "name: this field is missing; add it"),
        ("[form]", "[form", "is not TOML"),
    ],
)
def test_a_mistake_is_named_with_its_field_and_remedy(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = next(path for path in FILES if path.stem == "funk").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        read_style(path)
    assert str(error.value).startswith(str(path))


def test_a_style_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FILES[0].read_text(encoding="utf-8"), encoding="utf-8")
    assert read_style(path) == STYLES[0]


def test_the_example_of_the_docs_is_a_style(tmp_path: Path) -> None:
    text = (Path(styles.__file__).parents[2] / "docs" / "symbolic.md").read_text(encoding="utf-8")
    path = tmp_path / "waltz.toml"
    path.write_text(text.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    style = read_style(path)
    assert style.name == "my waltz" and style.metre == 3


def test_roman_numerals() -> None:
    c, a = Key(0, "major"), Key(9, "minor")
    assert c.chord("V7").tones == (7, 11, 2, 5) and c.chord("V7").symbol == "G7"
    assert c.chord("ii", 4).symbol == "Dm7" and c.chord("IVmaj7").symbol == "Fmaj7"
    assert c.chord("bVII").tones == (10, 2, 5) and 10 in c.chord("bVII").scale
    assert c.chord("iv").tones == (5, 8, 0)
    assert a.chord("V").tones == (4, 8, 11) and a.chord("VI").tones == (5, 9, 0)
    assert len(c.chord("II7").scale) == 7
    with pytest.raises(ValueError, match="'H' is no chord"):
        read_chord("H")


def test_a_hold_over_the_chord_anticipates_the_next() -> None:
    lane = Lane(0.0, 0, 4.0, 4.0, 16)
    marks = lane.read("--..X...X...X...|--..".replace("|", "")[:16], 0.0, 4.0)
    assert not any(mark.ties for mark in marks)
    tied = Lane(0.0, 0, 4.0, 4.0, 16).read("-...X...X.....x-", 0.0, 4.0)[-1]
    assert tied.ties and tied.beat == 3.5 and tied.beat + tied.length == pytest.approx(4.25)
    here, following = (60, 64, 67), (57, 60, 65)
    played = play_chord([tied], here, following, 48, 4.0, 0.5, False)
    assert tuple(stroke.pitch for stroke in played) == following
    harmony = Key(0, "major").chord("I")
    bass = play_bass([tied._replace(sign="1")], harmony, 36, 33, 33)
    assert bass[0].pitch == 33


def test_patterns_go_at_half_and_double_speed() -> None:
    style = read_styles().style("drum and bass")
    assert [style.pace(tempo) for tempo in (172, 86, 100)] == [1.0, 2.0, 2.0]
    assert read_styles().style("ambient").pace(140) == 0.5
    fast = Lane(0.0, 0, 4.0, 8.0, 16, True)
    assert [mark.beat for mark in fast.read("X.......x.......", 0.0, 4.0)] == [0.0, 1.0, 2.0, 3.0]
    slow = [
        Lane(4.0 * bar, bar, 4.0, 2.0, 16, True).read("X.......x.......", 4.0 * bar, 4.0 * bar + 4) for bar in (0, 1)
    ]
    assert [mark.sign for marks in slow for mark in marks] == ["X", "x"]


def test_drummers_play_as_they_were_measured() -> None:
    for name in set(styles.DRUMMERS) - {"machine"}:
        assert name in read_drummers()
    measured = read_drummers()["funk"]["4"]["kick"]
    drummer = Drummer("funk", 4, np.random.default_rng(0))
    stroke = styles.KICK
    from openvmas.symbolic.figures import Stroke

    late = [
        np.mean([drummer.play(Stroke(k / 4, 0.2, stroke, 0.8), Place(k / 4, 4, 0))[0] for _ in range(300)])
        for k in range(16)
    ]
    assert np.corrcoef(late, measured["late"])[0, 1] > 0.95
    machine = Drummer("machine", 4, np.random.default_rng(0))
    assert machine.play(Stroke(1.25, 0.2, stroke, 0.8), Place(1.25, 4, 0)) == (0.0, 0.8)


LIVELY = {"arousal": 1.2, "exciting": 1.0, "drums": 0.9, "electronic": 0.6, "bass": 0.5}


def test_every_style_has_been_held_against_pictures_at_large() -> None:
    assert set(read_usual()) == {style.name for style in STYLES}


def test_a_style_whose_tempo_is_another_does_not_fit() -> None:
    style = read_styles().style("drum and bass")
    assert fit(style, LIVELY, 172) == fit(style, LIVELY, 86) == fit(style, LIVELY)
    assert fit(style, LIVELY, 104) < fit(style, LIVELY) - 1
    assert choose_style(LIVELY, (), 4, tempo=104).name != "drum and bass"


def test_seeds_draw_among_styles_that_fit_nearly_as_well() -> None:
    drawn = [choose_style(LIVELY, (), 4, np.random.default_rng(k), 120.0) for k in range(40)]
    best = max(fit(style, LIVELY, 120.0) for style in STYLES)
    assert len({style.name for style in drawn}) >= 3
    assert all(fit(style, LIVELY, 120.0) >= best - NEAR - 1e-9 for style in drawn)


def test_a_piece_may_lack_a_spare_part_but_never_what_was_asked_for() -> None:
    style = read_styles().style("pop")
    pieces = [equip(style, {"piano": 1.5}, np.random.default_rng(k))[0] for k in range(60)]
    lacking = [{part for part, entry in piece.entries.items() if entry >= 9} for piece in pieces]
    assert all(parts <= set(style.spare) for parts in lacking) and 10 < sum(map(bool, lacking)) < 45
    asked = [equip(style, {"strings": 1.5}, np.random.default_rng(k))[0] for k in range(60)]
    assert all(piece.entries["pad"] <= 0.1 for piece in asked)
