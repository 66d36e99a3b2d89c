"""Players: notes become sound, by samples of the bank or by a preset of the synthesiser, as stereo tones that end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import soxr

from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.symbolic.instruments import SHADES, Bank, Zone
from openvmas.symbolic.notes import Note, Part
from openvmas.symbolic.synth import voices
from openvmas.symbolic.synth.presets import Preset, is_synth, preset_of
from openvmas.symbolic.synth.voices import Kept

RATE = SAMPLE_RATE_OUT
GRAIN = 64  # samples between two values of an envelope
LEAST_GAP = 0.012  # s, of the shortest release and of the fade at the very end of every tone
DETUNE = 0.07  # semitones, of each of the two voices of a wide part
RELEASE_SAMPLES = RATE  # at most, of what is heard when a key is let go
SPARE = RATE // 4  # samples that are made beyond what a note needs, so that a little longer one finds them
END = 2048  # samples at the end of a tone that a longer one changes
OPEN_HAT = 46  # its end stops it; all other drums ring
CENTS = (0.0, 3.0, -3.0)  # of the tones of one key that follow each other
STARTS = (0, 24, 48)  # samples of their attack that are passed over; as many fade in
SLIDE_SECONDS = 0.08
LEGATO = 0.03  # s, of silence over which a pitch still glides
N_VARIANTS = {"bass": 1, "pad": 1, "texture": 1, "kit": 3}  # others: two
SAMPLES_KEPT, TONES_KEPT = 12_000_000, 16_000_000


class Player(Protocol):
    """One part's instrument."""

    def play(self, note: Note, number: int, before: Note | None) -> tuple[np.ndarray, int]:
        """The sound [2, n] of the number-th note, and how many samples before the note it begins; before: the last."""
        ...


class Fonts(Protocol):
    """The user's own instruments (`fonts.UserFonts`)."""

    def find(self, part: Part, program: int) -> tuple[Bank, str] | None:
        """The bank and the name in it of what plays a part in place of its instrument, or None."""
        ...


class Sounds:
    """All that can sound: the bank's samples and the presets, with the tones that have been made of them."""

    def __init__(self, bank: Bank, fonts: Fonts | None = None) -> None:
        """fonts: what plays in place of the bank's instruments."""
        self.bank, self.fonts = bank, fonts
        self._samples, self._tones = Kept(SAMPLES_KEPT), Kept(TONES_KEPT)

    def player(self, part: Part) -> Player:
        """The player of a part. Raises ModelError for a preset that does not exist."""
        own = self.fonts.find(part, self.program(part.instrument)) if self.fonts is not None else None
        if own is not None:
            return Sampler(part, self, *own)
        if is_synth(part.instrument):
            return Synthesiser(part, preset_of(part.instrument), self, self._tones)
        return Sampler(part, self, self.bank, part.instrument)

    def program(self, instrument: str) -> int:
        """The General MIDI program nearest to an instrument (of kits: of the drum bank)."""
        return preset_of(instrument).program if is_synth(instrument) else self.bank.programs[instrument]

    def sample(self, bank: Bank, zone: Zone, pitch: float, shade: int, n: int) -> np.ndarray:
        """At least n samples [C, n] of a bank's zone at a pitch and 48 kHz, or fewer where the sample ends."""
        key = (id(bank), zone.sample, zone.cutoff, zone.root, round(pitch, 3), shade)
        make = lambda length: self._pitched(bank, zone, pitch, shade, length)  # noqa: E731
        return self._samples.get(key, n, make, ends=zone.loop is None)[:, :n]

    def sampled_tone(self, instrument: str, key: float, n: int) -> np.ndarray:
        """A tone [at most n] of an instrument in mono, for what is made of samples."""
        zones = self.bank.zones(instrument, round(key), 90)
        if not zones:
            return np.zeros(0, np.float32)
        gain = 10 ** (self.bank.trim_db(instrument) / 20)
        return self.sample(self.bank, zones[0], key, SHADES, n).mean(axis=0) * np.float32(gain)

    def _pitched(self, bank: Bank, zone: Zone, pitch: float, shade: int, n: int) -> np.ndarray:
        wave = bank.wave(zone, shade)
        rate = zone.rate * 2 ** ((pitch - zone.root) / 12)
        needed = math.ceil((n + SPARE) * rate / RATE) + 64
        if zone.loop is not None and needed > zone.loop[1]:
            start, end = zone.loop[0], min(zone.loop[1], wave.shape[1])
            turns = -(-(needed - end) // (end - start))
            wave = np.concatenate([wave[:, :end], np.tile(wave[:, start:end], max(turns, 0))], axis=1)
        # Every channel by itself: soxr's own interleaving is slower than two calls.
        return np.stack([soxr.resample(side[:needed], rate, RATE, quality="MQ") for side in wave])


class Sampler:
    """Plays a part on samples."""

    def __init__(self, part: Part, sounds: Sounds, bank: Bank, instrument: str) -> None:
        """instrument: its name in the bank."""
        self._part, self._sounds, self._bank, self._instrument = part, sounds, bank, instrument
        self._gain = 10 ** ((part.gain_db + bank.trim_db(instrument)) / 20)

    def play(self, note: Note, number: int, before: Note | None) -> tuple[np.ndarray, int]:
        """See Player."""
        part = self._part
        loud = self._gain * (note.velocity / 127) ** 1.7
        is_free = part.is_kit and note.pitch != OPEN_HAT
        alone = ((0.0, part.pan, 1.0),)
        doubled = tuple((s * DETUNE, max(-1, min(1, part.pan + s * part.width)), 0.71) for s in (-1, 1))
        sounds: list[np.ndarray] = []
        for zone in self._bank.zones(self._instrument, note.pitch, note.velocity, number % 3):
            shade = SHADES if zone.has_layers else min(SHADES, round(SHADES * note.velocity / 112))
            held = note.end - note.start
            if is_free:
                held = self._bank.wave(zone, shade).shape[1] / zone.rate + 0.1
            gains = smooth(envelope(zone, held, is_free))
            is_wide = len(self._bank.wave(zone, shade)) == 2
            for shift, pan, share in alone if is_wide or not part.width else doubled:
                pitch = note.pitch + shift + CENTS[number % 3] / 100
                late = 0 if part.is_kit else STARTS[number % 3]
                tone = self._sounds.sample(self._bank, zone, pitch, shade, len(gains) + late)[:, late:]
                if late:
                    tone = np.concatenate([tone[:, :late] * fade_in(late), tone[:, late:]], axis=1)
                if note.slide:
                    tone = bent(tone, note.slide)
                gain = np.float32(loud * share * 10 ** (zone.gain_db / 20))
                left, right = sides(pan + zone.pan * (0.5 if part.is_kit else 0.0))
                places = np.array([[left], [right]], np.float32) * gain
                sound = tone * gains[: tone.shape[1]] * places
                sounds.append(widened(sound, part.width) if is_wide else sound)
        for zone in self._bank.releases(self._instrument, note.pitch):
            sounds.append(self._let_go(zone, note, loud))
        return joined(sounds), 0

    def _let_go(self, zone: Zone, note: Note, loud: float) -> np.ndarray:
        """The sound [2, n] of a key that is let go, after as much silence as its note lasts."""
        wave = self._sounds.sample(self._bank, zone, float(zone.root), SHADES, RELEASE_SAMPLES)
        before = round((note.end - note.start) * RATE)
        gain = loud * 10 ** (zone.gain_db / 20)
        return np.pad(wave * gain * np.array([sides(self._part.pan)]).T, ((0, 0), (before, 0))).astype(np.float32)


class Synthesiser:
    """Plays a part on a preset."""

    def __init__(self, part: Part, preset: Preset, sounds: Sounds, kept: Kept) -> None:
        self._part, self._preset, self._sounds, self._kept = part, preset, sounds, kept
        self._gain = 10 ** (part.gain_db / 20)
        self._n_variants = N_VARIANTS.get(preset.role, 2)
        left, right = sides(part.pan)
        self._sides = np.array([[left], [right]], np.float32)

    def play(self, note: Note, number: int, before: Note | None) -> tuple[np.ndarray, int]:
        """See Player."""
        preset, part = self._preset, self._part
        shade = min(voices.SHADES, round(voices.SHADES * note.velocity / 112))
        come_from = note.pitch - note.slide if note.slide else None
        if preset.glide and before is not None and note.start - before.end < LEGATO and before.pitch != note.pitch:
            come_from = float(before.pitch)
        held = max(1, round((note.end - note.start) * RATE))
        variant = number % self._n_variants
        if preset.is_one_shot and not (preset.drums and note.pitch == OPEN_HAT):
            gains = None
            n = round(RATE * (preset.amp.release + preset.amp.decay + 1.0))
        else:
            gains = release(held, preset.amp.release)
            n = len(gains)
        exact = preset.depends_on_length
        key = (preset.name, note.pitch, shade, variant, come_from, held if exact else 0)

        def make(length: int) -> np.ndarray:
            # The filter needs what comes after: the last frames of a tone are not those of a longer one.
            longer = held if exact else length + (0 if preset.drums else SPARE + END)
            made = voices.tone(
                preset, float(note.pitch), shade, variant, longer, self._sounds.sampled_tone, come_from
            )  # fmt: skip
            return made if exact or preset.drums else made[:, : length + SPARE]

        tone = self._kept.get(key, n, make, ends=exact or bool(preset.drums))[:, :n]
        if gains is not None:
            tone = tone * gains[: tone.shape[1]]
        elif not preset.drums:
            tone = tone * np.clip(np.arange(n, 0, -1, dtype=np.float32) / (0.3 * RATE), 0, 1)
        sound = tone * (np.float32(self._gain * (note.velocity / 127) ** 1.7) * self._sides)
        return widened(sound, part.width), 0


def fade_in(n: int) -> np.ndarray:
    """Gains [n] from nearly 0 to 1."""
    return np.arange(1, n + 1, dtype=np.float32) / n


def envelope(zone: Zone, held: float, is_kit: bool) -> np.ndarray:
    """Gain of a note that is held for `held` s, every GRAIN samples, with its release: [G], 0 at the end."""
    attack, hold, decay, sustain, release_ = zone.envelope
    tail = max(min(release_, 4.0) * 0.6, LEAST_GAP)  # to −60 dB
    time = np.arange(math.ceil((held + tail) * RATE / GRAIN) + 2) * GRAIN / RATE
    fallen = np.clip((time - attack - hold) / max(decay, 1e-3), 0, 1) * sustain
    rise = np.clip(time / attack, 0, 1) if attack > 0.001 else np.ones(len(time))
    level = rise * 10 ** (-fallen / 20)
    if not is_kit:
        level = level * 10 ** (-60 / 20 * np.clip((time - held) / tail, 0, None))
    level *= np.clip((time[-1] - GRAIN / RATE - time) / LEAST_GAP, 0, 1)
    return level.astype(np.float32)


def smooth(level: np.ndarray) -> np.ndarray:
    """Gains of every sample [n] between those of every GRAIN samples [G]."""
    ramp = (np.arange(GRAIN, dtype=np.float32) / GRAIN)[None]
    return (level[:-1, None] + (level[1:] - level[:-1])[:, None] * ramp).ravel()


def release(held: int, seconds: float) -> np.ndarray:
    """Gains [n] of a tone that is held for so many samples and then falls to −60 dB within `seconds`, 0 at the end."""
    tail = max(int(RATE * seconds), int(RATE * LEAST_GAP))
    share = np.arange(1, tail + 1, dtype=np.float32) / tail
    return np.concatenate([np.ones(held, np.float32), np.exp(-6.9 * share) * (1 - share**8)]).astype(np.float32)


def bent(tone: np.ndarray, semitones: float) -> np.ndarray:
    """The tone [C, n] begun so many semitones lower, from which it comes to its pitch within SLIDE_SECONDS."""
    n = tone.shape[1]
    time = np.arange(n) / RATE
    place = np.cumsum(2 ** (-semitones / 12 * np.clip(1 - time / SLIDE_SECONDS, 0, 1)))
    place = np.minimum(place - place[0], n - 1.001)
    first = place.astype(np.int64)
    share = (place - first).astype(np.float32)
    return tone[:, first] * (1 - share) + tone[:, np.minimum(first + 1, n - 1)] * share


def widened(sound: np.ndarray, width: float) -> np.ndarray:
    """The sound [2, n] with its sides raised by the share `width`."""
    if not width:
        return sound
    middle, side = sound.mean(axis=0), 0.5 * (sound[0] - sound[1]) * np.float32(1 + width)
    return np.stack([middle + side, middle - side])


def joined(sounds: Sequence[np.ndarray]) -> np.ndarray:
    """Sounds [2, n] of different lengths, together."""
    total = np.zeros((2, max((sound.shape[1] for sound in sounds), default=0)), np.float32)
    for sound in sounds:
        total[:, : sound.shape[1]] += sound
    return total


def sides(pan: float) -> tuple[float, float]:
    """Gains left and right of a place in [-1, 1], of equal power."""
    angle = (max(-1.0, min(1.0, pan)) + 1) * math.pi / 4
    return math.cos(angle) * math.sqrt(2), math.sin(angle) * math.sqrt(2)
