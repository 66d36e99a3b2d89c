"""The soundtrack: exact length, loudness, true peak, and music that goes down under speech without pumping."""

from __future__ import annotations

import os
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from openvmas.errors import InputError, OutputError
from openvmas.media.audio import WavReader, write_wav
from openvmas.media.loudness import HOP, Duck, LimiterGain, integrated_loudness, speech_spans, true_peak
from openvmas.media.mix import MixReport, mix
from openvmas.settings import MixOptions
from tests.media.clips import tone
from tests.media.test_loudness import by_ffmpeg, music

pytestmark = pytest.mark.slow

RATE = 48_000


def mixed(tmp_path: Path, *arguments, **options) -> tuple[MixReport, np.ndarray]:
    """The report of a mix and what is in the file: [2, L]."""
    speech, codec = options.pop("speech", None), options.pop("codec", None)
    output = tmp_path / "mix.wav"
    report = mix(*arguments, MixOptions(**options), speech, output=output, codec=codec)
    assert os.listdir(tmp_path) == ["mix.wav"]
    reader = WavReader(output)
    return report, reader.read(0, reader.n_samples)


def blocks(wave: np.ndarray, size: int = 9999):
    return (wave[:, i : i + size] for i in range(0, wave.shape[1], size))


@pytest.mark.parametrize("duration", [Fraction(3), Fraction(1001, 300), Fraction(10, 3), Fraction(200_001, 48_000)])
def test_exactly_as_long_as_the_picture(tmp_path: Path, duration: Fraction) -> None:
    report, wave = mixed(tmp_path, blocks(music(5)), None, duration)
    assert wave.shape == (2, report.n_samples)
    assert 0 <= report.n_samples - duration * RATE < 1
    short, wave = mixed(tmp_path, music(1), None, duration)
    assert wave.shape == (2, short.n_samples) and short.n_samples == report.n_samples
    assert not wave[:, RATE + 10 :].any()


@pytest.mark.parametrize("target", [-14.0, -23.0, -10.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_loudness_and_peak_by_an_independent_meter(tmp_path: Path, target: float, seed: int) -> None:
    report, wave = mixed(tmp_path, music(12, seed=seed), None, Fraction(12), loudness=target)
    loudness, peak = by_ffmpeg(wave, RATE)
    assert loudness == pytest.approx(target, abs=0.3)
    assert peak <= -0.95
    assert report.loudness_lufs == pytest.approx(loudness, abs=0.1)
    assert report.true_peak == pytest.approx(peak, abs=0.2)
    assert report.is_loud_enough


@pytest.mark.parametrize("codec", ["aac", "opus"])
def test_peak_holds_after_the_codec(tmp_path: Path, codec: str) -> None:
    rng = np.random.default_rng(0)
    bursts = music(6)
    bursts[:, ::24_000] += rng.choice([-1, 1], bursts[:, ::24_000].shape).astype(np.float32)
    report, _ = mixed(tmp_path, bursts, None, Fraction(6), codec=codec, loudness=-12.0)
    assert report.encoded_true_peak is not None
    assert report.encoded_true_peak <= -1.0 and report.true_peak <= -1.0
    assert report.loudness_lufs == pytest.approx(-12, abs=0.5)


def test_no_gain_moves_when_nothing_is_too_high(tmp_path: Path) -> None:
    source = music(4)
    report, wave = mixed(tmp_path, source, None, Fraction(4), loudness=-30.0)
    assert report.max_limiting_db == 0
    gain = np.float32(10 ** (report.master_gain_db / 20))
    np.testing.assert_allclose(wave[:, 300:-300], gain * source[:, 300:-300], atol=1e-6)


def test_ends_are_guarded_and_nothing_else_is_faded(tmp_path: Path) -> None:
    _, wave = mixed(tmp_path, tone(RATE * 2) + 0.2, None, Fraction(2), loudness=-20.0)
    assert abs(wave[0, 0]) < 1e-6 and abs(wave[0, -1]) < 1e-6
    inner = wave[0, 300:-300].reshape(-1, 1)[: 48_000 * 1]
    assert np.abs(np.diff(wave[0])).max() < 0.1
    assert np.std(inner[:20_000]) == pytest.approx(np.std(inner[20_000:40_000]), rel=0.02)


def test_original_is_kept_and_music_stands_at_its_gain(tmp_path: Path) -> None:
    original, tune = tone(RATE * 6, 1000, 0.1), tone(RATE * 6, 300, 0.5)
    report, wave = mixed(tmp_path, tune, blocks(original), Fraction(6), music_gain=-9.0)
    assert report.has_original and report.ducked == ()
    spectrum = np.abs(np.fft.rfft(wave[0] * np.hanning(wave.shape[1])))
    ratio = 20 * np.log10(spectrum[300 * 6] / spectrum[1000 * 6])
    weight = integrated_loudness(tone(RATE, 1000, 0.1), RATE) - integrated_loudness(tone(RATE, 300, 0.1), RATE)
    assert ratio == pytest.approx(-9 + weight, abs=0.1)
    assert report.loudness_lufs == pytest.approx(-14, abs=0.1)


def test_replace_audio_leaves_the_original_out(tmp_path: Path) -> None:
    tune = tone(RATE * 3, 300, 0.5)
    report, wave = mixed(tmp_path, tune, tone(RATE * 3, 1000), Fraction(3), replace_audio=True)
    assert not report.has_original
    alone_report, alone = mixed(tmp_path, tune, None, Fraction(3))
    np.testing.assert_array_equal(wave, alone)
    assert report == alone_report


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_silent_original_counts_as_none(tmp_path: Path, level: float) -> None:
    noise = (level * np.random.default_rng(0).standard_normal((1, RATE * 3))).astype(np.float32)
    report, _ = mixed(tmp_path, music(3), noise, Fraction(3), speech=np.ones(150))
    assert not report.has_original and report.ducked == ()
    assert report.loudness_lufs == pytest.approx(-14, abs=0.5)


def test_quiet_original_is_not_pulled_up_to_full_level(tmp_path: Path) -> None:
    hum = tone(RATE * 4, 1000, 10 ** (-50 / 20))
    report, wave = mixed(tmp_path, tone(RATE * 4, 300, 0.5), hum, Fraction(4))
    spectrum = np.abs(np.fft.rfft(wave[0] * np.hanning(wave.shape[1])))
    assert report.has_original
    assert spectrum[4000] < 0.3 * spectrum[1200]


def test_clipped_original(tmp_path: Path) -> None:
    original = np.clip(8 * music(6, seed=5), -1, 1)
    report, wave = mixed(tmp_path, music(6), original, Fraction(6), loudness=-9.0)
    assert true_peak(wave) <= -1.0
    assert report.loudness_lufs == pytest.approx(-9, abs=0.5)


def test_damaged_samples_do_not_spread(tmp_path: Path) -> None:
    tune, original = music(3, seed=2), music(3)
    _, clean = mixed(tmp_path, tune, original, Fraction(3))
    original[0, 1000:1010] = np.nan
    original[1, 2000] = np.inf
    _, wave = mixed(tmp_path, tune, original, Fraction(3))
    assert np.isfinite(wave).all()
    # The peak moves the gain of the whole by a little; when the limiter has recovered nothing else may change.
    after = slice(RATE, None)
    assert np.abs(clean[:, after]).max() > 0.05
    assert np.corrcoef(clean[:, after].ravel(), wave[:, after].ravel())[0, 1] > 0.999
    assert np.std(wave[:, after]) == pytest.approx(np.std(clean[:, after]), rel=0.1)


def test_all_silent(tmp_path: Path) -> None:
    report, wave = mixed(tmp_path, np.zeros((2, 100), np.float32), None, Fraction(1))
    assert report.loudness_lufs == -np.inf and not wave.any()
    assert not report.is_loud_enough


def test_single_click_is_not_crushed(tmp_path: Path) -> None:
    tune = np.zeros((2, RATE * 3), np.float32)
    tune[:, RATE : RATE + 50] = 0.5
    report, wave = mixed(tmp_path, tune, None, Fraction(3))
    assert true_peak(wave) <= -1.0
    assert not report.is_loud_enough


def test_wrong_rate_is_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "music.wav", tone(100), 44_100)
    with pytest.raises(InputError, match="44100 Hz; resample it to 48000 Hz first"):
        mix(tmp_path / "music.wav", None, Fraction(1), MixOptions(), output=tmp_path / "mix.wav")


def test_sources_of_every_kind_give_the_same(tmp_path: Path) -> None:
    tune = music(3)
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    write_wav(tmp_path / "in" / "music.wav", tune, RATE)
    waves = [
        mixed(tmp_path / "out", source, None, Fraction(3))[1]
        for source in (tune, tmp_path / "in" / "music.wav", blocks(tune, 777))
    ]
    np.testing.assert_array_equal(waves[0], waves[1])
    np.testing.assert_array_equal(waves[0], waves[2])


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="none cannot be written to"):
        mix(music(1), None, Fraction(1), MixOptions(), output=tmp_path / "none" / "mix.wav")
    with pytest.raises(InputError, match="cannot be read"):
        mix(tmp_path / "none.wav", None, Fraction(1), MixOptions(), output=tmp_path / "mix.wav")
    assert os.listdir(tmp_path) == []


def test_memory_does_not_grow_with_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENVMAS_THREADS", "1")  # side by side, the highest moment is a matter of chance

    def peak(seconds: int) -> int:
        second = music(1)
        tracemalloc.start()
        mix(
            (second for _ in range(seconds)),
            (second for _ in range(seconds)),
            Fraction(seconds),
            MixOptions(),
            output=tmp_path / "a",
        )
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    assert peak(30) - peak(10) < 20 * 10_000


def speech_curve(*spans: tuple[float, float], seconds: float = 20.0) -> np.ndarray:
    curve = np.full(int(seconds * 50), 0.05)
    for start, end in spans:
        curve[int(start * 50) : int(end * 50)] = 0.9
    return curve


def test_spans_have_hysteresis_bridges_and_no_coughs() -> None:
    curve = speech_curve((2, 4), (5.2, 6), (12, 12.08), (15, 16))
    curve[150:160] = 0.42  # doubt in the middle does not end the speech
    assert speech_spans(curve) == ((2.0, 6.0), (15.0, 16.0))
    assert speech_spans(np.full(100, 0.45)) == ()
    assert speech_spans(np.ones(100)) == ((0.0, 2.0),)


def test_duck_is_down_before_the_voice_and_smooth() -> None:
    times = np.arange(0, 20, 0.001)
    gain = Duck(((5.0, 8.0), (13.0, 14.0)), -12.0).gain_db(times)
    at = {second: gain[int(second * 1000)] for second in (4.5, 4.9, 5.0, 8.0, 8.3, 10.0, 12.0, 13.0, 18.0)}
    assert at[4.5] == 0 and at[10.0] == 0 and at[12.0] == 0 and at[18.0] == 0
    assert all(at[second] == pytest.approx(-12, abs=1e-6) for second in (4.9, 5.0, 8.0, 8.3, 13.0))
    assert np.abs(np.diff(gain)).max() < 12 * np.pi / 2 / 300 * 1.01  # dB per ms, the steepest of the ramp
    turns = np.sum(np.abs(np.diff(np.sign(np.diff(gain)[np.abs(np.diff(gain)) > 1e-9]))) > 0)
    assert turns == 3  # down, up, down, up and nothing between: no pumping
    parts = [Duck(((5.0, 8.0), (13.0, 14.0)), -12.0).gain_db(times[i : i + 777]) for i in range(0, len(times), 777)]
    np.testing.assert_array_equal(np.concatenate(parts), gain)


def test_music_under_speech_is_as_far_down_as_asked(tmp_path: Path) -> None:
    original, tune = tone(RATE * 20, 1000, 0.1), tone(RATE * 20, 300, 0.3)
    speech = speech_curve((6, 12))
    report, wave = mixed(tmp_path, tune, original, Fraction(20), speech=speech, duck=-15.0)
    assert report.ducked == ((6.0, 12.0),)

    def level(frequency: int, start: float) -> float:
        part = wave[0, int(start * RATE) : int(start * RATE) + RATE * 2]
        return 20 * np.log10(np.abs(np.fft.rfft(part * np.hanning(len(part))))[frequency * 2])

    assert level(300, 8) - level(300, 2) == pytest.approx(-15, abs=0.05)
    assert level(300, 15) - level(300, 2) == pytest.approx(0, abs=0.05)
    for start in (8, 15):  # nothing dynamic behind the duck: the original stays where it was
        assert level(1000, start) - level(1000, 2) == pytest.approx(0, abs=0.05)


def test_limiter_keeps_every_hop_under_the_ceiling() -> None:
    rng = np.random.default_rng(0)
    peaks = (rng.uniform(0, 1, 3000) ** 6 * 4).astype(np.float32)
    limiter = LimiterGain(peaks, 1.0, 0.89)
    whole = np.broadcast_to(limiter.samples(0, 3000 * HOP), (3000 * HOP,)).reshape(3000, HOP)
    assert (whole.max(axis=1) * peaks <= 0.89 + 1e-5).all()
    assert limiter.max_reduction_db == pytest.approx(20 * np.log10(peaks.max() / 0.89), abs=1e-4)
    parts = [
        np.broadcast_to(limiter.samples(i, min(i + 10_007, 144_000)), (min(10_007, 144_000 - i),))
        for i in range(0, 144_000, 10_007)
    ]
    np.testing.assert_allclose(np.concatenate(parts), whole.ravel(), atol=1e-6)


def test_limiter_looks_ahead_and_lets_go_slowly() -> None:
    peaks = np.full(2000, 0.5, np.float32)
    peaks[1000] = 1.78  # 6 dB over
    gain = LimiterGain(peaks, 1.0, 0.89).samples(0, 2000 * HOP)
    db = 20 * np.log10(gain)
    assert np.all(db[: 985 * HOP] == 0) and db[1000 * HOP] == pytest.approx(-6.02, abs=0.1)
    assert db[1019 * HOP] == pytest.approx(-6.02, abs=0.1) and db[1070 * HOP] == pytest.approx(-3.0, abs=0.5)
    assert np.all(db[1140 * HOP :] == 0)
    assert np.abs(np.diff(db)).max() < 0.05  # dB per sample
    assert LimiterGain(peaks, 0.4, 0.89).samples(0, 2000 * HOP) == 1.0
