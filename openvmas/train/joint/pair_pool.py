"""Pairs looked at once and kept: drawing a music video takes 50 ms, drawing it again from a pool takes none.

    python -m openvmas.train.joint.pair_pool PACKED BANK.npz OUT --pairs 2000 --steps-per-crop 320 --fps 10

OUT/train.npz is made of the music and of four fifths of the pictures, OUT/test.npz of held-out music and pictures, each
clip of a piece of its own in rounds of 64. A pool can be watched as if fewer pictures a second had been taken.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from openvmas.data.montage.bank import Bank
from openvmas.errors import InputError
from openvmas.train.decoder.examples import Examples, read_packed
from openvmas.train.joint.pairs import RATE, Clip, MontagePairs, Seen, frame_count, split_bank

TEST_ROUND = 64  # test pairs among which a picture must find its own music


@dataclass(frozen=True)
class PairPool:
    """N pairs. index [N] of examples, start [N] in steps, curves [N, S, 4] and features [N, F, W] float16 at fps."""

    index: np.ndarray
    start: np.ndarray
    curves: np.ndarray
    features: np.ndarray
    fps: float

    def __len__(self) -> int:
        return len(self.index)

    def seen(self, row: int, fps: float) -> Seen:
        """One pair with features at a lower or equal fps, the nearest frames."""
        n_frames = frame_count(self.curves.shape[1], fps)
        frames = np.minimum(np.round(np.arange(n_frames) * self.fps / fps).astype(int), self.features.shape[1] - 1)
        curves, features = self.curves[row].astype(np.float32), self.features[row, frames].astype(np.float32)
        return Seen(int(self.index[row]), int(self.start[row]), curves, features)

    def save(self, path: Path) -> None:
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> PairPool:
        """What `save` wrote. Raises InputError if it is not there."""
        if not path.is_file():
            raise InputError(f"{path} is not there; make it with python -m openvmas.train.joint.pair_pool.")
        with np.load(path) as data:
            arrays = {name: data[name] for name in data.files}
        return cls(**{**arrays, "fps": float(arrays["fps"])})

    @classmethod
    def build(cls, source: MontagePairs, n: int, n_steps: int, seed: int, distinct: int = 0) -> PairPool:
        """Look at n pairs. distinct: in every round of so many rows each is of another piece.

        Raises InputError where there are not enough pieces for that.
        """
        generator = np.random.default_rng(seed)
        rows: list[Seen] = []
        taken: set[int] = set()
        for _ in range(60 * n):
            if len(rows) == n:
                break
            if distinct and len(rows) % distinct == 0 and len(taken) == distinct:
                taken.clear()
            seen = source.look(generator, n_steps)
            if distinct and seen.index % source.n_pieces in taken:
                continue
            taken.add(seen.index % source.n_pieces)
            rows.append(seen)
        if len(rows) < n:
            raise InputError(f"only {len(rows)} of {n} pairs could be drawn; give more music or ask for fewer pairs.")
        return cls(
            np.array([row.index for row in rows]), np.array([row.start for row in rows]),
            np.array([row.curves for row in rows], np.float16), np.array([row.features for row in rows], np.float16),
            source.fps,
        )  # fmt: skip


def coarsen(curves: np.ndarray, fps: float) -> np.ndarray:
    """Curves [S, 4] as they would be known from fps pictures a second: [S, 4].

    What happens between two pictures is only known to lie between them: each frame's span has its strongest accent in
    its middle and its mean energy, novelty and motion.
    """
    frame = (np.arange(len(curves)) * fps / RATE + 1e-9).astype(int)
    coarse = np.zeros_like(curves)
    for k in range(int(frame[-1]) + 1):
        inside = np.flatnonzero(frame == k)
        if len(inside):
            coarse[inside[len(inside) // 2], 0] = curves[inside, 0].max()
            coarse[inside, 1:] = curves[inside, 1:].mean(0)
    return coarse


class PooledPairs(MontagePairs):
    """`MontagePairs` from a pool. fps: of features; events_fps: of everything else that is seen (0: as analysed)."""

    def __init__(
        self, examples: Examples, pool: PairPool, fps: float, events_fps: float = 0.0, picture_events: float = 0.5,
        n_pieces: int | None = None,
    ) -> None:  # fmt: skip
        self.examples, self.pool, self.fps, self.events_fps = examples, pool, fps, events_fps
        self.picture_events, self.n_pieces = picture_events, n_pieces or len(examples.examples)

    def row(self, row: int) -> Seen:
        """One pair of the pool, as this source sees it."""
        seen = self.pool.seen(row, self.fps)
        return replace(seen, curves=coarsen(seen.curves, self.events_fps)) if self.events_fps else seen

    def draw(self, generator: np.random.Generator, n_steps: int, n_codes: int) -> Clip:
        return self.clip(self.row(int(generator.integers(len(self.pool)))), generator, n_codes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, what in (
        ("packed", "of python -m openvmas.train.decoder.examples pack"),
        ("bank", "of pictures"),
        ("out", ""),
    ):
        parser.add_argument(name, type=Path, help=what)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--test-pairs", type=int, default=3 * TEST_ROUND)
    parser.add_argument("--steps-per-crop", type=int, default=320)
    parser.add_argument("--test-steps", type=int, default=768)
    parser.add_argument("--fps", type=float, default=10.0)
    arguments = parser.parse_args()
    found, banks = read_packed(arguments.packed), split_bank(Bank.load(arguments.bank))
    arguments.out.mkdir(parents=True, exist_ok=True)
    sets = (
        ("train", found.music, banks[0], arguments.pairs, arguments.steps_per_crop, 0, found.n_pieces),
        ("test", found.held_out, banks[1], arguments.test_pairs, arguments.test_steps, TEST_ROUND, None),
    )
    for name, examples, bank, n, n_steps, distinct, n_pieces in sets:
        source = MontagePairs(examples, bank, n_steps, arguments.fps, 99, n_pieces=n_pieces)
        pool = PairPool.build(source, n, n_steps, 99, distinct)
        pool.save(arguments.out / f"{name}.npz")
        print(f"{name}: {len(pool)} pairs of {n_steps / RATE:.1f} s")


if __name__ == "__main__":
    main()
