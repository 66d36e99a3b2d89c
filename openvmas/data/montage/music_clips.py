"""Analysed and tagged tracks, as editors of montages need them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvmas.condition import AXES
from openvmas.errors import InputError
from openvmas.music.analysis import MusicAnalysis


@dataclass(frozen=True)
class Song:
    """A track: what is heard in it, and its semantic axes [N, A] at axis_times [N] s (window middles; may be empty)."""

    name: str
    heard: MusicAnalysis
    axis_times: np.ndarray
    axes: np.ndarray

    def axes_at(self, start: float, end: float) -> np.ndarray:
        """Mean axes between two moments (s): [A]; NaN where the track was never tagged."""
        if len(self.axis_times) == 0:
            return np.full(len(AXES), np.nan)
        inside = (self.axis_times >= start - 2.5) & (self.axis_times <= end + 2.5)
        if not inside.any():
            inside[np.argmin(np.abs(self.axis_times - (start + end) / 2))] = True
        return self.axes[inside].astype(np.float64).mean(axis=0)


def key_of(name: str) -> str:
    """The file name that a track's analysis has (as `train.decoder.examples` writes it)."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def read_songs(names: Iterable[str], heard: Path, tags: Path) -> list[Song]:
    """The songs of these names that were analysed.

    heard: folder of analyses by `openvmas train examples listen`; tags: NPZ of tools/tag_music.py.
    Raises InputError if there is not one.
    """
    with np.load(tags) as data:
        spans = {str(n): (int(a), int(b)) for n, a, b in zip(data["tracks"], data["start"], data["start"][1:])}  # noqa: B905
        times, axes = data["times"], data["axes"].astype(np.float32)
    songs = []
    for name in names:
        path = heard / f"{key_of(name)}.npz"
        if path.exists():
            first, last = spans.get(name, (0, 0))
            songs.append(Song(name, MusicAnalysis.load(path), times[first:last], axes[first:last]))
    if not songs:
        raise InputError(f"{heard} holds no analysis of these tracks; run `openvmas train examples listen`.")
    return songs
