"""MusicGen as it was published, with tiny random weights: lengths, seeds, continuation, and fitting to a picture."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from openvmas.cli.main import main
from openvmas.errors import InputError, ModelError
from openvmas.fitting import generators
from openvmas.fitting.generators import open_contract
from openvmas.hub.musicgen_writer import MusicGenWriter
from openvmas.media.audio import Audio, write_wav
from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.conditioning import build_condition
from openvmas.planning.schema import ScorePlan, Section
from openvmas.settings import GenerateOptions
from tests.clips import write_clip
from tests.hub.made import RATE, write_musicgen

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_musicgen(tmp_path_factory.mktemp("tiny-musicgen"))


def test_length_and_seed(weights: Path) -> None:
    writer = MusicGenWriter(weights)
    first = writer.write("calm piano", 1.5, 3)
    assert first.sample_rate == RATE and first.wave.shape == (1, round(1.5 * RATE)) and np.isfinite(first.wave).all()
    assert np.array_equal(writer.write("calm piano", 1.5, 3).wave, first.wave)


def test_longer_than_a_window_goes_on_from_the_end_of_the_last(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = MusicGenWriter(weights, window=1.0, context=0.4)
    asked: list[tuple[int, int]] = []
    plain = MusicGenWriter._write_window

    def watched(self: MusicGenWriter, text: str, length: int, guidance: float, context: np.ndarray | None):
        block = plain(self, text, length, guidance, context)
        asked.append((length, 0 if context is None else context.shape[1]))
        assert block.shape == (1, length)  # the context is cut away again, and nothing else is missing
        return block

    monkeypatch.setattr(MusicGenWriter, "_write_window", watched)
    made = writer.write("calm piano", 2.5, 0)
    assert made.wave.shape == (1, round(2.5 * RATE))
    held = round(0.4 * RATE)
    assert asked == [(RATE, 0), (RATE - held, held), (RATE - held, held), (round(0.3 * RATE), held)]
    asked.clear()
    start = Audio(np.sin(np.arange(48_000) / 20).astype(np.float32)[None] * 0.3, 48_000)
    made = writer.write("calm piano", 0.5, 0, start=start)
    assert made.wave.shape == (1, round(0.5 * RATE)) and asked == [(round(0.5 * RATE), round(0.4 * RATE))]


def test_a_video_is_scored_by_the_folder(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What random weights write is noise; that noise is not thrown away is all that is changed here."""
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(generators, "judge", lambda *_: "")
    write_clip(tmp_path / "clip.mp4", 3.0)
    write_wav(tmp_path / "song.wav", np.random.default_rng(0).normal(0, 0.1, (1, 48_000)).astype(np.float32), 48_000)
    command = ["score", str(tmp_path / "clip.mp4"), "--music-from", str(weights), "--text", "calm piano", "--overwrite"]
    reports = []
    for more in ([], ["--like", str(tmp_path / "song.wav")]):
        assert main([*command, *more]) == 0, capsys.readouterr().err
        reports.append(json.loads((tmp_path / "clip.scored.json").read_text()))
    assert reports[0]["composer"]["generator"]["text"].startswith("calm piano")
    assert len(list((tmp_path / "cache" / "generated").glob("*.wav"))) == 2  # going on from a song is another request
    assert main([*command, "--like", str(tmp_path / "none.wav")]) == 2


def test_a_piece_is_as_long_as_its_plan(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(generators, "judge", lambda *_: "")
    plan = ScorePlan(Fraction(4), (Section(0, 4.0),), (TempoMark(0.0, 120.0),), text="calm piano")
    piece = open_contract(str(weights)).compose(build_condition(plan), plan, GenerateOptions(seed=1))
    assert np.concatenate(list(piece), axis=1).shape == (2, 4 * 48_000)


def test_other_folders_are_refused_in_a_sentence(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no kind that is known"):
        open_contract(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="a model of bert"):
        open_contract(str(tmp_path))
    with pytest.raises(ModelError, match=r"holds no preprocessor_config\.json"):
        MusicGenWriter(tmp_path)
    assert main(["score", str(tmp_path / "clip.mp4"), "--model", str(weights)]) == 2
