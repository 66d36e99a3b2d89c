"""Train only the comparison of picture and music: on the states of a finished decoder, with many pairs in every batch.

    openvmas train align PACKED POOLS DECODER.pt OUT --steps 300 --batch 48

The decoder stays as it is and its states of every pair of a pool are computed once, so that a batch may hold many
pairs: a joint step can afford eight, and eight negatives teach an embedding of meaning nothing (docs/LOG.md). OUT gets
`decoder.pt`, `video_encoder.pt` and `alignment.pt`, for `openvmas train export - - FOLDER --joint OUT`. The `steps`
of the video encoder are not trained: the result is for comparing, not for composing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from openvmas.model.alignment import contrastive_loss, onset_loss, ranks_of, timed_loss, unconditioned_hidden
from openvmas.model.decoder import load_decoder
from openvmas.settings import option
from openvmas.train.decoder.examples import Examples, read_packed
from openvmas.train.joint.joint_model import PRESETS, JointModel, JointRecipe
from openvmas.train.joint.joint_trainer import save_parts
from openvmas.train.joint.pairs import TEST_ROUND, PairPool, PooledPairs, collate

CHUNK = 32  # pairs that go through the decoder at once


@dataclass(frozen=True)
class AlignOptions:
    """Settings of training an alignment alone."""

    preset: str = option("small", "Sizes of the decoder.", choices=PRESETS)
    fps: float = option(2.0, "Frames per second that the video encoder is given.", min=0.1, max=60)
    steps: int = option(300, "Optimiser steps.", min=1)
    batch: int = option(48, "Pairs in a batch.", min=2)
    learning_rate: float = option(2e-3, "Peak learning rate.", min=0, max=1)
    seed: int = option(0, "Seed of weights and batches.", min=0)
    threads: int = option(1, "CPU threads.", min=1, max=1024)


def begin(decoder: Path, preset: str, fps: float, feature_width: int) -> JointModel:
    """A new video encoder and new embeddings of a preset around a decoder of that preset."""
    made = JointModel(JointRecipe(preset=preset, fps=fps), load_decoder(str(decoder)), feature_width)
    made.decoder.requires_grad_(False)
    return made


class States:
    """Unconditional states [N, S, D] of every pair of a pool, the picture's curves and features, onsets, pieces."""

    def __init__(self, made: JointModel, examples: Examples, pool: PairPool, n_pieces: int | None = None) -> None:
        assert made.video is not None
        source = PooledPairs(examples, pool, made.video.config.fps, n_pieces=n_pieces)
        n_steps, config = pool.curves.shape[1], made.decoder.config
        parts: list[tuple[Tensor, ...]] = []
        for start in range(0, len(pool), CHUNK):
            rows = range(start, min(start + CHUNK, len(pool)))
            clips = [
                source.clip(source.row(r), np.random.default_rng(r), n_steps - config.n_codebooks + 1) for r in rows
            ]
            batch = collate(clips, config, source.fps, pool.features.shape[2])
            with torch.no_grad():
                hidden = unconditioned_hidden(made.decoder, batch.tokens)
            parts.append((hidden.half(), batch.picture, batch.features.half(), batch.onsets, batch.pieces))
        self.hidden, self.picture, self.features, self.onsets, self.pieces = (
            torch.cat(x) for x in zip(*parts, strict=True)
        )

    def __len__(self) -> int:
        return len(self.hidden)


def losses(made: JointModel, states: States, rows: Tensor) -> Tensor:
    """InfoNCE of meaning and of time, and of the onsets that time is read from."""
    assert made.video is not None
    hidden, labels = states.hidden[rows].float(), states.pieces[rows]
    seen = made.video(states.features[rows].float(), states.picture[rows])
    timed = made.video_timed(seen.motion), made.music_timed(hidden)
    is_onset = (states.onsets[rows] > 0).float()
    return (
        contrastive_loss(seen.embedding, made.music(hidden), made.temperature(), labels)
        + timed_loss(*timed, made.timed_temperature(), made.video_timed.read.out_channels)
        + onset_loss(made.music_timed.read(hidden), is_onset, torch.ones_like(is_onset))
    )


@torch.no_grad()
def measure(made: JointModel, states: States) -> dict[str, float]:
    """Rates, as multiples of chance, at which a picture finds its music among TEST_ROUND: by meaning, in time, both."""
    assert made.video is not None
    made.eval()
    ranks: dict[str, list[Tensor]] = {"meaning": [], "in time": [], "both": []}
    for start in range(0, len(states) - TEST_ROUND + 1, TEST_ROUND):
        rows = slice(start, start + TEST_ROUND)
        hidden = states.hidden[rows].float()
        seen = made.video(states.features[rows].float(), states.picture[rows])
        meaning = seen.embedding @ made.music(hidden).T
        in_time = made.video_timed(seen.motion) @ made.music_timed(hidden).T
        both = made.temperature() * meaning + made.timed_temperature() * in_time
        for name, matrix in zip(ranks, (meaning, in_time, both), strict=True):
            ranks[name].append(ranks_of(matrix))
    made.train()
    made.decoder.eval()
    return {name: round(TEST_ROUND * (torch.cat(x) < 0.5).float().mean().item(), 1) for name, x in ranks.items()}


def align(made: JointModel, training: States, testing: States, steps: int, batch: int, rate: float) -> None:
    """Train all but the decoder, and print the measures ten times."""
    parts = (made.video, made.music, made.video_timed, made.music_timed, made.temperature, made.timed_temperature)
    weights = [weight for part in parts if part is not None for weight in part.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    made.train()
    for step in range(steps + 1):
        if step % max(steps // 10, 1) == 0:
            print(step, measure(made, testing), flush=True)
        if step == steps:
            return
        loss = losses(made, training, torch.randperm(len(training))[:batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()


def align_folder(packed: Path, pools: Path, decoder: Path, folder: Path, options: AlignOptions) -> None:
    """Train on a folder of `openvmas train examples pack` with pools of pairs, and write the parts into a folder."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    found, pool = read_packed(packed), PairPool.load(pools / "train.npz")
    made = begin(decoder, options.preset, options.fps, pool.features.shape[2])
    training = States(made, found.music, pool, found.n_pieces)
    testing = States(made, found.held_out, PairPool.load(pools / "test.npz"))
    align(made, training, testing, options.steps, options.batch, options.learning_rate)
    folder.mkdir(parents=True, exist_ok=True)
    save_parts(made, made, folder, is_first=True)
