"""Loudness and true peak against closed forms and against FFmpeg's own meter."""

from __future__ import annotations

import itertools

import av
import numpy as np
import pytest

from openvmas.media.loudness import BlockFilter, LoudnessMeter, PeakMeter, integrated_loudness, k_weighting, true_peak

RATE = 48_000


def sine(frequency: float, seconds: float, level_db: float, rate: int = RATE, channels: int = 1, phase: float = 0.0):
    wave = 10 ** (level_db / 20) * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate + phase)
    return np.repeat(wave[None], channels, axis=0).astype(np.float32)


def music(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """[2, n]: noise with a spectrum and dynamics somewhat like music."""
    rng = np.random.default_rng(seed)
    n = int(seconds * rate)
    spectrum = np.fft.rfft(rng.standard_normal((2, n)))
    spectrum /= np.sqrt(1 + np.fft.rfftfreq(n, 1 / rate) / 100)
    wave = np.fft.irfft(spectrum, n)
    swell = 10 ** (np.interp(np.arange(n), np.linspace(0, n, 12), rng.uniform(-35, 0, 12)) / 20)
    wave = wave * swell
    return (0.7 * wave / np.abs(wave).max()).astype(np.float32)


def by_ffmpeg(wave: np.ndarray, rate: int) -> tuple[float, float]:
    """Integrated loudness (LUFS) and true peak (dBTP) of FFmpeg's ebur128 filter."""
    graph = av.filter.Graph()
    layout = "stereo" if len(wave) == 2 else "mono"
    source = graph.add_abuffer(sample_rate=rate, format="flt", layout=layout)
    meter = graph.add("ebur128", "metadata=1:peak=true")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    last: dict[str, str] = {}
    packed = np.ascontiguousarray(wave.T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate, frame.pts = rate, 0
    source.push(frame)
    source.push(None)
    while True:
        try:
            last = dict(sink.pull().metadata) or last
        except (av.error.EOFError, av.error.BlockingIOError):
            break
    peaks = [float(value) for key, value in last.items() if "true_peaks_ch" in key]
    return float(last["lavfi.r128.I"]), 20 * np.log10(max(peaks)) if peaks else -np.inf


def test_coefficients_of_the_standard() -> None:
    b, a = k_weighting(RATE)
    shelf = ([1.53512485958697, -2.69169618940638, 1.19839281085285], [1.0, -1.69065929318241, 0.73248077421585])
    high = ([1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621])
    np.testing.assert_allclose(b, np.convolve(shelf[0], high[0]), atol=1e-7)
    np.testing.assert_allclose(a, np.convolve(shelf[1], high[1]), atol=1e-7)


@pytest.mark.parametrize("level", [-20.0, -40.0, -3.0])
def test_sine_of_997_hz(level: float) -> None:
    assert integrated_loudness(sine(997, 5, level), RATE) == pytest.approx(level - 3.01, abs=0.02)
    assert integrated_loudness(sine(997, 5, level, channels=2), RATE) == pytest.approx(level, abs=0.02)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_every_sample_rate(rate: int) -> None:
    assert integrated_loudness(sine(997, 4, -23, rate, 2), rate) == pytest.approx(-23, abs=0.05)


def test_gates() -> None:
    # EBU Tech 3341 case 3: the quieter parts around the tone lie below the relative gate.
    parts = [sine(1000, 10, -36, channels=2), sine(1000, 60, -23, channels=2), sine(1000, 10, -36, channels=2)]
    assert integrated_loudness(np.concatenate(parts, axis=1), RATE) == pytest.approx(-23.0, abs=0.1)
    # Case 4: and what is at -72 falls to the absolute gate.
    parts = [sine(1000, 10, -72, channels=2), *parts, sine(1000, 10, -72, channels=2)]
    assert integrated_loudness(np.concatenate(parts, axis=1), RATE) == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize(("rate", "seed"), [(48_000, 1), (44_100, 2), (48_000, 3), (32_000, 4)])
def test_same_as_ffmpeg(rate: int, seed: int) -> None:
    wave = music(12, rate, seed)
    loudness, peak = by_ffmpeg(wave, rate)
    assert integrated_loudness(wave, rate) == pytest.approx(loudness, abs=0.1)
    assert true_peak(wave) == pytest.approx(peak, abs=0.15)


def test_blocks_do_not_matter() -> None:
    wave = music(6)
    edges = [0, 1, 7, 4800, 4801, 60_000, 199_999, wave.shape[1]]
    blocks = [wave[:, a:b] for a, b in itertools.pairwise(edges)]
    assert integrated_loudness(iter(blocks), RATE) == pytest.approx(integrated_loudness(wave, RATE), abs=1e-4)
    assert true_peak(iter(blocks)) == pytest.approx(true_peak(wave), abs=1e-4)


def test_silence_and_short_sound() -> None:
    assert integrated_loudness(np.zeros((2, RATE), np.float32), RATE) == -np.inf
    assert integrated_loudness(sine(997, 0.3, -10), RATE) == -np.inf
    assert integrated_loudness(iter([]), RATE) == -np.inf
    assert true_peak(np.zeros((2, 100), np.float32)) == -np.inf


def test_peak_between_the_samples() -> None:
    # A quarter of the sample rate at 45 degrees: samples reach 0.707 of the wave, 3 dB too little.
    wave = sine(RATE / 4, 1, -6, phase=np.pi / 4) * np.hanning(RATE).astype(np.float32)
    assert 20 * np.log10(np.abs(wave).max()) == pytest.approx(-9.01, abs=0.01)
    assert true_peak(wave) == pytest.approx(-6.0, abs=0.05)


def test_envelope_tells_where() -> None:
    wave = np.zeros((1, 2000), np.float32)
    wave[0, 700] = 0.5
    meter = PeakMeter(1)
    envelope = np.concatenate([meter.add(wave), meter.finish()])[PeakMeter.DELAY :]
    assert len(envelope) == 2000 and envelope.argmax() == 700
    assert envelope[700] == pytest.approx(0.5, abs=1e-4)


def test_curves() -> None:
    meter = LoudnessMeter(RATE, 2)
    meter.add(np.concatenate([sine(997, 5, -40, channels=2), sine(997, 5, -20, channels=2)], axis=1))
    short, momentary = meter.short_term(), meter.momentary()
    assert len(short) == 100 - 29 and len(momentary) == 100 - 3
    assert short[0] == pytest.approx(-40, abs=0.1) and short[-1] == pytest.approx(-20, abs=0.1)
    assert momentary[45] == pytest.approx(-40, abs=0.1) and momentary[50] == pytest.approx(-20, abs=0.1)


def test_block_filter_is_a_convolution() -> None:
    rng = np.random.default_rng(0)
    taps, wave = rng.standard_normal((3, 50)), rng.standard_normal((2, 9000)).astype(np.float32)
    filtered = BlockFilter(taps, 2)
    out = np.concatenate([filtered(wave[:, :5000]), filtered(wave[:, 5000:])], axis=2)
    for phase in range(3):
        for channel in range(2):
            expected = np.convolve(wave[channel], taps[phase])[:9000]
            np.testing.assert_allclose(out[phase, channel], expected, atol=1e-4)
