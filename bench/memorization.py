"""Is generated music copied from the music it was trained on? The longest passage that two pieces share.

Two views: `code_words` looks at codec codes as the decoder wrote them; `fingerprint` hears the sound itself (sub-band
energy differences, Haitsma & Kalker 2002), whatever codec or gain lies between. `Corpus` finds shared passages in
either: seeds that agree exactly give a track and an offset, and along that offset the run that agrees best, up to a
tolerance, is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr

N_GRAM = 5  # codes of a seed
MIN_DISTINCT = 3  # different codes in a seed: held notes and silence are shared by everything
RATE = 50  # words per second of a fingerprint
FINGERPRINT_SAMPLE_RATE = 8_000  # Hz
WINDOW = 3_200  # samples, 0.4 s: so long that half a step of misalignment changes few bits
LOWEST, HIGHEST = 150.0, 3_000.0  # Hz
BITS = 32
MAX_HITS = 64  # places of one seed in the corpus that are followed; commoner seeds say nothing
MAX_OFFSETS = 2_000  # offsets of a piece against tracks that are measured, those with most seeds first


@dataclass(frozen=True)
class Words:
    """A piece as numbers that can be looked up.

    seeds: [T] int64, equal where two pieces agree exactly, -1 where nothing distinctive is. symbols: [T, W] uint8 or
    uint32 of which `agreement` counts equal ones (codes) or equal bits (fingerprints).
    """

    seeds: np.ndarray
    symbols: np.ndarray

    @property
    def is_bits(self) -> bool:
        return self.symbols.dtype == np.uint32

    def __len__(self) -> int:
        return len(self.seeds)


@dataclass(frozen=True)
class Copy:
    """The longest shared passage: `length` steps from `start` of the piece and `track_start` of the track.

    agreement: share of equal codes (held ones aside) or bits in it. track: its name, empty where nothing is shared.
    """

    track: str
    start: int
    track_start: int
    length: int
    agreement: float


NOTHING = Copy("", 0, 0, 0, 0.0)


def code_words(codes: np.ndarray, n_gram: int = N_GRAM) -> Words:
    """Codes [K, T] or [T] as words: seeds are n_gram codes of the first codebook in a row."""
    first = np.atleast_2d(codes)[0].astype(np.int64)
    seeds = np.full(len(first), -1, np.int64)
    if len(first) >= n_gram:
        grams = np.lib.stride_tricks.sliding_window_view(first, n_gram)
        ordered = np.sort(grams, axis=1)
        distinct = 1 + (np.diff(ordered, axis=1) > 0).sum(axis=1)
        # A polynomial hash; the modulus keeps the products inside 63 bits.
        value = np.zeros(len(grams), np.int64)
        for column in range(n_gram):
            value = (value * 65_599 + grams[:, column] + 1) % ((1 << 46) - 21)
        seeds[: len(grams)] = np.where(distinct >= MIN_DISTINCT, value, -1)
    return Words(seeds, first.astype(np.uint16)[:, None])


def fingerprint(wave: np.ndarray, sample_rate: float) -> Words:
    """What a mono wave [L] sounds like, RATE words of 32 bits a second.

    A copy that was played faster by a ratio is found with sample_rate / ratio, which plays it back.
    """
    if wave.ndim != 1:
        raise ValueError(f"a mono wave [L] is needed, not shape {wave.shape}")
    if sample_rate != FINGERPRINT_SAMPLE_RATE:
        wave = soxr.resample(np.ascontiguousarray(wave, np.float32), sample_rate, FINGERPRINT_SAMPLE_RATE)
    hop = FINGERPRINT_SAMPLE_RATE // RATE
    if len(wave) < WINDOW + hop:
        return Words(np.zeros(0, np.int64), np.zeros((0, 1), np.uint32))
    frames = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float32), WINDOW)[::hop]
    edges = np.geomspace(LOWEST, HIGHEST, BITS + 2)
    bins = np.rint(edges / FINGERPRINT_SAMPLE_RATE * WINDOW).astype(int)
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    bands = np.concatenate(
        [
            np.add.reduceat(np.abs(np.fft.rfft(frames[i : i + 1024] * window)[:, : bins[-1]]) ** 2, bins[:-1], axis=1)
            for i in range(0, len(frames), 1024)
        ]
    )
    across = np.diff(np.log(bands + 1e-8), axis=1)
    bits = np.diff(across, axis=0) > 0
    words = (bits.astype(np.uint32) << np.arange(BITS, dtype=np.uint32)).sum(axis=1, dtype=np.uint32)
    level = bands[1:].sum(axis=1)
    is_heard = level > max(1e-6 * float(level.max(initial=0.0)), 1e-7)
    return Words(np.where(is_heard, words.astype(np.int64), -1), words[:, None])


def best_run(gains: np.ndarray) -> tuple[int, int]:
    """Start and length of the span of gains [T] with the greatest sum; length 0 if none is over 0.

    With gains of match minus threshold it bridges gaps shorter than what it gains behind them, and does not reach into
    what does not match, as the longest span with that mean would.
    """
    total = np.concatenate([[0.0], np.cumsum(gains)])
    gain = total - np.minimum.accumulate(total)
    end = int(np.argmax(gain))
    if gain[end] <= 1e-9:
        return 0, 0
    start = end - 1 - int(np.argmin(total[:end][::-1]))
    return start, end - start


class Corpus:
    """Training music that can be searched."""

    def __init__(self, tracks: Sequence[tuple[str, Words]]) -> None:
        """tracks: name and words of each, all of one kind."""
        self._names = [name for name, _ in tracks]
        self._tracks = [words for _, words in tracks]
        self._starts = np.concatenate([[0], np.cumsum([len(words) for words in self._tracks])])
        seeds = np.concatenate([words.seeds for words in self._tracks]) if tracks else np.zeros(0, np.int64)
        self._order = np.argsort(seeds, kind="stable")
        self._sorted = seeds[self._order]

    def find(self, piece: Words, threshold: float | None = None, n_flips: int = 0) -> Copy:
        """The longest passage of the piece that is also in the corpus.

        threshold: share of codes (default 0.8) or bits (default 0.72) from which a step counts for the passage.
        n_flips: for fingerprints, 1 looks seeds up with each bit changed too (32 times the work, for noisy copies).
        """
        if threshold is None:
            threshold = 0.72 if piece.is_bits else 0.8
        best = NOTHING
        for track, offset in self._places(piece, n_flips):
            words = self._tracks[track]
            first, last = max(0, -offset), min(len(piece), len(words) - offset)
            if last - first <= best.length:
                continue
            mine, theirs = piece.symbols[first:last], words.symbols[first + offset : last + offset]
            matches = agreement(mine, theirs)
            if piece.is_bits:
                counts, gains = np.ones(len(matches), bool), smooth(matches) - threshold
            else:
                counts = ~(is_held(mine) & is_held(theirs))
                gains = np.where(counts, matches - threshold, 0)
            start, length = best_run(gains)
            if length > best.length:
                found = float(matches[start : start + length][counts[start : start + length]].mean())
                best = Copy(self._names[track], first + start, first + start + offset, length, found)
        return best

    def _places(self, piece: Words, n_flips: int) -> list[tuple[int, int]]:
        """Tracks and offsets (place in the track minus place in the piece) at which a seed agrees, likeliest first."""
        where = np.flatnonzero(piece.seeds >= 0)
        values = piece.seeds[where]
        if n_flips:
            flips = np.concatenate([[0], 1 << np.arange(BITS, dtype=np.int64)])
            where, values = np.repeat(where, len(flips)), (values[:, None] ^ flips).ravel()
        left, right = (np.searchsorted(self._sorted, values, side=side) for side in ("left", "right"))
        counts = right - left
        keep = (counts > 0) & (counts <= MAX_HITS)
        where, left, counts = where[keep], left[keep], counts[keep]
        if not len(where):
            return []
        inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        places = self._order[np.repeat(left, counts) + inside]
        tracks = np.searchsorted(self._starts, places, side="right") - 1
        offsets = places - self._starts[tracks] - np.repeat(where, counts)
        pairs, votes = np.unique(np.stack([tracks, offsets], axis=1), axis=0, return_counts=True)
        return [(int(track), int(offset)) for track, offset in pairs[np.argsort(-votes, kind="stable")[:MAX_OFFSETS]]]


def agreement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of equal codes or equal bits of each step: a, b [T, W] → [T] in [0, 1]."""
    if a.dtype == np.uint32:
        return 1 - np.bitwise_count(a ^ b).mean(axis=1) / BITS
    return (a == b).mean(axis=1)


def is_held(symbols: np.ndarray) -> np.ndarray:
    """Steps that repeat the one before: [T]. Two silences agree in nothing but these."""
    return np.concatenate([[False], (symbols[1:] == symbols[:-1]).all(axis=1)])


def smooth(matches: np.ndarray, width: int = RATE // 2) -> np.ndarray:
    """Mean over half a second: single words of a fingerprint agree by chance, half a second of them does not."""
    if len(matches) < width:
        return np.full(len(matches), matches.mean() if len(matches) else 0.0)
    total = np.concatenate([[0.0], np.cumsum(matches)])
    low = np.clip(np.arange(len(matches)) - width // 2, 0, len(matches) - width)
    return (total[low + width] - total[low]) / width
