"""`openvmas codec`: round trips of every kind of sound, refusals in one sentence, and the report's page."""

from __future__ import annotations

import base64
import json
import re
import shutil
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from openvmas.cli.main import main
from openvmas.codec.ovc import read_codes
from openvmas.codec.transcode import MonoSource
from openvmas.eval.codec.codec_comparison import codebook_use, compare_spectra, mel_distance, signal_to_noise
from openvmas.eval.codec.codec_report import SOUND, palette, png
from openvmas.media.audio import read_audio, write_wav
from openvmas.pretrained import find_weights, write_manifest
from openvmas.train.codec.codec_trainer import compare
from openvmas.train.codec.losses import SpectralLoss
from tests.clips import write_clip
from tests.codec.made import export_debug_codec
from tests.eval.test_video_report import Page

NOISE = np.random.default_rng(0).normal(0, 0.1, (2, 50_001)).astype(np.float32)
HOSTILE = "a <img src=x onerror=alert(1)> & b.wav"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models with other codebooks, "m" and "other"."""
    folder = tmp_path_factory.mktemp("models")
    export_debug_codec(folder / "m")
    export_debug_codec(folder / "other", seed=4)
    return folder


@pytest.fixture
def folder(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a model called m and a.wav in it."""
    (tmp_path / "m").symlink_to(models / "m")
    (tmp_path / "other").symlink_to(models / "other")
    write_wav(tmp_path / "a.wav", NOISE, 44_100)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """A command that must go well: its one line."""
    assert main(["codec", *arguments, "--quiet"]) == 0, capsys.readouterr().err
    captured = capsys.readouterr()
    assert captured.err == ""
    assert len(captured.out.splitlines()) == 1
    return captured.out


def refuse(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """A command that must fail as the user's and leave nothing: its one sentence."""
    before = {path.name for path in Path().iterdir()}
    assert main(["codec", *arguments, "--quiet"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and re.fullmatch(r"error: .{20,400}\n", captured.err), captured.err
    assert {path.name for path in Path().iterdir()} == before
    return captured.err


def test_there_and_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, "encode", "a.wav", "--model", "m")
    assert said.startswith("a.ovc: 1.1 s, 8 codebooks, 2400 bit/s (")
    file = read_codes("a.ovc")
    assert (file.original_sample_rate, file.original_length, file.sample_rate) == (44_100, 50_001, 32_000)
    assert file.length == -(-50_001 * 320 // 441) and file.codes.shape == (8, 57)
    said = run(capsys, "decode", "a.ovc", "--model", "m", "-o", "b.wav")
    assert said.startswith("b.wav: 1.1 s at 32000 Hz from 8 codebooks, decoded ")
    audio = read_audio("b.wav")
    assert (audio.sample_rate, audio.wave.shape) == (32_000, (1, file.length))
    assert audio.wave.std() > 0
    run(capsys, "decode", "a.ovc", "--model", "m", "-o", "c.wav", "--sample-rate", "44100")
    assert read_audio("c.wav").wave.shape == (1, 50_001)


def test_fewer_codebooks_are_the_first_of_all(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "encode", "a.wav", "--model", "m")
    assert "3 codebooks, 900 bit/s" in run(capsys, "encode", "a.wav", "--model", "m", "--codebooks", "3", "-o", "3.ovc")
    assert np.array_equal(read_codes("3.ovc").codes, read_codes("a.ovc").codes[:3])
    assert "from 3 codebooks" in run(capsys, "decode", "3.ovc", "--model", "m")


def special(name: str) -> np.ndarray:
    """Mono waves that have broken programs."""
    wave = NOISE[:1, :32_000].copy()
    broken = wave.copy()
    broken[0, 100:200], broken[0, 300], broken[0, 400] = np.nan, np.inf, -np.inf
    return {
        "silence": 0 * wave, "one sample": wave[:, :1], "no samples": wave[:, :0], "not a number": broken,
        "clipped": np.sign(wave), "far over full scale": 1e6 * wave,
    }[name]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["silence", "one sample", "no samples", "not a number", "clipped", "far over full scale"]
)
@pytest.mark.parametrize("rate", [32_000, 48_000])
def test_sounds_at_the_edge(folder: Path, capsys: pytest.CaptureFixture[str], name: str, rate: int) -> None:
    wave = special(name)
    write_wav("x.wav", wave, rate)
    run(capsys, "encode", "x.wav", "--model", "m")
    run(capsys, "decode", "x.ovc", "--model", "m", "-o", "y.wav", "--sample-rate", str(rate))
    data = np.frombuffer(Path("y.wav").read_bytes()[58:], "<f4")
    assert len(data) == wave.shape[1]
    assert np.isfinite(data).all()
    if name == "no samples":
        assert "no samples" in refuse(capsys, "report", "x.wav", "--model", "m")
    else:
        run(capsys, "report", "x.wav", "--model", "m")


def test_not_a_number_is_silence_and_spreads_no_further(folder: Path) -> None:
    wave = special("not a number")
    write_wav("nan.wav", wave, 44_100)
    write_wav("zero.wav", np.nan_to_num(wave, nan=0, posinf=0, neginf=0), 44_100)
    found = [np.concatenate(list(MonoSource(name, 32_000).blocks())) for name in ("nan.wav", "zero.wav")]
    assert np.array_equal(*found)
    assert len(found[0]) == -(-32_000 * 320 // 441)


def test_the_sound_of_a_video(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(folder / "clip.mp4", 2.0, sound="sine")
    write_clip(folder / "silent.mp4", 1.0)
    assert run(capsys, "encode", "clip.mp4", "--model", "m").startswith("clip.ovc: 2.0 s")
    assert read_codes("clip.ovc").original_sample_rate == 48_000
    assert "has no sound" in refuse(capsys, "encode", "silent.mp4", "--model", "m")


def test_refusals(folder: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ("--model", "m")
    assert "does not exist" in refuse(capsys, "encode", "gone.wav", *model)
    assert "end b.bin in .ovc" in refuse(capsys, "encode", "a.wav", *model, "-o", "b.bin")
    assert "end b.mp3 in .wav" in refuse(capsys, "decode", "a.ovc", *model, "-o", "b.mp3")
    assert "number from 1 to 8" in refuse(capsys, "encode", "a.wav", *model, "--codebooks", "9")
    assert "number from 1 to 8" in refuse(capsys, "report", "a.wav", *model, "--codebooks", "0")
    assert "no model called nothing" in refuse(capsys, "encode", "a.wav", "--model", "nothing")
    assert "folder missing does not exist" in refuse(capsys, "encode", "a.wav", *model, "-o", "missing/a.ovc")
    Path("text.wav").write_text("no sound at all " * 20)
    assert "text" in refuse(capsys, "encode", "text.wav", *model)
    assert "is not an .ovc file" in refuse(capsys, "decode", "a.wav", *model, "-o", "b.wav")
    run(capsys, "encode", "a.wav", *model)
    assert "exists already" in refuse(capsys, "encode", "a.wav", *model)
    run(capsys, "encode", "a.wav", *model, "--overwrite")
    assert "is encoded already" in refuse(capsys, "encode", "a.ovc", *model, "-o", "b.ovc")
    assert "exists already" in refuse(capsys, "decode", "a.ovc", *model)
    Path("a.wav").unlink()
    assert "number from 4000 to 384000" in refuse(capsys, "decode", "a.ovc", *model, "--sample-rate", "0")
    assert "by the model debug, which is none of the presets" in refuse(capsys, "decode", "a.ovc")
    assert "by another model, called debug" in refuse(capsys, "decode", "a.ovc", "--model", "other")
    data = Path("a.ovc").read_bytes()
    Path("a.ovc").write_bytes(data[:-40])
    assert "is cut short" in refuse(capsys, "decode", "a.ovc", *model)
    Path("a.ovc").write_bytes(data[:-40] + bytes(40))
    assert "checksum is wrong" in refuse(capsys, "decode", "a.ovc", *model)
    Path("a.ovc").write_bytes(data)
    Path("a.ovc").rename("codes.wav")
    assert "is the input itself" in refuse(capsys, "decode", "codes.wav", *model)


def test_a_model_that_only_writes_music(folder: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = find_weights(models / "m")
    (folder / "old").mkdir()
    shutil.copy(weights.file("codec"), folder / "old")
    write_manifest("old", name="old", version="0.1", licence="x", files={"codec": "codec.onnx"}, sizes=weights.sizes)
    for command in ("encode", "report"):
        assert "model old 0.1 cannot encode or decode sound" in refuse(capsys, command, "a.wav", "--model", "old")


# --- the report ---


def test_figures_are_those_of_training() -> None:
    rng = np.random.default_rng(5)
    wave = (0.1 * np.cumsum(rng.normal(0, 0.2, 32_000 * 2)) % 0.4 - 0.2).astype(np.float32)
    other = (0.7 * wave + 0.02 * rng.normal(size=len(wave))).astype(np.float32)
    clips = torch.from_numpy(np.stack([wave, other]))
    expected = compare(clips[:1], clips[1:], SpectralLoss(32_000))
    mel, noise = mel_distance(wave, other, 32_000), signal_to_noise(wave, other, 32_000)
    assert mel.whole == pytest.approx(expected["mel"], abs=2e-4)
    assert noise.whole == pytest.approx(expected["snr_db"], abs=1e-3)
    assert len(mel.seconds) == len(noise.seconds) == 2
    for band in compare_spectra(wave, other, 32_000).bands:
        key = f"corr_{band.low}_{band.high}"
        assert band.correlation == pytest.approx(expected[key], abs=0.02), key


def test_a_band_that_is_lost_is_seen_in_its_place() -> None:
    time = np.arange(64_000) / 32_000
    low, high = (0.2 * np.sin(2 * np.pi * f * time).astype(np.float32) for f in (300, 7000))
    spectra = compare_spectra(low + high, 0.5 * low, 32_000)
    assert spectra.bands[0].level_difference_db == pytest.approx(-6.02, abs=0.1)
    assert spectra.bands[3].low == 5000 and spectra.bands[3].level_difference_db < -40
    lost = (spectra.pictures[0] - spectra.pictures[1])[:, 30:90].mean(axis=1)
    mel = 2595 * np.log10(1 + np.array([300, 7000, 16_000]) / 700)
    assert abs(np.argmax(lost) - 192 * mel[1] / mel[2]) < 3
    assert lost[round(192 * mel[0] / mel[2])] == pytest.approx(6.02, abs=0.5)
    half = low.copy()
    half[32_000:] = 0
    ratios = signal_to_noise(low, half, 32_000).seconds
    assert ratios[0] is None and ratios[1] == pytest.approx(0, abs=1e-6)


def test_use_of_codebooks() -> None:
    use = codebook_use(np.array([[0, 1, 2, 3], [5, 5, 5, 5], [0, 0, 1, 1]]), 8)
    assert [u.entries for u in use] == [4, 1, 2]
    assert [u.perplexity for u in use] == pytest.approx([4, 1, 2])


def test_png_is_a_png(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    (tmp_path / "a.png").write_bytes(png(pixels, palette(SOUND)))
    with av.open(str(tmp_path / "a.png")) as container:
        seen = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.array_equal(seen, palette(SOUND)[pixels])


def test_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("a.wav", HOSTILE)
    assert main(["codec", "report", HOSTILE, "--model", "m", "-o", "r.html", "--json", "--quiet"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["file"] == HOSTILE and data["bits_per_second"] == 2400
    assert data["duration"] == pytest.approx(50_001 / 44_100)
    assert len(data["codebooks"]) == 8 and len(data["bands"]) == 5
    assert len(data["seconds"]["snr_db"]) == len(data["seconds"]["mel_distance"]) == 2
    text = Path("r.html").read_text(encoding="utf-8")
    page = Page(text)
    sources = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert [str(url)[:22] for url in sources] == ["data:audio/mp4;base64,"] * 2 + ["data:image/png;base64,"] * 3
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "img"}
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in text and "@import" not in text and "$" not in re.sub(r"base64,[^\"]*", "", text)
    assert any("default-src 'none'" in (attributes.get("content") or "") for _, attributes in page.tags)
    assert HOSTILE in page.text and "2.40 kbit/s" in page.text and f"{data['mel_distance']:.3f}" in page.text
    for url in sources[:2]:
        Path("s.m4a").write_bytes(base64.b64decode(str(url).partition(",")[2]))
        assert read_audio("s.m4a").duration == pytest.approx(50_001 / 44_100, abs=0.03)
    image = base64.b64decode(str(sources[2]).partition(",")[2])
    width, height = struct.unpack(">II", image[16:24])
    assert (width, height) == (data["duration"] * 32_000 // 512 + 1, 192)
    assert zlib.crc32(image[12:29]) == struct.unpack(">I", image[29:33])[0]
    assert {path.name for path in folder.iterdir()} == {"a.wav", HOSTILE, "m", "other", "r.html", "s.m4a"}


def test_a_long_sound_is_played_in_part(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    from openvmas.eval.codec import codec_report

    monkeypatch.setattr(codec_report, "LISTEN", 1)
    run(capsys, "report", "a.wav", "--model", "m")
    text = Page(Path("a.codec.html").read_text(encoding="utf-8")).text
    assert "The first 1.0 s of 1.1 s." in text
