"""What the user decides on a recording: the plan's `music:`, locked and refused joins, edit lists and credits."""

import dataclasses
import itertools
import json
from fractions import Fraction

import numpy as np
import pytest

from openvmas.cli.main import main
from openvmas.errors import PlanError
from openvmas.fitting.proposal import propose
from openvmas.fitting.track import hear
from openvmas.fitting.wishes import Wishes
from openvmas.media.audio import read_audio
from openvmas.media.edit_list import EditPart, as_edl, as_otio
from openvmas.planning.music_edit import MusicEdit, MusicJoin
from openvmas.planning.plan_yaml import read_plan, write_plan
from openvmas.planning.schema import ScorePlan, Section
from tests.clips import write_clip
from tests.fitting.made import RATE, make_song

EDIT = MusicEdit("a ü.mp3", "ab", 1.5, ((1.0, 2.5),), ((5.0, 6.0),), (MusicJoin(3.2, 31.25, 63.0, "locked"),))
PLAN = ScorePlan(Fraction(10), (Section(0, 10.0),), music=EDIT)


def test_a_plan_with_music_reads_back_as_it_was():
    assert read_plan(write_plan(PLAN)) == PLAN
    assert "music:" not in write_plan(dataclasses.replace(PLAN, music=None))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("state: locked", "state: lock", r"music.joins\[0\].state: 'lock' is none of free"),
        ("music:\n", "music:\n  fil: x\n", "did you mean file"),
        ("time: 3.2", "time: 33.2", r"joins\[0\].time: 33.2 is out of range"),
        ("[[1.0, 2.5]]", "[[2.5, 1.0]]", r"kept\[0\]: 2.5 to 1 s is no span"),
        ('file: "a ü.mp3"', 'file: ""', "music.file: it is empty"),
    ],
)
def test_mistakes_are_told_by_line_and_field(old, new, sentence):
    with pytest.raises(PlanError, match=f"line [0-9]+, .*{sentence}"):
        read_plan(write_plan(PLAN).replace(old, new), "p.yaml")


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    made = make_song(32, 120)
    return made, hear(made.save(tmp_path_factory.mktemp("song") / "song.wav"))


def ask(song, edit, seconds=40.0, number=0):
    return propose(song[1], Wishes.of_user(seconds, ()), dataclasses.replace(edit, file="song.wav"), number)


def test_a_locked_join_is_made_at_its_time(song):
    made, track = song
    free = ask(song, MusicEdit("x"))
    wanted = MusicJoin(13.3, float(made.bars[6]), float(made.bars[16]), "locked")
    proposal = ask(song, MusicEdit("x", joins=(wanted,)))
    assert not proposal.missed
    join = next(join for join in proposal.edit.joins if join.state == "locked")
    assert join.time == pytest.approx(13.3, abs=0.002)
    assert join.source_from == pytest.approx(made.bars[6], abs=0.03)
    assert join.source_to == pytest.approx(made.bars[16], abs=0.03)
    assert all(abs(join.time - 13.3) > 0.05 for join in free.edit.joins)
    assert proposal.parts[-1].source_end == pytest.approx(track.end, abs=0.01)  # its own ending is kept
    assert ask(song, proposal.edit).edit == proposal.edit  # what was made is made again


def test_a_refused_join_is_not_made_and_forbidden_spans_are_not_heard(song):
    made, _ = song
    first = ask(song, MusicEdit("x")).edit.joins[0]
    refused = dataclasses.replace(first, state="refused")
    proposal = ask(song, MusicEdit("x", joins=(refused,)))
    assert all(
        abs(join.source_from - first.source_from) > 0.1 or abs(join.source_to - first.source_to) > 0.1
        for join in proposal.edit.made
    )
    assert refused in proposal.edit.joins
    span = (float(made.bars[12]), float(made.bars[14]))
    for part in ask(song, MusicEdit("x", forbidden=(span,))).parts:
        assert part.source_end <= span[0] + 0.06 or part.source_start >= span[1] - 0.06


def test_the_beginning_can_be_set_and_the_next_best_is_another(song):
    made, _ = song
    proposal = ask(song, MusicEdit("x", begin=float(made.bars[4])))
    assert proposal.parts[0].source_start == pytest.approx(made.bars[4], abs=0.03)
    best, other = (ask(song, MusicEdit("x"), number=number) for number in (0, 1))
    assert best.parts != other.parts and best.arrangement.value >= other.arrangement.value - 1e-6
    assert json.loads(json.dumps(other.describe()))["parts"][0]["start"] == 0


def test_what_cannot_be_is_said(song):
    with pytest.raises(PlanError, match=r"music.joins\[0\].source_to: 500 s lies outside the recording"):
        ask(song, MusicEdit("x", joins=(MusicJoin(3.0, 12.0, 500.0),)))
    with pytest.raises(PlanError, match="ends after the recording"):
        ask(song, MusicEdit("x", kept=((20.0, 900.0),)))
    near = tuple(MusicJoin(t, 8.0, 40.0, "locked") for t in (8.0, 8.3))
    assert ask(song, MusicEdit("x", joins=near)).missed


PARTS = [EditPart(0.0, 12.0, 4.0, 16.0), EditPart(12.0, 20.0, 40.0, 48.2)]


def test_an_edl_has_frames_and_tempo():
    lines = as_edl(PARTS, "/music/söng.wav", Fraction(25)).split("\r\n")
    assert "001  AX       AA    C        00:00:04:00 00:00:16:00 01:00:00:00 01:00:12:00" in lines
    assert "002  AX       AA    C        00:00:40:00 00:00:48:05 01:00:12:00 01:00:20:00" in lines
    assert "M2   AX       025.6                00:00:40:00" in lines
    assert lines.count("* FROM CLIP NAME: s_ng.wav") == 2


def test_an_otio_file_has_samples_and_is_read_by_its_library():
    text = as_otio(PARTS, "söng.wav")
    clips = json.loads(text)["tracks"]["children"][0]["children"]
    assert [clip["source_range"]["duration"]["value"] / RATE for clip in clips] == [12.0, 8.0]
    assert clips[1]["markers"] and not clips[0]["markers"]
    otio = pytest.importorskip("opentimelineio")
    timeline = otio.adapters.read_from_string(text, "otio_json")
    assert timeline.duration().to_seconds() == 20.0
    assert next(iter(timeline.find_clips())).media_reference.target_url == "söng.wav"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "music").mkdir()
    make_song(24, 120).save(tmp_path / "music" / "song.wav")
    licence = {"title": "Made", "artist": "A. Test", "licence": "CC0-1.0"}
    (tmp_path / "music" / "song.license.json").write_text(json.dumps(licence))
    write_clip(tmp_path / "clip.mp4", 12.0)
    return tmp_path


@pytest.mark.slow
def test_the_plan_of_a_sidecar_can_be_edited_and_played_again(folder, capsys):
    arguments = ["score", "clip.mp4", "--music", "music/song.wav", "--joins-out", "joins.otio"]
    assert main([*arguments, "--audio-out", "first.wav", "--quiet"]) == 0
    assert json.loads((folder / "joins.otio").read_text())["name"] == "song.wav"
    assert (folder / "clip.scored.credits.txt").read_text().startswith("Music: “Made” by A. Test")
    plan = read_plan(json.loads((folder / "clip.scored.json").read_text())["plan"])
    assert plan.music is not None and plan.music.file == "music/song.wav"
    bars = make_song(24, 120).bars
    join = MusicJoin(5.1, float(bars[8]), float(bars[21]), "locked")
    edited = dataclasses.replace(plan, music=dataclasses.replace(plan.music, joins=(join,)))
    (folder / "edited.yaml").write_text(write_plan(edited))
    again = ["score", "clip.mp4", "--plan", "edited.yaml", "-o", "again.mp4", "--quiet"]
    assert main([*again, "--audio-out", "again.wav"]) == 0
    report = json.loads((folder / "again.json").read_text())
    assert [round(join["time"], 2) for join in report["composer"]["joins"]] == [5.1]
    assert read_audio(folder / "again.wav").wave.shape == read_audio(folder / "first.wav").wave.shape
    assert main([*again, "--music", "music/song.wav"]) == 2
    assert "names the music that is played" in capsys.readouterr().err
    (folder / "other.yaml").write_text(write_plan(edited).replace(plan.music.sha256, "0" * 64))
    assert main(["score", "clip.mp4", "--plan", "other.yaml", "-o", "other.mp4"]) == 2
    assert "is not the recording" in capsys.readouterr().err


@pytest.mark.slow
def test_a_plan_is_made_with_music_and_kept(folder, capsys):
    assert main(["plan", "clip.mp4", "--music", "music", "--quiet"]) == 0
    assert "song.wav" in capsys.readouterr().out
    made = read_plan((folder / "clip.plan.yaml").read_text()).music
    assert made is not None and made.file == "music/song.wav" and len(made.sha256) == 64
    assert main(["plan", "clip.mp4", "--keep-from", "clip.plan.yaml", "--mood", "dark", "-o", "next.yaml"]) == 0
    assert read_plan((folder / "next.yaml").read_text()).music == made


@pytest.mark.slow
def test_joins_and_names_are_refused_where_they_make_no_sense(folder, capsys):
    for arguments, sentence in (
        (["score", "clip.mp4", "--model", "symbolic", "--joins-out", "x.edl"], "without joins"),
        (["score", "clip.mp4", "--music", "music/song.wav", "--joins-out", "x.txt"], "in .edl or .otio"),
        (["fit", "music/song.wav", "--joins-out", "x.wav"], "in .edl or .otio"),
    ):
        assert main(arguments) == 2
        assert sentence in capsys.readouterr().err
    assert main(["fit", "music/song.wav", "--length", "30", "--joins-out", "x.edl", "--quiet"]) == 0
    assert (folder / "x.edl").read_text().startswith("TITLE: song.wav")
    assert np.isfinite(read_audio(folder / "music" / "song.fitted.wav").wave).all()


def test_what_is_held_stays_when_something_else_is_edited(song):
    """Also in an arrangement that is not the best one: only what is asked is other."""
    made, _ = song
    other = ask(song, MusicEdit("x"), number=2)
    begin = other.parts[0].source_start
    span = (float(made.bars[30]), float(made.bars[31]))
    held = propose(song[1], Wishes.of_user(40.0, ()), dataclasses.replace(other.edit, kept=(span,)), 0, begin)
    places = [[(part.start, part.source_start) for part in one.parts] for one in (other, held)]
    np.testing.assert_allclose(places[0], places[1], atol=0.03)
    best = propose(song[1], Wishes.of_user(40.0, ()), dataclasses.replace(other.edit, joins=()), 0)
    assert best.parts != held.parts


@pytest.mark.parametrize("seconds", [20.0, 40.0, 63.0])
def test_three_variations_of_one_recording_are_three(song, seconds):
    """Also where the recording is as long as the picture: no moment of it is heard at the same time in two of them for
    more than half of the picture, and all end with its own ending."""
    times = np.arange(0, seconds - 1, 0.1)
    found = [ask(song, MusicEdit("x"), seconds, number) for number in range(3)]
    for one, other in itertools.combinations(found, 2):
        apart = np.abs(one.arrangement.source_times(times) - other.arrangement.source_times(times))
        assert (apart < 0.1).mean() < 0.5
    for one in found:
        assert len(one.arrangement.target_times(np.array([song[1].last])))
