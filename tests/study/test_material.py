"""Material for a study of recordings fitted against the same ones trimmed."""

import tomllib

import numpy as np
import pytest

from openvmas.cli.main import main
from openvmas.media.audio import read_audio
from openvmas.study.study_settings import read_study_plan
from tests.clips import write_clip
from tests.fitting.made import make_song

pytestmark = pytest.mark.slow


def test_fitted_and_trimmed_become_a_study(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "music").mkdir()
    make_song(16, 120).save(tmp_path / "music" / "one.wav")
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}.mp4", 5.0 if name == "a" else 4.0)
    arguments = ["study", "material", "a.mp4", "b.mp4", "--library", "music", "--output", "material", "--quiet"]
    assert main(arguments) == 0
    assert "2 videos by 2 systems" in capsys.readouterr().out
    waves = [read_audio(tmp_path / "material" / name / "a.mp4").wave for name in ("fitted", "trimmed")]
    assert all(abs(wave.shape[1] - 5 * 48_000) < 2400 for wave in waves)
    assert np.abs(waves[0][:, :200_000] - waves[1][:, :200_000]).max() > 0.01
    plan = read_study_plan(tmp_path / "material" / "STUDY.toml")
    assert list(plan.systems) == ["fitted", "trimmed"] and plan.settings.picture_pairs == 2
    made = (tmp_path / "material" / "fitted" / "a.mp4").stat().st_mtime_ns
    assert main(arguments) == 0  # what is there is kept
    assert (tmp_path / "material" / "fitted" / "a.mp4").stat().st_mtime_ns == made
    assert main(["study", "create", "material/STUDY.toml", "--output", "study", "--quiet"]) == 0
    assert "2 clips" in capsys.readouterr().out
    assert tomllib.loads((tmp_path / "material" / "STUDY.toml").read_text())["rounds"] == 1


def test_one_system_and_two_clips_of_one_name_are_refused(tmp_path, capsys):
    clip = str(write_clip(tmp_path / "a.mp4", 1.0))
    assert main(["study", "material", clip, "--systems", "fitted", "--output", str(tmp_path / "m")]) == 2
    assert "two systems or more" in capsys.readouterr().err
    assert main(["study", "material", clip, clip, "--output", str(tmp_path / "m")]) == 2
    assert "same name" in capsys.readouterr().err
