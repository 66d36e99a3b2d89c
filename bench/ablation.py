"""What is each part of the joint model for? Small models with a part left out, several seeds, one table.

    python bench/ablation.py PACKED POOLS RUNS [--seeds 3] [--clips 24] [--play MANIFEST.csv] [--markdown OUT.md]

PACKED is of `openvmas train examples pack`, POOLS of `openvmas train pairs`.
Every run is
trained in two stages (music alone, told of events or never told; then music and pairs), measured on the pool's held-out
music and pictures, and kept in RUNS: what is there is not done again, so `--share 0/2` and `--share 1/2` may work side
by side, and the last call prints the table. Music is written for the test clips from the picture alone (no beat grid,
no mood, no axes of the true music) and sounds through the codec of --codec; sync z is music.sync.sync_z at the
picture's accents. --play: the same on spans of films with music of their own (tools/record_play.py).
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ablation_play
import numpy as np
import torch

from openvmas.codec.runtime import CodecRunner
from openvmas.eval.metrics.statistics import bootstrap_interval
from openvmas.eval.reports.report_values import version_text
from openvmas.hub.taggers import Yamnet
from openvmas.model.alignment import ranks_of, unconditioned
from openvmas.music.onsets import onset_strength
from openvmas.music.sync import energy_correlation, sync_z
from openvmas.pretrained import find_weights
from openvmas.train.decoder import decoder_trainer
from openvmas.train.decoder.examples import Examples, read_packed
from openvmas.train.joint import joint_trainer
from openvmas.train.joint.joint_trainer import JointModel, JointRecipe
from openvmas.train.joint.material import PackedMaterial
from openvmas.train.joint.pairs import RATE, TEST_ROUND, PairPool, TrainingClip, coarsen, collate
from openvmas.train.logs import sample_codes
from openvmas.train.loop import RunOptions

N_STEPS = 320  # of a crop
FULL = JointRecipe(
    preset="small", fps=4, batch=12, share_music=1, share_montage=2, steps_per_crop=N_STEPS, steps=200,
    learning_rate=2e-3, warmup=20, contrastive_weight=0.2, timed_weight=0.3, hardness=0.0, queue=256, save_every=200,
    test_pairs=32, precision="bf16",
)  # fmt: skip
NO_CONTRAST: dict[str, Any] = {"contrastive_weight": 0.0, "timed_weight": 0.0}
NO_BEAT: dict[str, Any] = {"beat_weighting": 0.0, "onset_weight": 0.0, "drop_events": 1.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "no contrastive": NO_CONTRAST,
    "no beat strategy": NO_BEAT,
    "neither": NO_CONTRAST | NO_BEAT,
    "mean-pooled video": {"video": "mean"},
    "joint space-time video": {"video": "joint"},
    "per-frame linear video": {"video": "linear"},
    "1 fps": {"fps": 1.0, "events_fps": 1.0},
    "beats by conditioning only": {"beat_weighting": 0.0, "onset_weight": 0.0},
    "beats by losses only": {"drop_events": 1.0},
}
BASE_STEPS = 900
GUIDANCE = 5.0  # of 3 and 5, the better for the full model on test clips that are not measured
RATES = (1.0, 2.0, 4.0, 10.0, 20.0)  # fps that a trained model is shown pictures at


@dataclass(frozen=True)
class Given:
    """What every run is trained and measured on."""

    packed: tuple[Examples, Examples]
    pools: tuple[PairPool, PairPool]
    runs: Path
    codec: CodecRunner
    n_clips: int
    play: Path | None


def train_base(given: Given, is_told: bool) -> Path:
    """A decoder of music alone, told of events or never told: the first stage, the same for all seeds."""
    folder = given.runs / f"base-{'told' if is_told else 'plain'}"
    recipe = decoder_trainer.DecoderRecipe(
        preset=FULL.preset, steps=BASE_STEPS, steps_per_crop=N_STEPS, drop_events=0.12 if is_told else 1.0,
        save_every=300,
    )  # fmt: skip
    if not is_done(folder, BASE_STEPS):
        decoder_trainer.train(*given.packed, folder, recipe, RunOptions(time_limit=1e9))
    return folder / "decoder.pt"


def is_done(folder: Path, steps: int) -> bool:
    """Whether a run has come to its last step."""
    log = folder / "log.jsonl"
    return log.exists() and json.loads(log.read_text().splitlines()[-1])["step"] >= steps


def train_variant(given: Given, name: str, seed: int) -> tuple[Path, JointRecipe]:
    """The second stage of one variant; returns its folder and recipe."""
    recipe = replace(FULL, **VARIANTS[name], seed=seed)
    folder = given.runs / f"{name.replace(' ', '-')}-{seed}"
    base = train_base(given, recipe.drop_events < 1)
    if not is_done(folder, recipe.steps):
        options = joint_trainer.JointOptions(time_limit=1e9, start_from=str(base))
        joint_trainer.train(PackedMaterial(*given.packed, given.pools), folder, recipe, options)
    return folder, recipe


def load_run(folder: Path, recipe: JointRecipe, feature_width: int) -> JointModel:
    """The averaged weights of a run."""
    made = JointModel(recipe, feature_width=feature_width)
    made.load_state_dict(torch.load(folder / "last.pt", map_location="cpu", weights_only=True)["averaged"])
    return made.eval()


def everything(recipe: JointRecipe, n: int) -> torch.Tensor:
    """[3, n] of 0 or 1 for n clips: every part of the condition that this model was trained with."""
    return torch.tensor([[float(recipe.drop_events < 1)], [1.0], [1.0]]).expand(3, n)


@torch.no_grad()
def embed(
    made: JointModel, clips: Sequence[TrainingClip], recipe: JointRecipe, n_round: int = TEST_ROUND
) -> dict[str, list[torch.Tensor]]:
    """Similarities [R, R] of pictures (rows) and music in every round: by meaning, in time, and both logits added."""
    found: dict[str, list[torch.Tensor]] = {"meaning": [], "in time": [], "both": []}
    scales = made.temperature().item(), made.timed_temperature().item()
    for first in range(0, len(clips), n_round):
        parts: list[list[torch.Tensor]] = [[], [], [], []]
        for start in range(first, first + n_round, 16):
            some = clips[start : min(start + 16, first + n_round)]
            batch = collate(some, made.decoder.config, recipe.fps, clips[0].features.shape[1])
            _, seen = made.cond(batch, everything(recipe, len(batch.tokens)))
            uncond = unconditioned(made.decoder, len(batch.tokens), batch.tokens.shape[-1])
            hidden = made.decoder.hidden(batch.tokens, uncond)
            rows = seen.embedding, made.music(hidden), made.video_timed(seen.motion), made.music_timed(hidden)
            for part, row in zip(parts, rows, strict=True):
                part.append(row)
        video, music, video_timed, music_timed = (torch.cat(part) for part in parts)
        meaning, in_time = video @ music.T, video_timed @ music_timed.T
        for name, matrix in zip(found, (meaning, in_time, scales[0] * meaning + scales[1] * in_time), strict=True):
            found[name].append(matrix)
    return found


@torch.no_grad()
def write(
    made: JointModel, clips: Sequence[TrainingClip], recipe: JointRecipe, codec: CodecRunner, seed: int
) -> list[np.ndarray]:
    """A wave [L] for every clip, from what it shows."""
    batch = collate(clips, made.decoder.config, recipe.fps, clips[0].features.shape[1])
    cond, _ = made.cond(batch, everything(recipe, len(batch.tokens)))
    uncond = unconditioned(made.decoder, *cond.shape[:2])
    sampled = sample_codes(made.decoder, cond, uncond, GUIDANCE, top_k=100, seed=seed)
    return [codec.decode(codes) for codes in sampled]


def sync_of(waves: Sequence[np.ndarray], clips: Sequence[TrainingClip], codec: CodecRunner) -> list[float]:
    """Sync z of each wave at the accents of its clip's picture."""
    found = []
    for wave, clip in zip(waves, clips, strict=True):
        beats = np.flatnonzero(clip.curves[:, 0] > 0) / RATE
        duration = len(wave) / codec.sample_rate
        found.append(sync_z(onset_strength(wave, codec.sample_rate), beats, duration).z)
    return found


def shown_at(clips: Sequence[TrainingClip], fps: float) -> list[TrainingClip]:
    """The clips as they are known from fps pictures a second."""
    shown = []
    for clip in clips:
        curves = coarsen(clip.curves, fps)
        shown.append(replace(clip, curves=curves, condition=joint_trainer.picture_condition(clip.condition, curves)))
    return shown


def nearness(waves: Sequence[np.ndarray], true: Sequence[np.ndarray], rate: int, embedder: Yamnet) -> list[float]:
    """For every written wave, the share of other clips' true music that is less like it than its own (chance 0.5)."""
    ours, theirs = (
        np.stack([embedder.embed(wave, rate).embeddings.mean(0) for wave in group]) for group in (waves, true)
    )
    centre = theirs.mean(0)
    ours, theirs = (x - centre for x in (ours, theirs))
    ours, theirs = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (ours, theirs))
    similarity = ours @ theirs.T
    others = ~np.eye(len(similarity), dtype=bool)
    own = np.diagonal(similarity)[:, None]
    return [float((own[i] > similarity[i])[others[i]].mean()) for i in range(len(similarity))]


def measure(given: Given, name: str, seed: int, embedder: Yamnet) -> dict[str, Any]:
    """Train if need be and measure one run; kept in its folder."""
    folder, recipe = train_variant(given, name, seed)
    path = folder / "measures.json"
    made = load_run(folder, recipe, given.pools[1].features.shape[2])
    played = measure_play(given, made, folder, recipe)
    if path.exists():
        return json.loads(path.read_text()) | played
    n_codebooks, codec = made.decoder.config.n_codebooks, given.codec
    clips = joint_trainer.test_clips(given.packed[1], given.pools[1], recipe, n_codebooks)
    ranks = {
        key: torch.cat([ranks_of(x) for x in matrices]).tolist() for key, matrices in embed(made, clips, recipe).items()
    }
    seen = clips[: given.n_clips]
    # Measured at what the picture does, however coarsely this model was shown it.
    exact = joint_trainer.test_clips(given.packed[1], given.pools[1], replace(recipe, events_fps=0.0), n_codebooks)
    exact = exact[: given.n_clips]
    waves = write(made, seen, recipe, codec, seed)
    true = [codec.decode(clip.codes) for clip in seen]
    energy = [energy_correlation(clip.curves[:, 1], loudness(wave)) for clip, wave in zip(exact, waves, strict=True)]
    result: dict[str, Any] = {
        "ranks": ranks, "z": sync_of(waves, exact, codec), "energy": energy,
        "nearness": nearness(waves, true, codec.sample_rate, embedder), "z_true": sync_of(true, exact, codec),
    }  # fmt: skip
    if name == "full":
        others = seen[1:] + seen[:1]
        result["z_shuffled"] = sync_of(write(made, others, recipe, codec, seed), exact, codec)
        rates = {fps: write(made, shown_at(exact, fps), recipe, codec, seed) for fps in RATES}
        result["z_at"] = {str(fps): sync_of(waves, exact, codec) for fps, waves in rates.items()}
    path.write_text(json.dumps(result))
    return result | played


def measure_play(given: Given, made: JointModel, folder: Path, recipe: JointRecipe) -> dict[str, Any]:
    """The same on films with their own music: ranks among all spans, and sync z of those with beats."""
    path = folder / "play.json"
    if given.play is None or path.exists():
        return json.loads(path.read_text()) if given.play else {}
    exact = ablation_play.play_clips(given.play, given.codec, made.decoder.config.n_codebooks, recipe.fps)
    clips = shown_at(exact, recipe.events_fps) if recipe.events_fps else exact
    ranks = {key: ranks_of(x).tolist() for key, (x,) in embed(made, clips, recipe, len(clips)).items()}
    rows = ablation_play.with_beats(exact)
    watched = [exact[i] for i in rows]
    waves = write(made, [clips[i] for i in rows], recipe, given.codec, recipe.seed)
    true = [given.codec.decode(clip.codes) for clip in watched]
    result = {
        "play_ranks": ranks, "play_z": sync_of(waves, watched, given.codec),
        "play_z_true": sync_of(true, watched, given.codec),
    }  # fmt: skip
    path.write_text(json.dumps(result))
    return result


def loudness(wave: np.ndarray, hop: int = 640) -> np.ndarray:
    """Level in each codec step, as energy curves are compared: [T]."""
    pieces = wave[: len(wave) // hop * hop].reshape(-1, hop)
    level = np.log10(np.sqrt(np.mean(pieces**2, axis=1)) + 1e-4)
    return np.convolve(level, np.ones(25) / 25, mode="same")


def say(values: Sequence[float], digits: int = 2) -> str:
    """Mean with a 95 % bootstrap interval."""
    found = bootstrap_interval(np.array(values, float))
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def over_seeds(runs: Sequence[dict[str, Any]], key: str) -> list[float]:
    """One value per clip, the mean over seeds: clips are what is drawn again."""
    return np.mean([run[key] for run in runs], axis=0).tolist()


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """All variants as Markdown."""
    lines = [
        "Means over seeds and clips, 95 % bootstrap intervals over clips. Retrieval: a picture finds its own music",
        f"among {TEST_ROUND}, as a multiple of chance. Nearer: share of other clips' true music that is less like what",
        "was written than the clip's own (chance 0.5; YAMNet, which no training used).",
        "",
        "| model | seeds | retrieval | by meaning | in time | sync z | energy r | nearer to its true music |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        hits = {
            kind: say((TEST_ROUND * np.mean([np.array(run["ranks"][kind]) == 0 for run in runs], axis=0)).tolist(), 1)
            for kind in ("both", "meaning", "in time")
        }
        rest = (say(over_seeds(runs, key)) for key in ("z", "energy", "nearness"))
        lines.append(f"| {name} | {len(runs)} | " + " | ".join([*hits.values(), *rest]) + " |")
    full = found["full"]
    lines.append(f"| full, another clip's picture | | | | | {say(over_seeds(full, 'z_shuffled'))} | | |")
    lines.append(f"| the true music, through the codec | | | | | {say(over_seeds(full, 'z_true'))} | | |")
    lines += ["", "Sync z by pictures a second that the full model is shown:", "", "| fps | sync z |", "|---|---|"]
    for fps in full[0]["z_at"]:
        values = np.mean([run["z_at"][fps] for run in full], axis=0).tolist()
        lines.append(f"| {float(fps):g} | {say(values)} |")
    each = ", ".join(
        f"{name}: {', '.join(f'{np.mean(run[chr(122)]):.1f}' for run in runs)}" for name, runs in found.items()
    )
    lines += ["", f"Sync z of every seed: {each}."]
    return "\n".join(lines + play_lines(found)) + "\n"


def play_lines(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The second table: films with music of their own."""
    if "play_z" not in found["full"][0]:
        return []
    n, n_beats = len(found["full"][0]["play_ranks"]["both"]), len(found["full"][0]["play_z"])
    lines = [
        "",
        f"Play ([data card](../data/play.md)): {n} spans of {ablation_play.SPAN / RATE:.0f} s of cut-scenes and",
        "openings with sound of their own, unlike all that was trained on; a picture finds its own sound among",
        f"{n}. Sync z on {n_beats} spans with at least {ablation_play.LEAST_BEATS} accents.",
        "",
        "| model | seeds | retrieval | in time | sync z |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, runs in found.items():
        hits = [
            say((n * np.mean([np.array(run["play_ranks"][kind]) == 0 for run in runs], axis=0)).tolist(), 1)
            for kind in ("both", "in time")
        ]
        lines.append(f"| {name} | {len(runs)} | " + " | ".join([*hits, say(over_seeds(runs, "play_z"))]) + " |")
    return [
        *lines,
        f"| the films' own sound, through the codec | | | | {say(over_seeds(found['full'], 'play_z_true'))} |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("packed", "pools", "runs"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=24, help="that music is written for")
    parser.add_argument("--codec", default="mini")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), help="variants; NAME=1 for one seed only")
    parser.add_argument("--share", default="0/1", help="0/2: the first half of the runs, no table")
    parser.add_argument("--play", type=Path, help="manifest.csv of the corpus play")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    part, n_parts = map(int, arguments.share.split("/"))
    pools = PairPool.load(arguments.pools / "train.npz"), PairPool.load(arguments.pools / "test.npz")
    codec = CodecRunner(find_weights(arguments.codec), threads=1)
    given = Given(read_packed(arguments.packed), pools, arguments.runs, codec, arguments.clips, arguments.play)
    embedder = Yamnet()
    wanted = {name: int(n or arguments.seeds) for name, _, n in (item.partition("=") for item in arguments.only)}
    jobs = [(name, seed) for seed in range(max(wanted.values())) for name, n in wanted.items() if seed < n]
    made = {job: measure(given, *job, embedder) for i, job in enumerate(jobs) if i % n_parts == part}
    if n_parts > 1:
        return
    found = {name: [made[name, seed] for seed in range(n)] for name, n in wanted.items()}
    text = table(found)
    print(text, end="")
    if arguments.markdown:
        options = shlex.join(sys.argv[1:])
        head = "# Ablations\n\nSmall models with a part left out. "
        head += f"Made by `python bench/ablation.py {options}` with OpenVMAS {version_text()}."
        arguments.markdown.write_text(f"{head}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
