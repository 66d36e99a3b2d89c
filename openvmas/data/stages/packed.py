"""Small forms of what training needs: codes in as many bits as they have, features in four, curves in eight."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Clock, Events

CURVE_RATE = Fraction(10)  # steps per second of slow curves (energy, novelty, motion)
FEATURE_TOP = 6.0  # the largest feature: the backbone ends in ReLU6 and a mean
LEVELS = 15


def pack_codes(codes: np.ndarray, codebook_size: int) -> np.ndarray:
    """Codes [K, T] as bits, [K, ceil(T * bits / 8)] uint8, with bits = ceil(log2(codebook_size))."""
    if codes.size and not 0 <= int(codes.min()) <= int(codes.max()) < codebook_size:
        raise ValueError(f"codes must lie in 0 .. {codebook_size - 1}, not {codes.min()} .. {codes.max()}")
    bits = max((codebook_size - 1).bit_length(), 1)
    planes = codes.astype(np.uint32)[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(planes.astype(np.uint8).reshape(len(codes), -1), axis=1)


def unpack_codes(packed: np.ndarray, n_steps: int, codebook_size: int) -> np.ndarray:
    """Codes [K, n_steps] int64 from `pack_codes`."""
    bits = max((codebook_size - 1).bit_length(), 1)
    planes = np.unpackbits(packed, axis=1, count=n_steps * bits).reshape(len(packed), n_steps, bits)
    return planes.astype(np.int64) @ (1 << np.arange(bits - 1, -1, -1))


def pack_features(features: np.ndarray) -> np.ndarray:
    """Backbone features [F, D] (0 to 6, D even) in four bits each on a square-root scale: [F, D / 2] uint8.

    Most features are far below 1, so steps are fine there. The cosine to the original stays above 0.99.
    """
    size = np.sqrt(np.clip(features.astype(np.float32), 0, FEATURE_TOP) / FEATURE_TOP)
    levels = np.rint(size * LEVELS).astype(np.uint8)
    return levels[:, ::2] << 4 | levels[:, 1::2]


def unpack_features(packed: np.ndarray) -> np.ndarray:
    """Features [F, D] float32 from `pack_features`."""
    levels = np.stack([packed >> 4, packed & 15], axis=2).reshape(len(packed), -1)
    return np.square(levels.astype(np.float32) / LEVELS) * FEATURE_TOP


def pack_unit(curve: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as uint8 of the same shape."""
    return np.rint(np.clip(curve, 0, 1) * 255).astype(np.uint8)


def pack_curve(curve: np.ndarray) -> np.ndarray:
    """A slow curve [T] at CONTROL_RATE, in [0, 1], as uint8 at CURVE_RATE: mean over each step."""
    step = int(CONTROL_RATE / CURVE_RATE)
    padded = np.pad(curve.astype(np.float32), (0, -len(curve) % step), mode="edge") if len(curve) else curve
    return pack_unit(padded.reshape(-1, step).mean(axis=1))


def unpack_curve(packed: np.ndarray, n_steps: int) -> np.ndarray:
    """A curve [n_steps] float32 at CONTROL_RATE from `pack_curve`."""
    if not len(packed):
        return np.zeros(n_steps, np.float32)
    step = int(CONTROL_RATE / CURVE_RATE)
    middles = np.arange(len(packed)) * step + (step - 1) / 2
    return np.interp(np.arange(n_steps), middles, packed / 255).astype(np.float32)


def pack_events(events: Events, side: str) -> dict[str, np.ndarray]:
    """Event curves by name: accents at their full rate, as places and heights; energy and novelty slower."""
    places = np.flatnonzero(events.accents > 0)
    return {
        f"{side}_accent_steps": places.astype(np.uint32),
        f"{side}_accents": pack_unit(events.accents[places]),
        f"{side}_energy": pack_curve(events.energy),
        f"{side}_novelty": pack_curve(events.novelty),
    }


def unpack_events(arrays: dict[str, np.ndarray], side: str, duration: float) -> Events:
    """Event curves at CONTROL_RATE from `pack_events`; side: "seen" or "heard"; duration: s, of the clip."""
    n_steps = Clock(CONTROL_RATE).count(duration)
    accents = np.zeros(n_steps, np.float32)
    places = arrays[f"{side}_accent_steps"].astype(np.int64)
    inside = places < n_steps
    accents[places[inside]] = arrays[f"{side}_accents"][inside] / np.float32(255)
    energy, novelty = (unpack_curve(arrays[f"{side}_{name}"], n_steps) for name in ("energy", "novelty"))
    return Events(CONTROL_RATE, accents, energy, novelty)
