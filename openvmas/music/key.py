"""The key of a piece from the strength of its pitch classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
# How well each pitch class fits after a key has been played: Krumhansl & Kessler 1982, from the tonic up.
MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])


@dataclass(frozen=True)
class Key:
    """tonic: pitch class, 0 is C. is_minor: else major. clarity: correlation with the key's profile, in [-1, 1]."""

    tonic: int
    is_minor: bool
    clarity: float

    def __str__(self) -> str:
        return f"{NAMES[self.tonic]} {'minor' if self.is_minor else 'major'}"


def find_key(chroma: np.ndarray) -> Key:
    """The key whose profile correlates best with the mean of chroma [U, 12] (C first); C major of clarity 0 if silent.

    Source: the method of Krumhansl & Schmuckler (Krumhansl 1990).
    """
    mean = chroma.mean(axis=0) if len(chroma) else np.zeros(12)
    if mean.std() < 1e-9:
        return Key(0, False, 0.0)
    found = [
        Key(tonic, is_minor, float(np.corrcoef(mean, np.roll(MINOR if is_minor else MAJOR, tonic))[0, 1]))
        for tonic in range(12)
        for is_minor in (False, True)
    ]
    return max(found, key=lambda key: key.clarity)
