"""Quality of the sound (level, silence, clipping, band limit, mono), and whether it is music without talk over it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from openvmas.data.curation.record import Drop, Record
from openvmas.data.curation.record_media import SAMPLE_RATE, Media
from openvmas.music import speech
from openvmas.settings import option

BLOCK = 0.05  # s, over which silence is judged
SILENCE_DB = -65.0  # dBFS: what lossy codecs leave of digital silence lies below
WINDOW = 4096  # samples of the spectra from which the band limit is read
N_WINDOWS = 120  # at most, spread evenly
BAND_FLOOR_DB = -78.0  # against the loudest band: above it there is sound
LEAST_PEAK = 0.02  # of full scale: softer sound is not judged for clipping
LEAST_CLIPPED = 0.003  # share of samples at or above a heap
SOUND_RATE = Fraction(10)  # steps per second of the curves that are kept
LIKELY = 0.5  # probability from which a class counts as present


@dataclass(frozen=True)
class SoundQuality:
    """level_db: RMS, dBFS. silent_share: of 50 ms blocks, [0, 1]. clipping: height of the pile of samples at one size
    (music 0.3 to 1, clipped above 2). bandwidth: Hz, up to which there is sound. is_mono: all channels are the same."""

    level_db: float
    silent_share: float
    clipping: float
    bandwidth: float
    is_mono: bool


def measure_quality(wave: np.ndarray, sample_rate: int) -> SoundQuality:
    """Quality of a wave [C, L] in [-1, 1]."""
    mono = wave.mean(axis=0, dtype=np.float32)
    return SoundQuality(
        level_db=to_db(float(np.mean(np.square(wave, dtype=np.float64))) if wave.size else 0.0),
        silent_share=find_silence(mono, sample_rate),
        clipping=find_clipping(wave),
        bandwidth=find_bandwidth(mono, sample_rate),
        is_mono=is_mono(wave),
    )


def to_db(power: float) -> float:
    """Mean square as dBFS; silence is -120."""
    return 10 * float(np.log10(max(power, 1e-12)))


def find_silence(mono: np.ndarray, sample_rate: int) -> float:
    """Share of blocks of a wave [L] below SILENCE_DB."""
    n = round(BLOCK * sample_rate)
    blocks = mono[: len(mono) // n * n].reshape(-1, n)
    if not len(blocks):
        return 1.0
    power = np.mean(np.square(blocks), axis=1)
    return float(np.mean(power < 10 ** (SILENCE_DB / 10)))


def find_clipping(wave: np.ndarray) -> float:
    """Clipping of a wave [C, L]: density of samples at one size over that just below, at its highest; worst channel.

    Lossy codecs blur flat tops and overshoot them, and a clipped recording may have been turned down afterwards, so
    neither runs of equal samples nor full scale will do. The density of music falls towards its peaks; clipping leaves
    a heap somewhere. Bare square waves look clipped, too.
    """
    worst = 0.0
    for channel in wave:
        size = np.abs(channel)
        peak = float(size.max(initial=0.0))
        if peak < LEAST_PEAK:
            continue
        counts, _ = np.histogram(size, bins=np.linspace(0, 1.0001 * peak, 101))
        density = np.convolve(counts, np.ones(3) / 3, mode="same")
        for place in range(30, 98):
            if counts[place:].sum() < LEAST_CLIPPED * len(size):
                break
            below = density[round(0.72 * place) : round(0.88 * place)].mean()
            worst = max(worst, float(density[place : place + 4].mean() / max(below, 1.0)))
    return worst


def find_bandwidth(mono: np.ndarray, sample_rate: int) -> float:
    """The highest frequency with sound in a wave [L], Hz: the upper tenth of its spectra, against the loudest band."""
    if len(mono) < WINDOW:
        return 0.0
    places = np.linspace(0, len(mono) - WINDOW, min(N_WINDOWS, len(mono) // WINDOW)).astype(int)
    frames = mono[places[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW).astype(np.float32)
    power = np.quantile(np.square(np.abs(np.fft.rfft(frames))), 0.9, axis=0)
    smooth = np.convolve(power, np.ones(15) / 15, mode="same")
    peak = float(smooth.max())
    if peak <= 0:
        return 0.0
    above = np.flatnonzero(smooth > peak * 10 ** (BAND_FLOOR_DB / 10))
    return float(above[-1]) * sample_rate / WINDOW


def is_mono(wave: np.ndarray) -> bool:
    """Whether all channels of [C, L] carry the same, 40 dB and more above their difference."""
    if len(wave) < 2:
        return True
    difference = np.square(wave - wave[:1], dtype=np.float64).mean()
    return bool(difference <= 1e-4 * np.square(wave, dtype=np.float64).mean())


@dataclass(frozen=True)
class Quality:
    """Refuses sound that is silent, too soft, clipped or band-limited; notes mono."""

    min_level_db: float = option(-42.0, "Least level of the whole, dBFS (RMS).", min=-120, max=0)
    max_silent_share: float = option(0.5, "Share of time that may be silent.", min=0, max=1)
    max_clipping: float = option(1.5, "Greatest pile of samples at one size; music has 0.3 to 1.", min=0)
    min_bandwidth: float = option(6000.0, "Up to where there must be sound, Hz.", min=0)
    allow_mono: bool = option(True, "Take sound whose channels are all the same.")
    name: ClassVar[str] = "quality"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        if record.kind == "image":
            return record
        sound = media.stereo()
        found = measure_quality(sound.wave, sound.sample_rate)
        if found.silent_share > self.max_silent_share:
            return Drop(record, self.name, "silence", f"{found.silent_share:.0%} of the time")
        if found.level_db < self.min_level_db:
            return Drop(record, self.name, "too soft", f"{found.level_db:.0f} dBFS")
        if found.clipping > self.max_clipping:
            return Drop(record, self.name, "clipped", f"samples pile up {found.clipping:.1f} times at one size")
        if found.bandwidth < self.min_bandwidth:
            return Drop(record, self.name, "band-limited", f"nothing above {found.bandwidth:.0f} Hz")
        if found.is_mono and not self.allow_mono:
            return Drop(record, self.name, "mono", "all channels are the same")
        rounded = {"level_db": round(found.level_db, 1), "silent_share": round(found.silent_share, 4)}
        rounded |= {"clipping": round(found.clipping, 3), "bandwidth": round(found.bandwidth)}
        return record.with_facts(self.name, **rounded, is_mono=found.is_mono)


@dataclass(frozen=True)
class Sounds:
    """Probabilities over time at SOUND_RATE, [T] float32 in [0, 1] each; the classes do not exclude each other."""

    speech: np.ndarray
    singing: np.ndarray
    music: np.ndarray

    def cut(self, start: float, duration: float) -> Sounds:
        """The curves from `start` on, s."""
        first = round(start * float(SOUND_RATE))
        part = slice(first, first + max(round(duration * float(SOUND_RATE)), 1))
        return Sounds(self.speech[part], self.singing[part], self.music[part])

    def shares(self) -> dict[str, float]:
        """Share of time with talk, singing, and music or singing."""
        # Where music goes on under a voice the detector is sure of both; talk without music is speech alone.
        return {
            "speech_share": share(self.speech >= LIKELY),
            "singing_share": share(self.singing >= LIKELY),
            "music_share": share(np.maximum(self.music, self.singing) >= LIKELY),
        }


def share(mask: np.ndarray) -> float:
    """Mean of a mask, rounded so that it is the same text on every machine."""
    return round(float(np.mean(mask)), 4) if len(mask) else 0.0


def find_sounds(wave: np.ndarray, sample_rate: int) -> Sounds:
    """Speech, singing and music in a wave [L] or [C, L] in [-1, 1] (see `music.speech` for the network).

    Raises ModelError where the embedded weights are missing.
    """
    found = speech.find_classes(wave, sample_rate)
    n_steps = max(round(found.n_samples / sample_rate * float(SOUND_RATE)), 1)
    frames = found.frames  # 100 per second
    if not len(frames):
        return Sounds(*np.zeros((3, n_steps), np.float32))
    per_step = speech.SAMPLE_RATE // speech.HOP // int(SOUND_RATE)
    missing = max(n_steps * per_step - len(frames), 0)
    padded = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    means = padded[: n_steps * per_step].reshape(n_steps, per_step, 3).mean(axis=1).astype(np.float32)
    return Sounds(means[:, 0], means[:, 1], means[:, 2])


def detect_sounds(media: Media) -> Sounds:
    """The sounds of a record's span, found once; those of a part are cut from those of the whole."""
    whole = media.whole
    if whole is not None:
        return detect_sounds(whole).cut(media.offset, media.duration)
    return media.once("sounds", lambda: find_sounds(media.audio(), SAMPLE_RATE))


@dataclass(frozen=True)
class MusicPresent:
    """Refuses what is no music for most of the time: speech alone, noise, silence. Singing counts as music."""

    min_music_share: float = option(0.5, "Share of time with music or singing.", min=0, max=1)
    name: ClassVar[str] = "music"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        if record.kind == "image":
            return record
        shares = detect_sounds(media).shares()
        if shares["music_share"] < self.min_music_share:
            return Drop(record, self.name, "no music", f"music in {shares['music_share']:.0%} of the time")
        return record.with_facts(self.name, share=shares["music_share"], singing_share=shares["singing_share"])


def limit_voice(
    record: Record, media: Media, stage: str, kind: str, most: float, words: tuple[str, str]
) -> Record | Drop:
    """Note the share of one kind of voice, and refuse more of it than `most`. words: reason, and what somebody does."""
    if record.kind == "image":
        return record
    share = detect_sounds(media).shares()[kind]
    if share > most:
        return Drop(record, stage, words[0], f"somebody {words[1]} in {share:.0%} of the time")
    return record.with_facts(stage, share=share)


@dataclass(frozen=True)
class NoSpeech:
    """Refuses talk over the music."""

    max_speech_share: float = option(0.25, "Share of time with somebody speaking.", min=0, max=1)
    name: ClassVar[str] = "speech"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        return limit_voice(record, media, self.name, "speech_share", self.max_speech_share, ("talk", "speaks"))


@dataclass(frozen=True)
class Singing:
    """Refuses sung music where an instrumental set is asked for; takes everything by default.

    The detector is careful: choirs and some strings count as singing.
    """

    max_singing_share: float = option(1.0, "Share of time with singing; 0.1 for an instrumental set.", min=0, max=1)
    name: ClassVar[str] = "singing"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        return limit_voice(record, media, self.name, "singing_share", self.max_singing_share, ("singing", "sings"))
