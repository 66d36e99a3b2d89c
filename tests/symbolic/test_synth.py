"""The synthesiser: presets that keep to their schema, sound at their pitch and level, and go on as they began."""

from __future__ import annotations

import dataclasses
import time
from fractions import Fraction

import list_sounds
import numpy as np
import pytest

from openvmas.errors import ModelError
from openvmas.pretrained import find_weights
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.symbolic.instruments import Bank
from openvmas.symbolic.notes import Composition, Note, Part
from openvmas.symbolic.render import render
from openvmas.symbolic.synth import drums, filters, modes, oscillators, voices
from openvmas.symbolic.synth.arpeggio import arpeggiated
from openvmas.symbolic.synth.presets import (
    ROLES,
    Filter,
    Fm,
    Modal,
    Oscillator,
    Preset,
    preset_of,
    read_preset,
    read_presets,
)
from openvmas.symbolic.synth.sampler import END, Sounds, bent, release

RATE = SAMPLE_RATE_OUT
ALL = sorted(read_presets())
PITCHED = [
    name
    for name in ALL
    if read_presets()[name].role in ("bass", "lead", "keys", "arp", "pad")
    # Noise, formants, drops, slow beats and side bands have no one pitch that this simple comb could find.
    and name not in ("rumble", "growl", "donk", "eight_oh_eight_drive", "noise_pad", "drift_pad", "koto")
]


@pytest.fixture(scope="module")
def sounds() -> Sounds:
    return Sounds(Bank(find_weights("symbolic").file("instruments")))


def play(name: str, key: int, seconds: float, sounds: Sounds, shade: int = voices.SHADES) -> np.ndarray:
    return voices.tone(read_presets()[name], key, shade, 0, int(seconds * RATE), sounds.sampled_tone)


def rms(wave: np.ndarray) -> float:
    return float(np.sqrt((wave.astype(float) ** 2).mean()))


def test_there_are_150_presets_in_all_roles() -> None:
    presets = read_presets()
    assert len(presets) >= 150
    assert {preset.role for preset in presets.values()} == set(ROLES)
    for preset in presets.values():
        assert 0 <= preset.reach[0] < preset.reach[1] <= 127
        assert 0 <= preset.program <= 127
        assert bool(preset.layers) != bool(preset.drums), preset.name


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_every_preset_sounds_at_its_level_and_is_sane(name: str, sounds: Sounds) -> None:
    preset = read_presets()[name]
    key = 38 if preset.drums else sum(preset.reach) // 2
    wave = play(name, key, 2.0, sounds)
    assert wave.dtype == np.float32 and wave.shape[0] == 2
    assert np.isfinite(wave).all()
    assert np.abs(wave).max() < 3
    frames = wave[:, : wave.shape[1] // 2400 * 2400].reshape(2, -1, 2400)
    loudest = 10 * np.log10(max(np.convolve((frames**2).mean(axis=(0, 2)), np.ones(10) / 10)) + 1e-12)
    assert (-40 if preset.role == "texture" else -32) < loudest < -9, (
        loudest
    )  # about voices.LEVEL_DB; what is slow is not there yet


@pytest.mark.slow
@pytest.mark.parametrize("name", PITCHED)
def test_a_preset_sounds_at_its_pitch(name: str, sounds: Sounds) -> None:
    preset = read_presets()[name]
    key = min(max(52, preset.reach[0]), preset.reach[1])
    still = dataclasses.replace(preset, vibrato=(5.0, 0.0, 0.0), chorus=0.0)
    wave = voices.tone(still, key, voices.SHADES, 0, RATE, sounds.sampled_tone).mean(axis=0)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 4 * RATE))
    frequency = np.arange(len(spectrum)) / 4
    wanted = voices.hertz(key)
    cents = np.linspace(-300, 300, 121)
    combs = [
        sum(np.interp(wanted * 2 ** (c / 1200) * k, frequency, spectrum) ** 0.5 / k for k in range(1, 6)) for c in cents
    ]
    assert abs(cents[int(np.argmax(combs))]) <= 35


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["supersaw_lead", "warm_pad", "fm_piano", "steel_string", "wind", "gong", "cloud_strings"]
)
def test_a_longer_tone_begins_as_a_shorter_one(name: str, sounds: Sounds) -> None:
    short, long = play(name, 57, 0.7, sounds), play(name, 57, 2.3, sounds)
    same = short.shape[1] - END  # the filter's last frames still lack what would come after the shorter tone's end
    assert np.abs(short[:, :same] - long[:, :same]).max() < 1e-4


def test_the_same_tone_has_the_same_bytes(sounds: Sounds) -> None:
    assert np.array_equal(play("trance_lead", 64, 0.5, sounds), play("trance_lead", 64, 0.5, sounds))
    other = voices.tone(read_presets()["trance_lead"], 64, 4, 1, RATE // 2, sounds.sampled_tone)
    assert not np.allclose(other, play("trance_lead", 64, 0.5, sounds), atol=1e-3)


def test_harder_strokes_are_brighter(sounds: Sounds) -> None:
    def centre(wave: np.ndarray) -> float:
        power = (np.abs(np.fft.rfft(wave)) ** 2).sum(axis=0)
        return float((power * np.arange(len(power))).sum() / power.sum())

    for name in ("acid", "synth_brass", "fm_piano", "steel_string"):
        soft, hard = (centre(play(name, 52, 0.5, sounds, shade)) for shade in (0, voices.SHADES))
        assert soft < hard, name


def test_oscillators_do_not_alias() -> None:
    n = RATE
    tone = 3001.0  # does not divide the rate, so that folded harmonics would lie between its own
    wave = oscillators.oscillate(Oscillator("saw"), tone, np.random.default_rng(0), n)[0]
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(n)))
    near = np.zeros(len(spectrum), bool)
    for k in range(1, 8):
        near[int(tone * k) - 6 : int(tone * k) + 7] = True
    assert 20 * np.log10(spectrum[~near].max() / spectrum.max()) < -50


def test_unison_keeps_its_power_and_fills_the_sides() -> None:
    rng = np.random.default_rng(3)
    one = oscillators.oscillate(Oscillator("saw"), 220.0, rng, 2 * RATE)
    many = oscillators.oscillate(Oscillator("saw", voices=7, detune=0.3, spread=1.0), 220.0, rng, 2 * RATE)
    assert 0.5 < rms(many) / rms(one) < 2.0
    assert np.corrcoef(one)[0, 1] > 0.999
    assert abs(np.corrcoef(many)[0, 1]) < 0.6


def test_fm_of_index_zero_is_a_sine_and_side_bands_lie_at_the_ratio() -> None:
    rng = np.random.default_rng(0)
    pure = oscillators.modulate(Fm(index=0, floor=0), 500.0, rng, RATE, 1.0)[0]
    assert np.allclose(pure, 0.7 * np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE), atol=1e-3)
    rich = oscillators.modulate(Fm(ratio=1.5, index=1, floor=1, velocity=0), 500.0, rng, RATE, 1.0)[0]
    spectrum = np.abs(np.fft.rfft(rich)) / RATE
    bessel = {500: 0.7652, 1250: 0.4401, 250: 0.4401, 2000: 0.1149, 1000: 0.1149}  # J0, J1, J1, J2, J2 of 1
    for hertz, height in bessel.items():
        assert spectrum[hertz] == pytest.approx(0.7 * height / 2, rel=0.03)


def test_partials_fall_as_they_should() -> None:
    layer = Modal(material="glass_bar", decay=1.0, damping=0.0, spread=0.0, hardness=1e6)
    wave = modes.ring(layer, 261.63, np.random.default_rng(0), 2 * RATE, 1.0)[0]
    early, late = wave[4800:9600], wave[4800 + RATE // 2 : 9600 + RATE // 2]
    assert 20 * np.log10(rms(late) / rms(early)) == pytest.approx(-30.0, abs=1.0)  # half of 60 dB in half of the time
    spectrum = np.abs(np.fft.rfft(wave))
    peaks = [np.argmax(spectrum[int(2 * 261.63 * r) - 20 : int(2 * 261.63 * r) + 21]) - 20 for r in (1, 2.756, 5.404)]
    assert np.abs(peaks).max() <= 2


def test_the_filter_has_its_slope_and_its_resonance() -> None:
    noise = np.random.default_rng(0).standard_normal((2, 2 * RATE)).astype(np.float32)

    def levels(kind: str, resonance: float) -> dict[int, float]:
        wave = filters.sweep(Filter(kind, cutoff=1000.0, resonance=resonance, track=0, velocity=0), noise, 60, 1.0)
        power = (np.abs(np.fft.rfft(wave)) ** 2).mean(axis=0)
        plain = (np.abs(np.fft.rfft(noise)) ** 2).mean(axis=0)
        bins = {hertz: slice(int(hertz * 1.9), int(hertz * 2.1)) for hertz in (200, 1000, 4000, 8000)}
        return {hertz: 10 * np.log10(power[s].mean() / plain[s].mean()) for hertz, s in bins.items()}

    low, low24, peak, high = (levels(*row) for row in (("low", 0.1), ("low24", 0.1), ("low", 0.8), ("high", 0.1)))
    assert abs(low[200]) < 1 and abs(low24[200]) < 1
    assert low[4000] - low[8000] == pytest.approx(12, abs=1.5)
    assert low24[4000] - low24[8000] == pytest.approx(24, abs=2.5)
    assert peak[1000] > low[1000] + 8
    assert high[200] < -22 and abs(high[8000]) < 1


def test_a_drum_machine_answers_all_usual_keys(sounds: Sounds) -> None:
    for name in (name for name in ALL if read_presets()[name].drums):
        for key in (35, 36, 37, 38, 39, 41, 42, 44, 45, 46, 48, 49, 51, 54, 55, 56, 57, 59, 69, 70, 75, 81):
            assert np.abs(play(name, key, 1.0, sounds)).max() > 0.003, (name, key)
    kick = drums.beat(drums.read_drums()["kick_nine"], np.random.default_rng(0), 1.0)
    assert np.abs(kick[:, -1]).max() < 1e-3
    spectrum = np.abs(np.fft.rfft(kick[0], RATE))
    assert 40 < np.argmax(spectrum) < 90


def test_a_riser_ends_with_its_note(sounds: Sounds) -> None:
    for seconds in (0.8, 2.0, 6.0):
        wave = play("riser_noise", 60, seconds, sounds)
        power = (wave.mean(axis=0)[: int(seconds * RATE) // 2400 * 2400].reshape(-1, 2400) ** 2).mean(axis=1)
        assert np.argmax(power) > 0.85 * len(power)
        assert power[-3:].mean() > 20 * power[: len(power) // 3].mean()


def test_glides_come_from_the_note_before(sounds: Sounds) -> None:
    nothing = np.zeros(0)
    notes = [Note(0.1, 0.9, 60, 100), Note(0.9, 1.8, 72, 100)]
    part = Part("lead", "synth:theremin", reverb=0.0, depth=0.0, notes=notes)
    piece = Composition(Fraction(2), nothing, nothing, 4, (part,), (), (), nothing, nothing)
    wave = np.concatenate(list(render(piece, sounds, only=part)), axis=1)[0]

    def pitch(start: float) -> float:
        span = wave[int(start * RATE) : int(start * RATE) + 3600]
        spectrum = np.abs(np.fft.rfft(span * np.hanning(len(span)), 1 << 17))
        return float(69 + 12 * np.log2(np.argmax(spectrum) * RATE / (1 << 17) / 440))

    assert 60.5 < pitch(0.93) < 71
    assert pitch(1.6) == pytest.approx(72, abs=0.5)
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)[None].astype(np.float32)
    spectrum = np.abs(np.fft.rfft(bent(tone, 2.0)[0, RATE // 2 :] * np.hanning(RATE // 2), RATE))
    assert abs(int(np.argmax(spectrum)) - 440) <= 1


def test_arpeggios_stand_in_the_notes() -> None:
    beats = np.arange(0, 10, 0.5)
    chord = [Note(1.0, 3.0, pitch, 90) for pitch in (60, 64, 67)]
    parts = (Part("arp", "synth:arp_updown", notes=chord), Part("keys", "piano", notes=chord))
    piece = Composition(Fraction(5), beats, beats[::4], 4, parts, (), (), np.zeros(0), np.zeros(0))
    figured, untouched = arpeggiated(piece).parts
    assert untouched.notes == chord
    assert [note.pitch for note in figured.notes[:6]] == [60, 64, 67, 64, 60, 64]
    assert [round(note.start, 3) for note in figured.notes[:3]] == [1.0, 1.125, 1.25]
    assert len(figured.notes) == 16
    assert max(note.end for note in figured.notes) <= 3.0
    still = dataclasses.replace(piece, beats=np.zeros(0))
    assert arpeggiated(still).parts == parts


def test_releases_end_in_silence() -> None:
    gains = release(1000, 0.3)
    assert np.all(gains[:1000] == 1) and gains[-1] == 0
    assert np.all(np.diff(gains[999:]) <= 0)


def test_what_is_wrong_with_a_preset_is_said() -> None:
    with pytest.raises(ModelError, match="no preset brass_band"):
        preset_of("synth:brass_band")
    for row in ({"role": "noise"}, {"role": "lead", "colour": 1}, {"role": "lead", "layers": [{"type": "steam"}]}):
        with pytest.raises((ValueError, KeyError)):
            read_preset("x", row)
    with pytest.raises(TypeError):
        read_preset("x", {"role": "lead", "layers": [{"wave": "saw", "colour": 1}]})
    assert read_preset("x", {"role": "lead", "layers": [{"wave": "saw"}]}) == Preset(
        "x", "lead", layers=(Oscillator(),)
    )


@pytest.mark.slow
def test_a_minute_of_synthesisers_takes_seconds(sounds: Sounds) -> None:
    """Eight parts; twice the time that one core needs alone, so that a busy machine does not fail."""
    rng = np.random.default_rng(0)
    nothing = np.zeros(0)
    parts = []
    for role, name, step, length in (
        ("lead", "supersaw_lead", 0.5, 0.45), ("arp", "pluck_saw", 0.125, 0.1), ("keys", "synth_stab", 0.5, 0.3),
        ("pad", "juno_pad", 2.0, 2.0), ("pad 2", "vox_pad", 2.0, 2.0), ("bass", "synthwave_bass", 0.25, 0.2),
        ("drums", "kit_909", 0.125, 0.1), ("texture", "drone_fifth", 10.0, 10.0),
    ):  # fmt: skip
        base = {"bass": 36, "drums": 36}.get(role, 55)
        keys = [36, 38, 42, 46] if role == "drums" else [base + k for k in (0, 2, 3, 5, 7, 8, 10, 12)]
        notes = [Note(t, t + length, int(rng.choice(keys)), 100) for t in np.arange(0, 60, step)]
        parts.append(Part(role, f"synth:{name}", is_kit=role == "drums", notes=notes))
    piece = Composition(Fraction(60), nothing, nothing, 4, tuple(parts), (), (), nothing, nothing)
    fresh = Sounds(sounds.bank)
    started = time.process_time()
    for block in render(piece, fresh):
        assert np.isfinite(block).all()
    assert time.process_time() - started < 8.0


def test_the_page_of_sounds_is_that_of_the_code() -> None:
    assert list_sounds.PAGE.read_text(encoding="utf-8") == list_sounds.page()
