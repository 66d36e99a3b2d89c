"""Notes to sound: every note is a sample at its pitch with an envelope, every part has a place and a share of the room.

A stream of blocks; what rings beyond a block waits in the part's own buffer, so memory does not grow with the length.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import soxr

from openvmas.settings import CONTROL_RATE, SAMPLE_RATE_OUT
from openvmas.symbolic.instruments import SHADES, Bank, Zone
from openvmas.symbolic.notes import Composition, Note, Part
from openvmas.timeline import Clock

BLOCK = SAMPLE_RATE_OUT  # samples
GRAIN = 64  # samples between two values of an envelope
CACHE_SAMPLES = 12_000_000  # of tones that are kept
LEAST_GAP = 0.012  # s, of the shortest release and of the fade at the very end of every tone
DETUNE = 0.07  # semitones, of each of the two voices of a wide part
MASTER_DB = -14.0  # so that no style comes near full scale
ROOM_SECONDS, ROOM_SEED = 1.7, 5
ONE_SHOT_KEYS = 46  # the open hi-hat is stopped by its end; all other drums ring


class Room:
    """A reverberation [2, n] of exponentially falling noise, darker as it falls, convolved block by block.

    The statistical model of late reverberation (Moorer 1979); treble falls faster than the middle, bass is kept dry.
    """

    def __init__(self) -> None:
        n = int(ROOM_SECONDS * SAMPLE_RATE_OUT)
        rng = np.random.default_rng(ROOM_SEED)
        noise = rng.standard_normal((2, n))
        time = np.arange(n) / SAMPLE_RATE_OUT
        frequency = np.fft.rfftfreq(n, 1 / SAMPLE_RATE_OUT)
        response = np.zeros((2, n))
        for low, high, seconds in ((180, 900, 1.7), (900, 3500, 1.35), (3500, 11_000, 0.75)):
            band = 1 / (1 + (low / np.maximum(frequency, 1)) ** 4) / (1 + (frequency / high) ** 4)
            part = np.fft.irfft(np.fft.rfft(noise) * band, n)
            response += part * np.exp(-6.9 * time / seconds)
        onset = np.clip((time - 0.012) / 0.02, 0, 1) * np.clip((time[-1] - time) / 0.1, 0, 1)
        response *= onset
        response /= np.sqrt((response**2).sum(axis=1, keepdims=True))
        self._length = n
        self._size = 1 << (BLOCK + n - 1).bit_length()
        self._spectrum = np.fft.rfft(response, self._size).astype(np.complex64)
        self._tail = np.zeros((2, self._size - BLOCK), np.float32)

    def push(self, sent: np.ndarray) -> np.ndarray:
        """The room's answer [2, n] to a mono block [n], n at most BLOCK."""
        n = len(sent)
        answer = np.zeros((2, self._size), np.float32)
        if np.any(sent):
            answer = np.fft.irfft(np.fft.rfft(sent, self._size) * self._spectrum, self._size).astype(np.float32)
        answer[:, : self._tail.shape[1]] += self._tail
        self._tail = answer[:, n : n + self._size - BLOCK].copy()
        return answer[:, :n]


class Tones:
    """Samples at the pitch and shade of a note, kept while there is room for them."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._kept: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._n_samples = 0

    def tone(self, zone: Zone, pitch: float, shade: int, n: int) -> np.ndarray:
        """At least n samples at 48 kHz, or fewer where the sample ends."""
        key = (zone.sample, zone.cutoff, zone.root, round(pitch, 3), shade)
        found = self._kept.get(key)
        if found is None or (len(found) < n and zone.loop is not None):
            if found is not None:
                self._n_samples -= len(self._kept.pop(key))
            found = self._make(zone, pitch, shade, n)
            self._kept[key] = found
            self._n_samples += len(found)
            while self._n_samples > CACHE_SAMPLES and len(self._kept) > 1:
                self._n_samples -= len(self._kept.popitem(last=False)[1])
        self._kept.move_to_end(key)
        return found[:n]

    def _make(self, zone: Zone, pitch: float, shade: int, n: int) -> np.ndarray:
        wave = self._bank.wave(zone, shade)
        rate = zone.rate * 2 ** ((pitch - zone.root) / 12)
        needed = math.ceil((n + BLOCK // 4) * rate / SAMPLE_RATE_OUT) + 64
        if zone.loop is not None and needed > zone.loop[1]:
            start, end = zone.loop[0], min(zone.loop[1], len(wave))
            turns = -(-(needed - end) // (end - start))
            wave = np.concatenate([wave[:end], np.tile(wave[start:end], max(turns, 0))])
        return soxr.resample(wave[:needed], rate, SAMPLE_RATE_OUT, quality="MQ")


def envelope(zone: Zone, held: float, is_kit: bool) -> np.ndarray:
    """Gain of a note that is held for `held` s, every GRAIN samples, with its release: [G], 0 at the end."""
    attack, hold, decay, sustain, release = zone.envelope
    tail = max(min(release, 4.0) * 0.6, LEAST_GAP)  # to −60 dB
    time = np.arange(math.ceil((held + tail) * SAMPLE_RATE_OUT / GRAIN) + 2) * GRAIN / SAMPLE_RATE_OUT
    fallen = np.clip((time - attack - hold) / max(decay, 1e-3), 0, 1) * sustain
    rise = np.clip(time / attack, 0, 1) if attack > 0.001 else np.ones(len(time))
    level = rise * 10 ** (-fallen / 20)
    if not is_kit:
        level = level * 10 ** (-60 / 20 * np.clip((time - held) / tail, 0, None))
    level *= np.clip((time[-1] - GRAIN / SAMPLE_RATE_OUT - time) / LEAST_GAP, 0, 1)
    return level.astype(np.float32)


class _Desk:
    """One part while it sounds: its notes in time and what is still ringing."""

    def __init__(self, part: Part, tones: Tones, bank: Bank) -> None:
        self.part, self._tones, self._bank = part, tones, bank
        self._notes = sorted(part.notes)
        self._next = 0
        self._sound = np.zeros((2, 2 * BLOCK), np.float32)
        self._gain = 10 ** ((part.gain_db + bank.trim_db(part.instrument)) / 20)

    def push(self, start: int, n: int) -> np.ndarray:
        """The part's dry sound [2, n] from sample `start` on."""
        while self._next < len(self._notes):
            note = self._notes[self._next]
            first = round(note.start * SAMPLE_RATE_OUT)
            if first >= start + n:
                break
            self._next += 1
            self._strike(note, max(first - start, 0))
        block = self._sound[:, :n].copy()
        left = self._sound.shape[1] - n
        self._sound[:, :left] = self._sound[:, n:].copy()
        self._sound[:, left:] = 0
        return block

    def _strike(self, note: Note, at: int) -> None:
        """Add one note to what sounds, `at` samples into the block."""
        part = self.part
        loud = self._gain * (note.velocity / 127) ** 1.7
        shade = min(SHADES, round(SHADES * note.velocity / 112))
        is_free = part.is_kit and note.pitch != ONE_SHOT_KEYS
        voices = ((0.0, part.pan, 1.0),)
        if part.width:
            voices = tuple((s * DETUNE, max(-1, min(1, part.pan + s * part.width)), 0.71) for s in (-1, 1))
        for zone in self._bank.zones(part.instrument, note.pitch):
            held = note.end - note.start
            if is_free:
                held = self._bank.wave(zone, shade).shape[0] / zone.rate + 0.1
            level = envelope(zone, held, is_free)
            ramp = (np.arange(GRAIN, dtype=np.float32) / GRAIN)[None]
            gains = (level[:-1, None] + (level[1:] - level[:-1])[:, None] * ramp).ravel()
            for cents, pan, share in voices:
                tone = self._tones.tone(zone, note.pitch + cents, shade, len(gains))
                sound = tone * gains[: len(tone)]
                left, right = sides(pan + zone.pan * (0.5 if part.is_kit else 0.0))
                self._add(sound, at, (loud * share * 10 ** (zone.gain_db / 20)) * np.array([left, right], np.float32))

    def _add(self, sound: np.ndarray, at: int, gains: np.ndarray) -> None:
        missing = at + len(sound) - self._sound.shape[1]
        if missing > 0:
            self._sound = np.concatenate([self._sound, np.zeros((2, missing + BLOCK), np.float32)], axis=1)
        for channel, gain in enumerate(gains):
            self._sound[channel, at : at + len(sound)] += sound * np.float32(gain)


def sides(pan: float) -> tuple[float, float]:
    """Gains left and right of a place in [-1, 1], of equal power."""
    angle = (max(-1.0, min(1.0, pan)) + 1) * math.pi / 4
    return math.cos(angle) * math.sqrt(2), math.sin(angle) * math.sqrt(2)


def render(composition: Composition, bank: Bank) -> Iterator[np.ndarray]:
    """The music in blocks [2, n] float32 at 48 kHz of a second, together exactly as long as the composition."""
    tones, room = Tones(bank), Room()
    desks = [_Desk(part, tones, bank) for part in composition.parts]
    for start, n in _blocks(composition):
        shape = _shape(composition, start, n)
        dry, sent = np.zeros((2, n), np.float32), np.zeros(n, np.float32)
        for desk in desks:
            sound = desk.push(start, n)
            dry += sound
            sent += sound.mean(axis=0) * desk.part.reverb
        yield (dry * shape[0] + room.push(sent * shape[0])) * shape[1]


def _blocks(composition: Composition) -> Iterator[tuple[int, int]]:
    total = Clock(Fraction(SAMPLE_RATE_OUT)).count(composition.duration)
    for start in range(0, total, BLOCK):
        yield start, min(BLOCK, total - start)


def _shape(composition: Composition, start: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Gains [n] of the samples from `start` on: the players' expression, and the fade that ends with the picture."""
    total = float(composition.duration) * SAMPLE_RATE_OUT
    at = start + np.arange(n)
    steps = at * (float(CONTROL_RATE) / SAMPLE_RATE_OUT)
    level = np.interp(steps, np.arange(len(composition.level)), composition.level) if len(composition.level) else 0.0
    fade = min(0.9 * SAMPLE_RATE_OUT, total / 3)
    ending = np.sin(0.5 * np.pi * np.clip((total - 1 - at) / max(fade, 1), 0, 1)) ** 2
    return (10 ** ((level + MASTER_DB) / 20) * np.ones(n)).astype(np.float32), ending.astype(np.float32)
