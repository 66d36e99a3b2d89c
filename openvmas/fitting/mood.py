"""A recording on the plan's semantic axes, as far as its sound alone says it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from openvmas.condition import AXES
from openvmas.fitting.track import N_BANDS, Track

WEIGHTS = Path(__file__).parent / "weights" / "mood.npz"  # made by tools/fit_mood.py
BRIGHT = slice(14, N_BANDS)  # bands above about 2 kHz


def axes_of(track: Track) -> np.ndarray:
    """Values in about -2 to 2, in standard deviations of music at large: [len(AXES)], NaN where nothing is known.

    Valence, arousal, danceability and acousticness by ridge regression on the traits of a recording; brightness and
    density by their own measures.
    """
    axes = np.full(len(AXES), np.nan, np.float32)
    with np.load(WEIGHTS) as data:
        traits = np.clip((track.traits - data["mean"]) / data["scale"], -3, 3)
        for name, column, bias in zip(data["names"], data["weights"].T, data["bias"], strict=True):
            axes[AXES.index(str(name))] = np.clip(traits @ column + bias, -2, 2)
        axes[AXES.index("brightness")] = np.clip(traits[BRIGHT].mean(), -2, 2)
        axes[AXES.index("density")] = np.clip(traits[N_BANDS + 2], -2, 2)
    return axes
