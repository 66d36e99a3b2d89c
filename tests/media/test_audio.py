"""Sound on the picture's clock, fold-down, resampling and WAV files."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from openvmas.errors import InputError, OutputError
from openvmas.media import audio
from openvmas.media.audio import Audio, WavReader, map_wav, read_audio, read_audio_blocks, resample, write_wav
from openvmas.media.probe import probe
from tests.media.clips import SAMPLE_RATE, make_clip, tone


def click_track(n_samples: int, *places: int) -> np.ndarray:
    wave = np.zeros((2, n_samples), np.float32)
    wave[:, list(places)] = 0.9
    return wave


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("mp4", "aac"), ("mkv", "libopus"), ("mkv", "flac"), ("mov", "pcm_s16le"), ("mkv", "libmp3lame")],
)
def test_placed_on_the_clock_of_the_picture(tmp_path: Path, kind: str, codec: str) -> None:
    path = make_clip(tmp_path / f"clip.{kind}", sound=click_track(48_000, 24_000), sound_codec=codec)
    wave = read_audio(path, info=probe(path)).wave
    assert abs(int(np.abs(wave[0]).argmax()) - 24_000) <= 1
    assert wave.shape[0] == 2 and wave.dtype == np.float32


@pytest.mark.parametrize("kind", ["mp4", "mkv", "mov"])
def test_late_sound_is_preceded_by_silence(tmp_path: Path, kind: str) -> None:
    codec = "pcm_s16le" if kind == "mov" else "flac"
    sound = click_track(24_000, 4800)
    path = make_clip(tmp_path / f"clip.{kind}", sound=sound, sound_codec=codec, sound_start=Fraction(1, 2))
    wave = read_audio(path, info=probe(path)).wave
    assert wave.shape[1] == 48_000
    assert int(np.abs(wave[0]).argmax()) == 28_800
    assert not wave[:, :23_000].any()


def test_sound_before_the_picture_is_left_out(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "clip.mkv", start=Fraction(1, 2), sound=click_track(96_000, 24_000 + 4800), sound_codec="flac"
    )
    info = probe(path)
    wave = read_audio(path, info=info).wave
    assert int(np.abs(wave[0]).argmax()) == 4800
    assert wave.shape[1] == 72_000
    assert read_audio(path).wave.shape[1] == 96_000  # by itself it is all there


def test_mp4_ends_to_the_sample(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", sound=tone(30_001), muxer={"movie_timescale": "48000"})
    assert read_audio(path, info=probe(path)).wave.shape[1] == 30_001


def test_missing_packets_become_silence(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mkv", sound=tone(96_000), sound_codec="flac", n_frames=50)
    path = tmp_path / "gap.mkv"
    with av.open(str(source)) as container, av.open(str(path), "w") as result:
        streams = [result.add_stream_from_template(stream, opaque=True) for stream in container.streams]
        for packet in container.demux():
            if not packet.size or (packet.stream.type == "audio" and 0.5 < float(packet.pts * packet.time_base) < 1):
                continue
            packet.stream = streams[packet.stream_index]
            result.mux(packet)
    wave = read_audio(path, info=probe(path)).wave
    assert wave.shape[1] == 96_000
    assert not wave[:, 30_000:46_000].any()
    np.testing.assert_allclose(wave[:, 60_000:], tone(96_000)[:, 60_000:], atol=0.001)


def test_surround_is_folded_down(tmp_path: Path) -> None:
    # 5.1 in FFmpeg's order: FL FR FC LFE BL BR. Only the centre and the left back speak.
    wave = np.zeros((6, 24_000), np.float32)
    wave[2], wave[4], wave[3] = tone(24_000, 400, 0.5, 1)[0], tone(24_000, 1000, 0.25, 1)[0], 0.9
    path = make_clip(tmp_path / "clip.mkv", sound=wave, sound_codec="flac", layout="5.1")
    folded = read_audio(path, 48_000).wave
    half = np.sqrt(0.5)
    np.testing.assert_allclose(folded[0], half * (wave[2] + wave[4]), atol=1e-3)
    np.testing.assert_allclose(folded[1], half * wave[2], atol=1e-3)


def test_mono_goes_to_both_sides_at_its_level(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", sound=tone(24_000, channels=1), sound_codec="flac", layout="mono")
    assert read_audio(path).wave.shape == (1, 24_000)
    (both,) = read_audio_blocks(path, SAMPLE_RATE, 2, 100_000)
    np.testing.assert_allclose(both, tone(24_000), atol=1e-3)


@pytest.mark.parametrize(
    ("codec", "kind"), [("pcm_u8", "mkv"), ("pcm_s32le", "mkv"), ("pcm_f64le", "mkv"), ("ac3", "mkv")]
)
def test_sample_formats(tmp_path: Path, codec: str, kind: str) -> None:
    path = make_clip(tmp_path / f"clip.{kind}", sound=tone(24_000), sound_codec=codec)
    wave = read_audio(path, info=probe(path)).wave[:, 4000:20_000]
    np.testing.assert_allclose(wave, tone(24_000)[:, 4000:20_000], atol=0.02)


def test_resampled_without_shift(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", sound=tone(48_000, 440), sound_codec="flac")
    low = read_audio(path, 16_000, mono=True)
    assert low.wave.shape == (1, 16_000) and low.sample_rate == 16_000 and low.duration == 1
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(low.wave[0, 500:-500], expected[500:-500], atol=1e-3)
    again = resample(low, 48_000)
    np.testing.assert_allclose(again.wave[0, 3000:-3000], tone(48_000)[0, 3000:-3000], atol=2e-3)
    assert resample(low, 16_000) is low


def test_blocks_have_the_asked_size_and_equal_the_whole(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", sound=tone(50_000), sound_codec="flac")
    blocks = list(read_audio_blocks(path, 44_100, 2, 5000))
    assert {block.shape[1] for block in blocks[:-1]} == {5000}
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), read_audio(path, 44_100).wave)


def test_broken_packets_are_skipped(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", sound=tone(96_000), n_frames=50)
    with av.open(str(path)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in spans[40:44]:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(bytes(data))
    wave = read_audio(path, info=probe(path)).wave
    assert wave.shape[1] == 96_000
    np.testing.assert_allclose(wave[:, 70_000:90_000], tone(96_000)[:, 70_000:90_000], atol=0.01)


def test_no_sound(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no sound that can be read; give a file with an audio stream"):
        read_audio(make_clip(tmp_path / "clip.mp4"))


def test_wav_round_trip(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-1, 1, (2, 10_001)).astype(np.float32)
    path = tmp_path / "sound.wav"
    assert write_wav(path, (wave[:, i : i + 999] for i in range(0, 10_001, 999)), 48_000) == 10_001
    np.testing.assert_array_equal(read_audio(path).wave, wave)  # as FFmpeg reads it
    reader = WavReader(path)
    assert (reader.n_channels, reader.n_samples, reader.sample_rate) == (2, 10_001, 48_000)
    np.testing.assert_array_equal(reader.read(100, 20_000), wave[:, 100:])
    np.testing.assert_array_equal(np.concatenate(list(reader.blocks(777)), axis=1), wave)
    mapped, rate = map_wav(path)
    np.testing.assert_array_equal(mapped, wave)
    assert rate == 48_000 and os.listdir(tmp_path) == ["sound.wav"]


def test_empty_wav(tmp_path: Path) -> None:
    assert write_wav(tmp_path / "sound.wav", [], 48_000) == 0
    assert map_wav(tmp_path / "sound.wav")[0].shape == (2, 0)


def test_wav_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sound.wav").write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(InputError, match="not a 32-bit float WAV file of OpenVMAS"):
        WavReader(tmp_path / "sound.wav")


def test_wav_beyond_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "_MAX_WAV_BYTES", 1000)
    with pytest.raises(OutputError, match="would exceed 4 GB, the limit of WAV; keep it under"):
        write_wav(tmp_path / "sound.wav", tone(200), 48_000)
    assert os.listdir(tmp_path) == []


def test_failed_wav_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    write_wav(path, tone(100), 48_000)

    def breaks():
        yield tone(100)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_wav(path, breaks(), 48_000)
    assert os.listdir(tmp_path) == ["sound.wav"] and WavReader(path).n_samples == 100


def test_wav_into_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_wav(tmp_path / "none" / "sound.wav", tone(100), 48_000)


def test_audio_checks_its_shape() -> None:
    with pytest.raises(ValueError, match=r"audio is \[C, L\]"):
        Audio(np.zeros(10, np.float32), 48_000)
