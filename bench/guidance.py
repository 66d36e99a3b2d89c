"""What do guidance and the number of candidates do? Music for a folder of videos under several settings, in one table.

    python bench/guidance.py VIDEOS TAGS REAL [--settings 1:3 2:3 2:5 3:3] [--model mini] [--seconds 10] [--seed 0]

VIDEOS are clips such as `tools/make_test_videos.py` makes, TAGS what `tools/tag_music.py` wrote, REAL a folder of
real music. A setting is CANDIDATES:GUIDANCE, both guidances alike. For each: sync z at the picture's accents with its
standard error; `follows`, the correlation over clips between what the plan asks for and what the tagger of the training
hears, mean over the axes that enough plans name; `spread`, the standard deviation over clips of what is heard (1 in
real music); Fréchet distances to REAL; processor time for a second of music.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soxr
from reference_cloud import frechet_distance

import openvmas
from openvmas.eval.suites.media_files import media_files, read_sound
from openvmas.generate.scorer import Scorer
from openvmas.hub.taggers import SAMPLE_RATE, Embedder, Musicnn, Yamnet, log_mel
from openvmas.music.sync import sync_of_wave
from openvmas.planning.conditioning import build_condition
from openvmas.planning.schema import ScorePlan
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions
from openvmas.vision.analysis import VideoAnalysis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from music_tags import Tagger, measure

LEAST_CLIPS = 7  # whose plans name an axis, for a correlation


def compose(
    scorer: Scorer, plan: ScorePlan, analysis: VideoAnalysis, options: GenerateOptions, seconds: float
) -> np.ndarray:
    """The beginning of a piece in mono: [L] float32 at SAMPLE_RATE_OUT."""
    blocks, there, wanted = [], 0, round(seconds * SAMPLE_RATE_OUT)
    for block in scorer.compose(plan, analysis, **vars(options)):
        blocks.append(block.mean(0))
        there += block.shape[1]
        if there >= wanted:
            break
    return np.concatenate(blocks)[:wanted]


def asked_for(plan: ScorePlan, analysis: VideoAnalysis, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each axis, NaN where nothing is said, and the times of the accents, s."""
    condition = build_condition(plan, analysis)
    said = condition.semantics[:n_steps]
    is_said = np.isfinite(said).any(0)
    means = np.where(is_said, np.nansum(said, 0) / np.maximum(np.isfinite(said).sum(0), 1), np.nan)
    return means, np.flatnonzero(condition.events.accents[:n_steps]) / float(condition.rate)


def follows(asked: np.ndarray, heard: np.ndarray) -> float:
    """Mean correlation over clips of axes [clips, axes], of those that enough clips name."""
    found = []
    for column, other in zip(asked.T, heard.T, strict=True):
        there = np.isfinite(column)
        if there.sum() >= LEAST_CLIPS and column[there].std() > 0:
            found.append(np.corrcoef(column[there], other[there])[0, 1])
    return float(np.mean(found)) if found else float("nan")


def embed_all(ear: Embedder, waves: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([ear.embed(wave, SAMPLE_RATE_OUT).embeddings for wave in waves])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("tags", type=Path)
    parser.add_argument("real", type=Path)
    parser.add_argument("--settings", nargs="+", default=["1:3", "2:3", "2:5", "3:3"], metavar="CANDIDATES:GUIDANCE")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    tagger, ears, scorer = Tagger.load(given.tags), (Yamnet(), Musicnn()), openvmas.load(given.model)
    real = [read_sound(path, mono=True) for path in media_files(given.real)]
    waves = [soxr.resample(x.wave[0], x.sample_rate, SAMPLE_RATE_OUT) for x in real]
    true = [embed_all(ear, waves) for ear in ears]
    analyses = [openvmas.analyze(path) for path in media_files(given.videos)]
    plans = [openvmas.plan(analysis, seed=given.seed) for analysis in analyses]
    asked, accents = zip(
        *(asked_for(p, a, round(50 * given.seconds)) for p, a in zip(plans, analyses, strict=True)), strict=True
    )
    print(f"{len(plans)} videos, {scorer.weights.name} {scorer.weights.version}, seed {given.seed}\n")
    print(
        "| candidates | guidance | sync z | follows | spread | Fréchet, YAMNet | musicnn | CPU s per s |\n|"
        + "---|" * 8
    )
    for setting in given.settings:
        candidates, guidance = setting.split(":")
        options = GenerateOptions(given.seed, int(candidates), float(guidance), float(guidance))
        began = time.process_time()
        made = [compose(scorer, p, a, options, given.seconds) for p, a in zip(plans, analyses, strict=True)]
        spent = (time.process_time() - began) / sum(len(wave) / SAMPLE_RATE_OUT for wave in made)
        z = np.array([sync_of_wave(w, SAMPLE_RATE_OUT, t).z for w, t in zip(made, accents, strict=True)])
        low = [soxr.resample(wave, SAMPLE_RATE_OUT, SAMPLE_RATE).astype(np.float32) for wave in made]
        heard = np.array([tagger.axes(measure(wave, ears[0], log_mel)).mean(0) for wave in low])
        far = [frechet_distance(x, embed_all(ear, made)) for x, ear in zip(true, ears, strict=True)]
        row = (
            candidates, guidance, f"{z.mean():.2f} ± {z.std() / len(z) ** 0.5:.2f}",
            f"{follows(np.array(asked), heard):.2f}", f"{heard.std(0).mean():.2f}", f"{far[0]:.1f}", f"{far[1]:.1f}",
            f"{spent:.2f}",
        )  # fmt: skip
        print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
