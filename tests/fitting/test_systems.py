"""The systems `fitted` and `trimmed` of eval run."""

from types import SimpleNamespace

import numpy as np
import pytest

from openvmas.errors import OptionError
from openvmas.eval.systems.fitted import FittedTrack
from openvmas.eval.systems.system import Setting, Task, open_system
from openvmas.media.loudness import integrated_loudness
from openvmas.vision.analysis import analyze
from tests.clips import write_clip
from tests.fitting.made import RATE, make_song

pytestmark = pytest.mark.slow


def test_both_systems_play_the_same_recording_as_long_as_the_picture(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "music").mkdir()
    make_song(8, 120).save(tmp_path / "music" / "one.wav")
    picture = analyze(write_clip(tmp_path / "clip.mp4", 5.0))
    setting = Setting(library=tmp_path / "music")
    sounds = {}
    for spec in ("fitted", "trimmed", "fitted:sweeten=1"):
        scratch = tmp_path / spec.replace(":", "-")
        scratch.mkdir()
        system = open_system(spec, setting)
        assert isinstance(system, FittedTrack) and "1 tracks" in system.describe()
        excerpt = SimpleNamespace(picture=picture, duration=picture.duration)
        sound = system.make(Task(excerpt, 0, scratch))  # type: ignore[arg-type]
        assert sound.wave.shape == (2, 5 * RATE)
        assert integrated_loudness([sound.wave], RATE) == pytest.approx(-14, abs=1)
        sounds[spec] = sound.wave
    assert np.abs(sounds["fitted"] - sounds["trimmed"]).max() > 0.01
    with pytest.raises(OptionError, match="no option"):
        open_system("trimmed:sweeten=1", setting)
