"""What does the video encoder add to a decoder that already follows events and axes? Music with it and without, paired.

    python bench/picture_encoder.py MODEL VIDEOS REAL WORK [--variants off on shuffled mean] [--seeds 1] [--every 2]

MODEL is a folder of `openvmas train export mini - MODEL --joint RUN`. VIDEOS are clips that nothing was trained on, of
which every --every-th is taken (and of those the first --clips, if given); REAL is a folder of recorded music. The
same plans, seeds and audio prompts are composed with the picture that belongs to them (on), with none (off), with that
of the next clip (shuffled) and with one that is the same at every moment: the mean of features and curves (mean). What
is composed stays in WORK, so that a stopped bench goes on. For each variant: sync z at the picture's visual beats,
correlation of the energy that the plan asks for with that heard, Fréchet distance on YAMNet (as in
bench/audio_prompts.py), and the share of the other music that is less alike than a picture's own
(`openvmas.similarity`, which no variant was chosen by); for z, energy and retrieval the mean difference from `off`
over clips with its interval of 95 %. Needs the extra `eval`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from audio_prompts import Cloud, embed, mono

import openvmas
from openvmas.codec.runtime import CodecRunner
from openvmas.condition import Picture
from openvmas.eval.metrics.statistics import bootstrap_interval
from openvmas.eval.suites.media_files import media_files
from openvmas.files import write_npz
from openvmas.generate.scorer import Scorer
from openvmas.generate.similarity import Aligner, Vectors
from openvmas.hub.taggers import Yamnet
from openvmas.music.sync import sync_of_wave
from openvmas.planning.conditioning import build_condition, picture_of
from openvmas.pretrained import find_alignment, find_weights
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions
from openvmas.vision.analysis import VideoAnalysis

VARIANTS = ("off", "on", "shuffled", "mean")
MEASURES = ("sync z", "energy r", "own")


@dataclass(frozen=True)
class Made:
    """A piece of one clip and seed. wave: [L] mono; codes: [K, T]; energy: correlation with what was asked for."""

    wave: np.ndarray
    codes: np.ndarray
    energy: float


def analysis_of(video: Path, path: Path) -> VideoAnalysis:
    """The analysis of a video, or what an earlier call left at `path`."""
    if not path.exists():
        openvmas.analyze(video).save(path)
    return VideoAnalysis.load(path)


def picture_for(variant: str, own: VideoAnalysis, other: VideoAnalysis, n_steps: int) -> Picture | None:
    """The picture that the video encoder is given under a variant."""
    if variant == "off":
        return None
    picture = picture_of(other if variant == "shuffled" else own, n_steps)
    if variant == "mean":
        same = [np.broadcast_to(x.mean(0), x.shape).astype(np.float32) for x in (picture.features, picture.curves)]
        picture = replace(picture, features=same[0], curves=same[1])
    return picture


def compose(scorer: Scorer, variant: str, own: VideoAnalysis, other: VideoAnalysis, seed: int, path: Path) -> Made:
    """One piece, or what an earlier call left at `path`."""
    if not path.exists():
        plan, options = openvmas.plan(own, seed=seed), GenerateOptions(seed)
        condition = build_condition(plan, own)
        condition = replace(condition, picture=picture_for(variant, own, other, condition.n_steps))
        piece = scorer.composer.compose(condition, plan, options)
        wave = np.concatenate(list(piece), axis=1).mean(0)
        assert piece.codes is not None
        energy = np.array(piece.report["music"]["energy_correlation"] or 0.0)
        write_npz(path, {"wave": wave.astype(np.float16), "codes": piece.codes, "energy": energy})
    with np.load(path) as data:
        return Made(data["wave"].astype(np.float32), data["codes"], float(data["energy"]))


def own_share(aligner: Aligner, pictures: list[Vectors], pieces: list[Made]) -> list[float]:
    """For each picture: the share of the other pieces that are less alike than its own, ties half."""
    music = [aligner.embed_music(piece.codes) for piece in pieces]
    alike = np.array([[aligner.compare_vectors(a, b).combined for b in music] for a in pictures])
    own = np.diag(alike)[:, None]
    return ((alike < own).sum(1) + ((alike == own).sum(1) - 1) / 2) / max(len(pieces) - 1, 1)


def difference(values: np.ndarray, base: np.ndarray) -> str:
    """Mean difference over clips with its interval; values, base: [seeds, clips], NaN where a clip has none."""
    both = np.nanmean(values - base, axis=0) if len(values) > 1 else (values - base)[0]
    found = bootstrap_interval(both[np.isfinite(both)])
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "videos", "real", "work"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--clips", type=int, help="the first of them alone")
    given = parser.parse_args()
    scorer, yamnet = openvmas.load(str(given.model)), Yamnet(threads=1)
    given.work.mkdir(parents=True, exist_ok=True)
    videos = media_files(given.videos)[:: given.every][: given.clips]
    found = {path.stem: analysis_of(path, given.work / f"{path.stem}.analysis.npz") for path in videos}
    names = list(found)
    aligner = Aligner(find_alignment("mini"), CodecRunner(find_weights("mini")))
    pictures = [aligner.embed_picture(a, len(a.motion)) for a in found.values()]
    cloud = Cloud([embed(*mono(path), yamnet) for path in media_files(given.real)])
    print(f"{len(names)} clips, {given.seeds} seeds\n\n| picture | {' | '.join(MEASURES)} | Fréchet (mean + spread) |")
    print("|---" * 5 + "|")
    measured: dict[str, np.ndarray] = {}
    for variant in given.variants:
        rows, patches = [], []
        for seed in range(given.seeds):
            made = [
                compose(scorer, variant, found[a], found[b], seed, given.work / f"{a}.{variant}.{seed}.npz")
                for a, b in zip(names, [*names[1:], names[0]], strict=True)
            ]
            z = [
                sync_of_wave(m.wave, SAMPLE_RATE_OUT, found[n].visual_beats).z for m, n in zip(made, names, strict=True)
            ]
            z = [x if len(found[n].visual_beats) else np.nan for x, n in zip(z, names, strict=True)]
            rows.append([z, [m.energy for m in made], own_share(aligner, pictures, made)])
            patches += [embed(m.wave, SAMPLE_RATE_OUT, yamnet) for m in made]
        measured[variant] = np.array(rows, float)  # [seeds, measures, clips]
        means = " | ".join(f"{x:.3f}" for x in np.nanmean(measured[variant], axis=(0, 2)))
        print(f"| {variant} | {means} | {cloud.frechet(np.concatenate(patches))} |", flush=True)
    print("\n| less `off` | " + " | ".join(MEASURES) + " |\n" + "|---" * 4 + "|")
    for variant in (name for name in given.variants if name != "off" and "off" in measured):
        pairs = [difference(measured[variant][:, i], measured["off"][:, i]) for i in range(len(MEASURES))]
        print(f"| {variant} | {' | '.join(pairs)} |")


if __name__ == "__main__":
    main()
