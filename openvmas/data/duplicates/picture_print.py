"""Fingerprints of moving pictures that survive other codecs, sizes, crops, black bars, mirroring and trimming.

Two small grey frames a second become words of 64 bits: signs of the lowest coefficients of their cosine transform, as
in pHash (Zauner 2010), turned so that a picture and its mirror image give the same word. Words of crops of the
original are kept beside it, because a copy that was cropped looks like one of them. Keys made of some of the bits find
candidates (Indyk & Motwani 1998); `match` then asks for frames that agree in the same order.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from openvmas.data.duplicates.sound_print import mix

FRAME_FPS = 2  # frames per second that are looked at
FRAME_SIDE = 64  # px, both sides: the picture is squeezed
BITS = 64
N_FREQUENCIES = 10  # of the cosine transform, each way
GRID = 32  # px, side of a crop when it is transformed
BLACK = 28  # grey levels that a bar may have
MIN_DETAIL = 6.0  # standard deviation, grey levels, below which a frame says nothing
# Height and width of the crops, of the whole, and how far their middle lies down and right: zooms, 4:3 out of 16:9,
# letterbox, corners.
CROPS = (
    *((size, size, 0.0, 0.0) for size in (1.0, 0.92, 0.85, 0.78)),
    *((height, width, 0.0, 0.0) for height, width in ((1.0, 0.87), (1.0, 0.75), (0.87, 1.0), (0.75, 1.0))),
    *((0.88, 0.88, down, right) for down in (-0.06, 0.06) for right in (-0.06, 0.06)),
)

N_TABLES, KEY_BITS = 8, 20  # keys of a word, and bits in each
NEW_LOOK = 8  # bits by which a frame must differ from the last to count as something new
NEAR = 14  # bits by which two words of one picture may differ; random pictures differ by 32 ± 4
MAX_DRIFT = 0.07  # of the time: copies may run faster or slower by a semitone


@dataclass(frozen=True)
class Match:
    """Agreement of two pictures.

    share: of the shorter one's frames, those that the other shows at the same place. looks: different ones among them.
    offset: of the second behind the first, s. crop: which of CROPS agreed.
    """

    share: float
    looks: int
    offset: float
    crop: int


NO_MATCH = Match(0.0, 0, 0.0, 0)


def hash_frames(frames: np.ndarray) -> np.ndarray:
    """Words of grey frames [F, 64, 64] uint8: [F, len(CROPS)] uint64, 0 where a frame shows nothing."""
    if frames.ndim != 3 or frames.shape[1:] != (FRAME_SIDE, FRAME_SIDE):
        raise ValueError(f"grey frames [F, {FRAME_SIDE}, {FRAME_SIDE}] are needed, not {frames.shape}")
    if not len(frames):
        return np.zeros((0, len(CROPS)), np.uint64)
    top, bottom = _inside_bars(frames.max(axis=(0, 2)))
    left, right = _inside_bars(frames.max(axis=(0, 1)))
    pictures = frames.astype(np.float32)
    words = []
    for height, width, down, aside in CROPS:
        rows = _transform((top + bottom) / 2 + (bottom - top) * down, (bottom - top) * height)
        columns = _transform((left + right) / 2 + (right - left) * aside, (right - left) * width)
        words.append(_words(rows @ pictures @ columns.T))
    inner = pictures[:, int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))]
    is_plain = inner.reshape(len(frames), -1).std(axis=1) < MIN_DETAIL
    return np.where(is_plain[:, None], np.uint64(0), np.stack(words, axis=1))


def picture_keys(words: np.ndarray) -> np.ndarray:
    """Distinct keys [M] uint64 of a picture's words [F, V]: every frame as it is, crops where something new is seen."""
    crops = words[new_looks(words[:, 0])][:, 1:]
    return np.unique(_keys(np.concatenate([words[:, 0], crops.ravel()])))


def new_looks(words: np.ndarray) -> np.ndarray:
    """Indices of frames [F] that differ from the last one that was new: [N]."""
    found: list[int] = []
    last = 0
    for index, word in enumerate(words.tolist()):
        if word and (not found or (word ^ last).bit_count() > NEW_LOOK):
            found.append(index)
            last = word
    return np.array(found, np.int64)


def match(a: np.ndarray, b: np.ndarray) -> Match:
    """Agreement of the words of two pictures [F, V] and [G, V]; either may be the cropped one."""
    best = NO_MATCH
    for crop in range(a.shape[1] if len(a) and len(b) else 0):
        for first, second, sign in ((a[:, crop], b[:, 0], 1), (a[:, 0], b[:, crop], -1)):
            found = _match(first, second, crop) if crop or sign == 1 else NO_MATCH
            if (found.looks >= 2, found.share, found.looks) > (best.looks >= 2, best.share, best.looks):
                best = found
    return best


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bits by which words [F] and [G] differ: [F, G]; BITS where one shows nothing."""
    apart = np.bitwise_count(a[:, None] ^ b[None, :]).astype(np.int64)
    return np.where((a == 0)[:, None] | (b == 0)[None, :], BITS, apart)


def _match(a: np.ndarray, b: np.ndarray, crop: int) -> Match:
    near = distance(a, b) <= NEAR
    x, y = np.nonzero(near)
    if not len(x):
        return NO_MATCH
    offsets = y - x
    drift = 1 + int(np.ceil(MAX_DRIFT * min(len(a), len(b)) / 2))
    votes = np.bincount(offsets + len(a), minlength=len(a) + len(b) + 1)
    around = np.convolve(votes, np.ones(2 * drift + 1, int), mode="same")
    offset = int(np.argmax(around)) - len(a)
    is_here = np.abs(offsets - offset) <= drift
    shown = np.unique(x[is_here]) if len(a) <= len(b) else np.unique(y[is_here])
    shorter = a if len(a) <= len(b) else b
    n_lit = int((shorter != 0).sum())
    return Match(len(shown) / max(n_lit, 1), len(new_looks(shorter[shown])), offset / FRAME_FPS, crop)


def _keys(words: np.ndarray) -> np.ndarray:
    """Keys of words [F], those of empty frames left out: [F * N_TABLES]."""
    words = np.unique(words[words != 0])
    bits = (words[:, None] >> np.arange(BITS, dtype=np.uint64)) & np.uint64(1)
    keys = (bits[:, _tables()] << np.arange(KEY_BITS, dtype=np.uint64)).sum(axis=2, dtype=np.uint64)
    return mix((keys | (np.arange(N_TABLES, dtype=np.uint64) << np.uint64(KEY_BITS))).ravel())


@functools.cache
def _tables() -> np.ndarray:
    """Bits that make each key, [N_TABLES, KEY_BITS]: the lowest frequencies, which copies keep best, in most."""
    rng = np.random.default_rng(20)
    share = np.linspace(1.5, 0.5, BITS)
    return np.stack([rng.choice(BITS, KEY_BITS, replace=False, p=share / share.sum()) for _ in range(N_TABLES)])


def _words(coefficients: np.ndarray) -> np.ndarray:
    """Signs of the lowest coefficients [F, n, n]: [F] uint64."""
    orders = [(i + j, i, j) for i in range(N_FREQUENCIES) for j in range(N_FREQUENCIES) if i + j]
    chosen = sorted(orders)[:BITS]
    rows, columns = np.array([i for _, i, _ in chosen]), np.array([j for _, _, j in chosen])
    values = coefficients[:, rows, columns].astype(np.float64)
    # Mirroring turns the sign of odd columns; the largest of them decide which way round is kept.
    odd = columns % 2 == 1
    turned = np.sign((values[:, odd] ** 3).sum(axis=1, keepdims=True))
    values[:, odd] *= np.where(turned == 0, 1, turned)
    return ((values > 0).astype(np.uint64) << np.arange(BITS, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)


def _transform(middle: float, size: float) -> np.ndarray:
    """Cosine transform of the span of FRAME_SIDE pixels around `middle`: [N_FREQUENCIES, FRAME_SIDE]."""
    edges = middle + size * (np.arange(GRID + 1) / GRID - 0.5)
    pixels = np.arange(FRAME_SIDE)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)  # area sampling
    shrink = np.maximum(overlap, 0) * GRID / size
    cosines = np.cos(np.pi * np.arange(N_FREQUENCIES)[:, None] * (np.arange(GRID) + 0.5) / GRID)
    return (cosines @ shrink).astype(np.float32)


def _inside_bars(brightest: np.ndarray) -> tuple[float, float]:
    """First and last edge of what is not black, from the brightest value of each row or column [64]."""
    lit = np.flatnonzero(brightest > BLACK)
    if not len(lit) or lit[-1] - lit[0] < FRAME_SIDE // 3:
        return 0.0, float(FRAME_SIDE)
    return float(lit[0]), float(lit[-1] + 1)
