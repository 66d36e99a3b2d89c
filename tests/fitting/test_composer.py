"""`score --music` and `openvmas fit`: what is written, said and refused."""

import json

import numpy as np
import pytest

from openvmas.cli.main import main
from openvmas.errors import OptionError
from openvmas.fitting.composer import read_spans, read_time
from openvmas.media.audio import read_audio
from tests.clips import write_clip
from tests.fitting.made import RATE, make_song

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    make_song(16, 120).save(tmp_path / "song.wav")
    return tmp_path


def test_a_video_is_scored_with_a_recording(folder, capsys):
    write_clip(folder / "clip.mp4", 6.0)
    (folder / "song.license.json").write_text(json.dumps({"title": "Made", "artist": "A. Test", "licence": "CC0-1.0"}))
    arguments = ["score", "clip.mp4", "--music", "song.wav", "--audio-out", "music.wav"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "6.0 s of song.wav (Made by A. Test)" in said.out
    assert "Music: “Made” by A. Test, licensed under CC0-1.0" in said.err
    report = json.loads((folder / "clip.scored.json").read_text())
    assert report["model"]["name"] == "song.wav" and report["options"]["music"] == "song.wav"
    assert report["composer"]["track"]["licence"] == "CC0-1.0"
    assert report["composer"]["ending"] == "the recording's own"
    assert read_audio(folder / "music.wav").wave.shape == (2, 6 * RATE)


def test_fit_writes_exactly_the_length(folder, capsys):
    assert main(["fit", "song.wav", "--length", "0:21.3", "--hit", "9.1", "--report", "fit.json", "--quiet"]) == 0
    wave = read_audio(folder / "song.fitted.wav").wave
    assert wave.shape == (2, round(21.3 * RATE))
    report = json.loads((folder / "fit.json").read_text())
    assert report["hits"][0]["hit"] == 9.1 and report["hits"][0]["kind"] in ("bar line", "beat")
    assert "21.30 s of song.wav" in capsys.readouterr().out
    assert main(["fit", "song.wav"]) == 2  # it is there already


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fit", "none.wav"], "cannot be read"),
        (["fit", "song.wav", "--length", "abc"], "minutes and seconds"),
        (["fit", "song.wav", "--length", "10", "--hit", "12"], "not before the end"),
        (["fit", "song.wav", "-o", "x.mp3"], "written as WAV"),
        (["fit", "song.wav", "--music-keep", "40-20"], "0:20-0:40"),
        (["fit", "song.wav", "--music-keep", "0:20-9:40"], "ends after the recording"),
        (["score", "clip.mp4", "--music", "song.wav", "--model", "symbolic"], "give one of them"),
        (["score", "clip.mp4", "--music", "empty"], "holds no music"),
        (["score", "clip.mp4", "--music", "song.wav", "--sweeten-out", "x.wav"], "give --sweeten too"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(folder, capsys, arguments, sentence):
    write_clip(folder / "clip.mp4", 2.0)
    (folder / "empty").mkdir()
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err
    assert not list(folder.glob("*.fitted.wav")) and not list(folder.glob("*.scored.*"))


def test_spans_and_times_are_read():
    assert read_spans(["0:20-0:40", "61.5 - 1:02:00"], "--music-keep") == ((20.0, 40.0), (61.5, 3720.0))
    assert read_time("1:13.5", "--length") == 73.5
    with pytest.raises(OptionError, match="give two times"):
        read_spans(["20"], "--music-keep")


def test_sweetening_works_beside_a_recording(folder):
    write_clip(folder / "clip.mp4", 8.0)
    arguments = ["score", "clip.mp4", "--music", "song.wav", "--sweeten", "--hit", "3.2", "--sweeten-out", "stem.wav"]
    assert main([*arguments, "--quiet"]) == 0
    report = json.loads((folder / "clip.scored.json").read_text())
    sounds = report["composer"]["sweetening"]["sounds"]
    assert any(sound["time"] == 3.2 and sound["kind"] == "impact" for sound in sounds)
    stem = read_audio(folder / "stem.wav").wave
    assert stem.shape == (2, 8 * RATE)
    at = round(3.2 * RATE)
    assert np.abs(stem[:, at : at + 4800]).max() > 0.05
