"""What do audio prompts do? Music for a folder of videos with and without them, in one table.

    python bench/audio_prompts.py VIDEOS REAL [--settings prompt:2 plain:2 plain:3] [--seeds 3]

VIDEOS are clips such as `tools/make_test_videos.py` makes, REAL a folder of recorded music of other albums than those
of the prompts. A setting is prompt|plain:GUIDANCE, both guidances alike, one candidate. For each: Fréchet distance on
YAMNet (64 axes, as a share of REAL's variance, with its parts: mean + covariance) over all, over the first and over the
last 10 s; the variance between pieces; sync z at the picture's accents; correlation of energy. Needs the extra `eval`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soxr

import openvmas
from openvmas.eval.metrics.distances import N_AXES, principal_axes
from openvmas.eval.suites.media_files import media_files, read_sound
from openvmas.hub.taggers import SAMPLE_RATE, Yamnet, log_mel
from openvmas.settings import SAMPLE_RATE_OUT

LEVEL, SILENT = 0.1, -50.0  # RMS that every piece is brought to; dB of patches that are left out
PATCHES = 20  # in 10 s


def embed(wave: np.ndarray, rate: float, yamnet: Yamnet) -> np.ndarray:
    """Embeddings of patches [P, 1024], NaN where a patch is silent."""
    wave = soxr.resample(wave * LEVEL / (np.sqrt(np.mean(wave**2)) + 1e-9), rate, SAMPLE_RATE)
    found = yamnet.embed_log_mel(log_mel(wave.astype(np.float32))).embeddings.astype(np.float64)
    hop = len(wave) // max(1, len(found))
    levels = [10 * np.log10(np.mean(wave[i * hop : i * hop + 2 * hop] ** 2) + 1e-12) for i in range(len(found))]
    found[np.array(levels) < SILENT] = np.nan
    return found


class Cloud:
    """Real music that others are measured against."""

    def __init__(self, pieces: list[np.ndarray]) -> None:
        patches = np.concatenate(pieces)
        self._axes = principal_axes(patches[np.isfinite(patches[:, 0])], N_AXES)
        self._mean, self._covariance = self._fit(patches)
        self._whole = np.trace(self._covariance)

    def _fit(self, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = self._axes.project(patches[np.isfinite(patches[:, 0])])
        return x.mean(0), np.cov(x.T)

    def frechet(self, patches: np.ndarray) -> str:
        """Distance, and its two parts."""
        mean, covariance = self._fit(patches)
        root = np.sqrt(np.maximum(np.linalg.eigvals(self._covariance @ covariance).real, 0)).sum()
        apart = ((mean - self._mean) ** 2).sum() / self._whole
        spread = (np.trace(covariance) + self._whole - 2 * root) / self._whole
        return f"{apart + spread:.3f} ({apart:.3f} + {spread:.3f})"

    def between(self, pieces: list[np.ndarray]) -> float:
        """Variance of the pieces' means."""
        means = [self._axes.project(sounding(patches)).mean(0) for patches in pieces]
        return float(np.stack(means).var(0).sum() / self._whole)


def sounding(patches: np.ndarray) -> np.ndarray:
    return patches[np.isfinite(patches[:, 0])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("real", type=Path)
    parser.add_argument("--settings", nargs="+", default=["prompt:2", "plain:2", "plain:3"])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    yamnet, scorer = Yamnet(threads=1), openvmas.load("mini")
    real = [embed(*mono(path), yamnet) for path in media_files(given.real)]
    cloud = Cloud(real)
    print(f"{len(real)} real files, variance between them {cloud.between(real):.3f}")
    analyses = [openvmas.analyze(path) for path in media_files(given.videos)]
    columns = ("setting", "pieces", "Fréchet", "first 10 s", "last 10 s", "between", "sync z", "energy r")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for setting in given.settings:
        kind, guidance = setting.split(":")
        options = {"no_prompt": kind == "plain", "guidance": float(guidance), "event_guidance": float(guidance)}
        pieces, fits, energies = [], [], []
        for seed in range(given.seeds):
            for analysis in analyses:
                plan = openvmas.plan(analysis, seed=seed)
                piece = scorer.compose(plan, analysis, seed=seed, candidates=1, **options)
                pieces.append(embed(np.concatenate(list(piece), axis=1).mean(0), SAMPLE_RATE_OUT, yamnet))
                fits.append(piece.report["music"]["fit"])
                energies.append(piece.report["music"]["energy_correlation"])
        parts = (pieces, [p[:PATCHES] for p in pieces], [p[-PATCHES:] for p in pieces])
        distances = [cloud.frechet(np.concatenate(part)) for part in parts]
        error = np.std(fits) / len(fits) ** 0.5
        print(
            f"| {setting} | {len(pieces)} | {' | '.join(distances)} | {cloud.between(pieces):.3f} "
            f"| {np.mean(fits):.2f} ± {error:.2f} | {np.nanmean(energies):.2f} |",
            flush=True,
        )


def mono(path: Path) -> tuple[np.ndarray, float]:
    sound = read_sound(path)
    return sound.wave.mean(axis=0), sound.sample_rate


if __name__ == "__main__":
    main()
