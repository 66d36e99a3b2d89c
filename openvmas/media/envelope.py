"""The music's volume over time: points that a user has set, straight lines in amplitude between them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from openvmas.errors import OptionError

TIME, LEVEL = r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)", r"(off|[+-]?\d+(?:\.\d+)?)"
POINT = re.compile(rf"\s*{TIME}\s*=\s*{LEVEL}\s*(?:dB)?\s*", re.IGNORECASE)
HIGHEST = 24.0  # dB


class Envelope:
    """The music's volume over time, as the user has set it: straight lines in amplitude between points.

    It is 1 where there are no points, and before the first and after the last as they say.
    """

    def __init__(self, points: Sequence[str]) -> None:
        """points: texts such as "0:12.5=-6" (minutes and seconds, dB) or "12=off". Raises OptionError."""
        found = sorted(read_point(text) for text in points)
        self.times = np.array([time for time, _ in found])
        self.gains = np.array([gain for _, gain in found])

    @property
    def is_flat(self) -> bool:
        """Whether it leaves the music as it is."""
        return bool(np.all(self.gains == 1))

    def gain(self, times: np.ndarray) -> np.ndarray:
        """At the given times, s: [n] linear."""
        return np.interp(times, self.times, self.gains) if len(self.times) else np.ones(len(times))


def read_point(text: str) -> tuple[float, float]:
    """Time in s and linear gain of a point. Raises OptionError."""
    match = POINT.fullmatch(text)
    if match is None or (match[4].lower() != "off" and float(match[4]) > HIGHEST):
        raise OptionError(f"envelope cannot have the point {text!r}; give a time and dB, such as 0:12=-6 or 0:12=off.")
    hours, minutes, seconds = (float(part or 0) for part in match.groups()[:3])
    gain = 0.0 if match[4].lower() == "off" else 10 ** (float(match[4]) / 20)
    return 3600 * hours + 60 * minutes + seconds, gain
