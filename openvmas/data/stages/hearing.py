"""What kind of sound is heard when: speech, singing and music over time, from one run of the embedded detector."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from openvmas.data.curation.record_media import SAMPLE_RATE, Media
from openvmas.music import speech

SOUND_RATE = Fraction(10)  # steps per second of the curves that are kept
LIKELY = 0.5  # probability from which a class counts as heard


@dataclass(frozen=True)
class Sounds:
    """Probabilities over time at SOUND_RATE, [T] float32 in [0, 1] each; the classes do not exclude each other."""

    speech: np.ndarray
    singing: np.ndarray
    music: np.ndarray

    def cut(self, start: float, duration: float) -> Sounds:
        """The same from `start` on, s."""
        first = round(start * float(SOUND_RATE))
        part = slice(first, first + max(round(duration * float(SOUND_RATE)), 1))
        return Sounds(self.speech[part], self.singing[part], self.music[part])

    def shares(self) -> dict[str, float]:
        """Share of time with talk, singing, and music or singing."""
        if not len(self.music):
            return {"speech_share": 0.0, "singing_share": 0.0, "music_share": 0.0}
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
    heard = speech.find_classes(wave, sample_rate)
    n_steps = max(round(heard.n_samples / sample_rate * float(SOUND_RATE)), 1)
    frames = heard.frames  # 100 per second
    if not len(frames):
        return Sounds(*np.zeros((3, n_steps), np.float32))
    per_step = speech.SAMPLE_RATE // speech.HOP // int(SOUND_RATE)
    missing = max(n_steps * per_step - len(frames), 0)
    padded = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    means = padded[: n_steps * per_step].reshape(n_steps, per_step, 3).mean(axis=1).astype(np.float32)
    return Sounds(means[:, 0], means[:, 1], means[:, 2])


def hear(media: Media) -> Sounds:
    """The sounds of a record's span, found once; those of a part are cut from those of the whole."""
    whole = media.whole
    if whole is not None:
        return hear(whole).cut(media.offset, media.duration)
    return media.once("sounds", lambda: media.timed("sounds", lambda: find_sounds(media.audio(), SAMPLE_RATE)))
