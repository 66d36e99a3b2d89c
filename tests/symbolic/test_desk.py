"""The desk: rooms that fall as they say, seats that keep the moment, an echo on the beat, a bus that only masters."""

from __future__ import annotations

import numpy as np
import pytest

from openvmas.errors import ModelError
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.symbolic.desk.amps import Amp
from openvmas.symbolic.desk.bus import CEILING, Bus, equaliser
from openvmas.symbolic.desk.mixes import Mix, read_mix, read_mixes
from openvmas.symbolic.desk.rooms import BLOCK, ROOMS, ZONES, Echo, room_response, seat_response, zone_shares

RATE = SAMPLE_RATE_OUT


def decay_seconds(response: np.ndarray, low: float, high: float) -> float:
    """Time to −60 dB from the slope of Schroeder's backward integral between −5 and −25 dB."""
    before = len(response)  # room for what the band's filter rings ahead
    response = np.pad(response, (before, 2 * before))
    n = len(response)
    spectrum = np.fft.rfft(response)
    frequency = np.fft.rfftfreq(n, 1 / RATE)
    band = np.fft.irfft(spectrum * ((frequency > low) & (frequency < high)), n)[before:]
    left = 10 * np.log10(np.cumsum(band[::-1] ** 2)[::-1] / np.sum(band**2) + 1e-12)
    first, last = np.argmax(left < -5), np.argmax(left < -25)
    return 3.0 * (last - first) / RATE


@pytest.mark.parametrize("name", sorted(ROOMS))
def test_rooms_fall_as_fast_as_they_say(name: str) -> None:
    response = room_response(name)
    assert (response**2).sum(axis=(1, 2)) == pytest.approx([1.0, 1.0], rel=1e-3)
    for band, (low, high) in ((3, (600, 900)), (5, (2300, 3700))):
        assert decay_seconds(response[0, 1], low, high) == pytest.approx(ROOMS[name].seconds[band], rel=0.25)
    pairs = response.reshape(4, -1)
    assert np.abs(np.corrcoef(pairs) - np.eye(4)).max() < 0.1  # true stereo: four paths that are not alike


def test_seats_keep_the_moment_and_grow_dull_with_distance() -> None:
    shares = []
    for zone in range(len(ZONES)):
        response = seat_response(zone)
        assert np.argmax(np.abs(response[0, 0])) <= 2  # the direct sound comes first and is not late
        spectrum = np.abs(np.fft.rfft(response[0, 0, :64], 4096)) ** 2
        shares.append(spectrum[900:1700].mean() / spectrum[50:200].mean())
    assert shares[0] > shares[1] > shares[2]
    assert zone_shares(0.2).sum() == pytest.approx(1.0)
    assert zone_shares(0.0).tolist() == [1.0, 0.0, 0.0]


def test_the_echo_comes_back_on_time_softer_and_on_the_other_side() -> None:
    echo = Echo(0.3, 0.5)
    sent = np.zeros((2, 2 * BLOCK), np.float32)
    sent[:, 100] = 1.0
    heard = np.concatenate([echo.push(sent[:, k : k + 20_000]) for k in range(0, sent.shape[1], 20_000)], axis=1)
    found = [int(np.argmax(np.abs(heard[side]))) for side in (0, 1)]
    step = round(0.3 * RATE)
    assert abs(found[0] - 100 - step) <= 2 and abs(found[1] - 100 - 2 * step) <= 4
    assert np.abs(heard[1]).max() < np.abs(heard[0]).max()
    assert np.abs(heard).max(axis=1)[0] < 1
    assert not np.any(np.abs(heard[:, : step - 10]) > 1e-9)


def test_the_bus_makes_bass_mono_and_lifts_the_treble() -> None:
    mix = Mix(tilt_db=4.0, width=1.3, bass_mono_hz=120.0)
    middle, sides = (20 * np.log10(np.abs(np.fft.rfft(row, 1 << 15)) + 1e-9) for row in equaliser(mix))
    at = lambda hertz: int(hertz * (1 << 15) / RATE)  # noqa: E731
    assert middle[at(1000)] == pytest.approx(0, abs=0.5)
    assert middle[at(16_000)] == pytest.approx(4.0, abs=0.8)
    assert sides[at(40)] < -15
    assert sides[at(2000)] - middle[at(2000)] == pytest.approx(20 * np.log10(1.3), abs=0.4)


@pytest.mark.parametrize("name", sorted(read_mixes()))
def test_every_mix_masters_without_clipping_in_any_cut(name: str) -> None:
    rng = np.random.default_rng(0)
    time = np.arange(3 * RATE) / RATE
    music = 0.05 * rng.standard_normal((2, len(time))) + 0.2 * np.sin(2 * np.pi * 80 * time) * (time % 0.5 < 0.2)
    music = music.astype(np.float32)
    bus = Bus(read_mix(name))
    wave = np.concatenate([bus.push(music[:, k : k + BLOCK]) for k in range(0, music.shape[1], BLOCK)], axis=1)
    assert wave.shape == music.shape and np.isfinite(wave).all()
    assert 0.1 < np.abs(wave).max() <= CEILING
    # No jump where two blocks meet: there is no more change than elsewhere.
    change = np.abs(np.diff(wave, axis=1)).max(axis=0)
    assert change[[BLOCK - 1, 2 * BLOCK - 1]].max() <= change.max()


def test_the_bus_does_not_move_a_stroke() -> None:
    sent = np.zeros((2, BLOCK), np.float32)
    sent[:, 12_000:12_400] = np.hanning(400) * 0.1
    for name in ("natural", "club", "metal"):
        heard = Bus(read_mix(name)).push(sent)
        assert abs(int(np.argmax(np.abs(heard[0]))) - int(np.argmax(sent[0]))) < 48  # a millisecond


def test_the_compressor_holds_loud_music_down() -> None:
    noise = np.random.default_rng(0).standard_normal((2, 2 * RATE)).astype(np.float32)
    plain, glued = Mix(drive=0.0, glue_db=0.0), Mix(drive=0.0, glue_db=4.0)

    def range_db(mix: Mix) -> float:
        loud, soft = (Bus(mix).push(gain * noise[:, :RATE])[:, RATE // 2 :] for gain in (0.05, 0.002))
        return float(20 * np.log10(loud.std() / soft.std()))

    assert range_db(glued) < range_db(plain) - 2


def test_mixes_can_be_changed_and_mistakes_are_named() -> None:
    changed = read_mix({"preset": "club", "room": "hall", "tilt_db": -1.0})
    assert (changed.room, changed.tilt_db, changed.pump_db) == ("hall", -1.0, read_mix("club").pump_db)
    with pytest.raises(ModelError, match="no mix disco_hall; give one of natural"):
        read_mix("disco_hall")
    with pytest.raises(ModelError, match="A mix has no colour"):
        read_mix({"preset": "club", "colour": 1})
    with pytest.raises(ModelError, match="no room cave; give one of none, chamber"):
        read_mix({"room": "cave"})


@pytest.mark.parametrize("amount", [0.2, 0.6, 1.0])
def test_an_amplifier_makes_differences_of_strings_and_keeps_their_level(amount: float) -> None:
    time = np.arange(2 * RATE) / RATE
    strings = [0.12 * np.sin(2 * np.pi * hertz * time) for hertz in (660.0, 880.0)]
    both = np.stack([strings[0] + strings[1]] * 2).astype(np.float32)

    def through(sound: np.ndarray, size: int) -> np.ndarray:
        amp = Amp(amount)
        return np.concatenate([amp.push(sound[:, k : k + size]) for k in range(0, sound.shape[1], size)], axis=1)

    heard = through(both, BLOCK)
    assert np.allclose(heard, through(both, 30_000), atol=1e-5)  # blocks leave no seam
    spectrum = np.abs(np.fft.rfft(heard[0, RATE:]))  # 1 Hz a step
    alone = [through(np.stack([one] * 2).astype(np.float32), BLOCK)[0, RATE:] for one in strings]
    assert spectrum[220] > 10 * np.abs(np.fft.rfft(alone[0] + alone[1]))[220]
    levels = [20 * np.log10(np.sqrt((wave[:, RATE:] ** 2).mean())) for wave in (both, heard)]
    assert abs(levels[1] - levels[0]) < 6.0
    assert not np.any(Amp(amount).push(np.zeros((2, BLOCK), np.float32)))
