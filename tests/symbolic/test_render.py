"""The sampler: right pitches at right times, exact length, clean ends, and stems that sum to the mix."""

from __future__ import annotations

import copy
import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from openvmas.errors import ModelError
from openvmas.pretrained import find_weights
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.symbolic.desk.bus import Bus
from openvmas.symbolic.desk.rooms import BLOCK, Convolver, room_response
from openvmas.symbolic.instruments import Bank, darken
from openvmas.symbolic.notes import Composition, Note, Part
from openvmas.symbolic.render import pump, render
from openvmas.symbolic.styles import read_styles
from openvmas.symbolic.synth import sampler
from openvmas.symbolic.synth.presets import is_synth, preset_of
from openvmas.symbolic.synth.sampler import Sounds, envelope
from tests.symbolic.made import make_plan, write_plan

pytestmark = pytest.mark.slow

RATE = SAMPLE_RATE_OUT
PITCHED = (
    "piano", "electric_piano", "organ", "nylon_guitar", "overdriven_guitar", "acoustic_bass", "synth_bass", "strings",
    "choir", "horn", "flute", "square_lead", "saw_lead", "warm_pad", "vibraphone",
)  # fmt: skip


@pytest.fixture(scope="module")
def sounds() -> Sounds:
    return Sounds(Bank(find_weights("symbolic").file("instruments")))


@pytest.fixture(scope="module")
def bank(sounds: Sounds) -> Bank:
    return sounds.bank


def piece_of(parts: list[Part], seconds: Fraction) -> Composition:
    nothing = np.zeros(0)
    return Composition(seconds, nothing, nothing, 4, tuple(parts), (), (), nothing, nothing)


def play(sounds: Sounds, part: Part, seconds: Fraction = Fraction(3)) -> np.ndarray:
    """The part alone, before the bus."""
    part = dataclasses.replace(part, depth=0.0)
    return np.concatenate(list(render(piece_of([part], seconds), sounds, only=part)), axis=1)


def test_every_instrument_of_every_style_is_in_the_bank(bank: Bank) -> None:
    table = read_styles()
    used = {voice.instrument for voice in (*table.voices.values(), *(voice for _, voice in table.asked.values()))}
    for style in table.styles:
        used |= {voice.instrument for options in style.voices.values() for voice in options}
        for groove in (*style.grooves, *style.fills):
            assert all(bank.zones("kit", key) for key in groove)  # other kits fall back to this one
    for name in used:
        assert preset_of(name) if is_synth(name) else name in bank.names


@pytest.mark.parametrize("name", PITCHED)
@pytest.mark.parametrize("key", [45, 62])
def test_a_note_sounds_at_its_pitch(sounds: Sounds, name: str, key: int) -> None:
    wave = play(sounds, Part("x", name, reverb=0.0, notes=[Note(0.1, 1.6, key, 100)]), Fraction(2))[0]
    spectrum = np.abs(np.fft.rfft(wave[RATE // 4 : RATE * 3 // 2] * np.hanning(RATE * 5 // 4), 8 * RATE))
    frequency = np.arange(len(spectrum)) / 8
    wanted = 440 * 2 ** ((key - 69) / 12)
    # The comb of the first harmonics is at its best at the right fundamental, within a quarter of a semitone.
    cents = np.linspace(-600, 600, 481)
    combs = [
        sum(np.interp(wanted * 2 ** (c / 1200) * k, frequency, spectrum) ** 0.5 / k for k in range(1, 6)) for c in cents
    ]
    assert abs(cents[int(np.argmax(combs))]) < 25


def test_a_note_begins_on_its_sample_and_ends_without_a_click(sounds: Sounds) -> None:
    for name in ("piano", "organ", "strings", "square_lead", "warm_pad"):
        wave = play(sounds, Part("x", name, reverb=0.0, notes=[Note(0.5, 1.0, 60, 110)]))[0]
        assert np.abs(wave[: RATE // 2]).max() < 1e-7  # what is left is rounding of the seat's FFT
        assert np.abs(wave[RATE // 2 : RATE // 2 + RATE // 50]).max() > 1e-5
        sounding = np.flatnonzero(np.abs(wave) > 1e-7)[-1]
        assert sounding < 2.9 * RATE or name == "warm_pad"
        # High frequencies at the release are no louder than while the note is held.
        edges = np.abs(np.diff(wave, 3))
        held = edges[int(0.7 * RATE) : int(0.98 * RATE)].max()
        assert edges[int(1.02 * RATE) :].max() <= held * 1.05


def test_the_damper_of_a_piano_falls_when_the_key_is_let_go(bank: Bank) -> None:
    """Softly, after the note, for keys that have one; other instruments have none."""
    part = Part("x", "piano", reverb=0.0)
    player = Sounds(bank).player(part)
    note = Note(0.0, 0.8, 60, 100)
    heard, _ = player.play(note, 0, None)
    bare = Sounds(bank)
    bare.bank = copy.copy(bank)
    bare.bank.releases = lambda instrument, key: []  # type: ignore[method-assign]
    without, _ = bare.player(part).play(note, 0, None)
    end = round(0.8 * RATE)
    longer = np.pad(without, ((0, 0), (0, heard.shape[1] - without.shape[1])))
    damper = np.abs(heard - longer)
    assert damper[:, : end - 1].max() < 1e-7
    assert 0.001 < damper.max() / np.abs(without).max() < 0.03
    assert bank.releases("piano", 60) and not bank.releases("piano", 100) and not bank.releases("organ", 60)


def test_tones_of_one_key_that_follow_each_other_begin_a_little_otherwise(
    sounds: Sounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a millisecond at most, so that no hit is late; drums begin as they are."""
    monkeypatch.setattr(sampler, "CENTS", (0.0, 0.0, 0.0))
    organ, kit = (sounds.player(Part("x", name, is_kit=name == "kit")) for name in ("organ", "kit"))
    first, second, third = (organ.play(Note(0.0, 0.5, 64, 100), number, None)[0] for number in range(3))
    assert np.allclose(second[:, 4000:9000], first[:, 4024:9024], atol=1e-3 * np.abs(first).max())
    assert np.allclose(third[:, 4000:9000], first[:, 4048:9048], atol=1e-3 * np.abs(first).max())
    strokes = [kit.play(Note(0.0, 0.5, 38, 100), number, None)[0] for number in range(3)]
    assert all(np.array_equal(stroke, strokes[0]) for stroke in strokes)


@pytest.mark.parametrize("seconds", [Fraction(1, 1000), Fraction(1), Fraction(1001, 400), Fraction(37, 10)])
def test_length_is_exact_and_the_last_sample_silent(sounds: Sounds, seconds: Fraction) -> None:
    wave = play(sounds, Part("x", "strings", notes=[Note(0.0, float(seconds), 60, 110)]), seconds)
    assert wave.shape == (2, -(-seconds.numerator * RATE // seconds.denominator))
    assert wave.dtype == np.float32
    assert np.abs(wave[:, -1]).max() < 1e-4


def test_louder_strokes_are_louder_and_brighter(sounds: Sounds) -> None:
    waves = [play(sounds, Part("x", "piano", reverb=0.0, notes=[Note(0.0, 1.0, 60, v)]))[0] for v in (30, 70, 120)]
    levels = [np.sqrt((wave**2).mean()) for wave in waves]
    assert levels[0] < 0.5 * levels[1] < 0.5 * levels[2]

    def centre(wave: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(wave)) ** 2
        return float((power * np.arange(len(power))).sum() / power.sum())

    assert centre(waves[0]) < centre(waves[1]) < centre(waves[2])


@pytest.mark.parametrize("text", ["calm piano", "rock", "electronic", "epic cinematic"])
def test_a_whole_piece_is_sane_and_its_stems_sum_to_it(
    sounds: Sounds, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = write_plan(make_plan(text, seconds=12.05, energies=(0.6, 0.95), hits=((3.3, 1.0), (7.0, 0.6))))
    blocks = list(render(piece, sounds))
    assert all(block.shape[1] <= BLOCK for block in blocks)
    wave = np.concatenate(blocks, axis=1)
    assert wave.shape[1] == round(12.05 * RATE)
    assert np.isfinite(wave).all()
    assert 0.05 < np.abs(wave).max() < 1
    assert np.abs(wave.mean(axis=1)).max() < 1e-3
    stems = [np.concatenate(list(render(piece, sounds, only=part)), axis=1) for part in piece.parts]
    monkeypatch.setattr(Bus, "push", lambda self, block: block)
    rest = np.sum(stems, axis=0) - np.concatenate(list(render(piece, sounds)), axis=1)
    assert np.abs(rest).max() < 10 ** (-90 / 20)
    assert all(np.abs(stem).max() > 1e-4 for stem in stems)


def test_the_sound_jumps_at_a_hit(sounds: Sounds) -> None:
    for text in ("rock", "calm piano", "epic cinematic"):
        piece = write_plan(make_plan(text, seconds=8.0, energies=(0.6,), hits=((5.11, 1.0),)))
        wave = np.concatenate(list(render(piece, sounds)), axis=1).mean(axis=0)
        power = (wave[: len(wave) // 240 * 240].reshape(-1, 240) ** 2).mean(axis=1)  # frames of 5 ms
        ratio = power[6:] / (np.array([power[k : k + 4].max() for k in range(len(power) - 6)]) + 1e-9)
        near = slice(round(4.8 / 0.005), round(5.3 / 0.005))
        loudest = np.argmax(ratio[near] * (power[6:][near] > power.max() / 30)) + near.start + 6
        assert abs(loudest * 0.005 - 5.11) < 0.02 + 0.005


def test_the_room_is_the_same_in_one_block_and_in_many() -> None:
    rng = np.random.default_rng(0)
    sent = rng.standard_normal((2, 2 * BLOCK + 999)).astype(np.float32)
    first, second = Convolver(room_response("hall")), Convolver(room_response("hall"))
    whole = np.concatenate([first.push(sent[:, k : k + BLOCK]) for k in range(0, sent.shape[1], BLOCK)], axis=1)
    parts = np.concatenate([second.push(sent[:, k : k + 7000]) for k in range(0, sent.shape[1], 7000)], axis=1)
    assert np.allclose(whole, parts, atol=2e-5)


def test_memory_does_not_grow_with_the_length(sounds: Sounds) -> None:
    from openvmas.symbolic.render import _Strip

    notes = [Note(0.5 * k, 0.5 * k + 0.4, 60 + k % 5, 90) for k in range(400)]
    part = Part("x", "piano", notes=notes)
    strip = _Strip(part, piece_of([part], Fraction(200)), sounds)
    sizes = []
    for start in range(0, 200 * RATE, BLOCK):
        strip.push(start, BLOCK, np.zeros(0))
        sizes.append(strip._sound.shape[1])
    assert max(sizes[100:]) == max(sizes[10:100])


def test_envelopes_rise_fall_and_end_in_silence(bank: Bank) -> None:
    zone = bank.zones("strings", 60)[0]
    level = envelope(zone, 1.0, False)
    held = int(0.9 * RATE / 64)
    assert level[held] > 0.5
    assert level[-1] == 0
    assert np.all(np.diff(level[int(1.01 * RATE / 64) :]) <= 0)


def test_darkening_keeps_the_bass() -> None:
    rng = np.random.default_rng(1)
    wave = rng.standard_normal(32_000).astype(np.float32)
    dark = np.abs(np.fft.rfft(darken(wave, 1000, 32_000)))
    plain = np.abs(np.fft.rfft(wave))
    assert dark[100:500].mean() > 0.95 * plain[100:500].mean()
    assert dark[8000:].mean() < 0.02 * plain[8000:].mean()


def test_a_damaged_bank_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "instruments.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"no bank of instruments.*install openvmas again"):
        Bank(path)


def test_a_kick_pushes_the_others_down_and_lets_them_come_back() -> None:
    gains = 20 * np.log10(pump(np.array([0.5]), 0, RATE, 6.0, 0.2))
    assert np.all(gains[: RATE // 2] == 0)
    assert gains.min() == pytest.approx(-6.0, abs=0.1)
    assert abs(int(gains.argmin()) / RATE - 0.505) < 0.005
    assert gains[-1] == pytest.approx(0.0, abs=0.01)
