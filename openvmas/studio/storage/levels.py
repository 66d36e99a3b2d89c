"""The power of music and original over time, from which the page knows how loud their sum is at any setting.

A sum g m + o of music and original has the power g² mm + 2 g mo + oo in every hop of 25 ms, where g hardly changes
within one; so three numbers a hop give the loudness by ITU-R BS.1770 for every position of the faders.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from openvmas.media.audio import in_blocks
from openvmas.media.loudness import BlockFilter, k_impulse_response
from openvmas.settings import SAMPLE_RATE_OUT

HOP = SAMPLE_RATE_OUT // 40


def hop_powers(music: Iterable[np.ndarray], original: Iterable[np.ndarray] | None) -> dict[str, list[float]]:
    """Mean K-weighted power of each hop, summed over channels: `music`, `original` and their `cross`, each [H].

    music, original: blocks [2, n] at 48 kHz; the shorter one goes on as silence up to the music's end.
    """
    taps = k_impulse_response(SAMPLE_RATE_OUT)[None]
    filters = BlockFilter(taps, 2), BlockFilter(taps, 2)
    found: dict[str, list[float]] = {"music": [], "original": [], "cross": []}
    pairs = zip(in_hops(music), itertools.chain(in_hops(original or ()), itertools.repeat(None)), strict=False)
    for tune, kept in pairs:
        m = filters[0](tune)[0].astype(np.float64)
        o = filters[1](np.zeros_like(tune) if kept is None else fitted(kept, tune.shape[1]))[0].astype(np.float64)
        for name, one, other in (("music", m, m), ("original", o, o), ("cross", m, o)):
            powers = (one * other).sum(axis=0)
            found[name] += [float(f"{power:.5g}") for power in powers.reshape(-1, HOP).mean(axis=1)]
    return found


def in_hops(blocks: Iterable[np.ndarray], n: int = 80) -> Iterator[np.ndarray]:
    """Blocks [2, n hops] of a stream; what is left at the end and is no whole hop is dropped."""
    for block in in_blocks(blocks, n * HOP):
        if whole := block.shape[1] // HOP * HOP:
            yield block[:, :whole]


def fitted(wave: np.ndarray, length: int) -> np.ndarray:
    """A wave [2, n] cut or followed by silence."""
    return np.pad(wave[:, :length], ((0, 0), (0, max(0, length - wave.shape[1]))))
