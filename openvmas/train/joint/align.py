"""Train only the comparison of picture and music: on the states of a finished decoder, with many pairs in every batch.

    openvmas train align PACKED POOLS DECODER.pt OUT --steps 300 --batch 48

The decoder stays as it is and its states of every pair of a pool are computed once, so that a batch may hold many
pairs: a joint step can afford eight, and eight negatives teach an embedding of meaning nothing (docs/LOG.md). OUT gets
`decoder.pt`, `video_encoder.pt` and `alignment.pt`, for `openvmas train export - - FOLDER --joint OUT`. The `steps`
of the video encoder are not trained: the result is for comparing, not for composing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from openvmas.model.alignment import contrastive_loss, onset_loss, ranks_of, timed_loss, unconditioned_hidden
from openvmas.model.decoder import load_decoder
from openvmas.settings import option
from openvmas.train.decoder.examples import Examples, read_packed
from openvmas.train.joint.joint_model import JointModel, JointRecipe
from openvmas.train.joint.joint_trainer import save_parts
from openvmas.train.joint.pairs import TEST_ROUND, PairPool, PooledPairs, collate
from openvmas.train.loop import PRESETS, Run

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


class States:
    """Unconditional states [N, S, D] of every pair of a pool, the picture's curves and features, onsets, pieces."""

    def __init__(self, model: JointModel, examples: Examples, pool: PairPool) -> None:
        assert model.video is not None
        source = PooledPairs(examples, pool, model.video.config.fps)
        config = model.decoder.config
        parts: list[tuple[Tensor, ...]] = []
        for start in range(0, len(pool), CHUNK):
            rows = range(start, min(start + CHUNK, len(pool)))
            clips = [source.clip_of_row(row, config.n_codebooks) for row in rows]
            batch = collate(clips, config, source.fps, pool.features.shape[2])
            with torch.no_grad():
                hidden = unconditioned_hidden(model.decoder, batch.tokens)
            parts.append((hidden.half(), batch.picture, batch.features.half(), batch.onsets, batch.pieces))
        self.hidden, self.picture, self.features, self.onsets, self.pieces = (
            torch.cat(x) for x in zip(*parts, strict=True)
        )

    def __len__(self) -> int:
        return len(self.hidden)


def losses(model: JointModel, states: States, rows: Tensor) -> Tensor:
    """InfoNCE of meaning and of time, and of the onsets that time is read from."""
    assert model.video is not None
    hidden, labels = states.hidden[rows].float(), states.pieces[rows]
    seen = model.video(states.features[rows].float(), states.picture[rows])
    timed = model.video_timed(seen.motion), model.music_timed(hidden)
    is_onset = (states.onsets[rows] > 0).float()
    return (
        contrastive_loss(seen.embedding, model.music(hidden), model.temperature(), labels)
        + timed_loss(*timed, model.timed_temperature(), model.video_timed.read.out_channels)
        + onset_loss(model.music_timed.read(hidden), is_onset, torch.ones_like(is_onset))
    )


@torch.no_grad()
def measure(model: JointModel, states: States) -> dict[str, float]:
    """Rates, as multiples of chance, at which a picture finds its music among TEST_ROUND: by meaning, in time, both."""
    assert model.video is not None
    model.eval()
    ranks: dict[str, list[Tensor]] = {"meaning": [], "in time": [], "both": []}
    for start in range(0, len(states) - TEST_ROUND + 1, TEST_ROUND):
        rows = slice(start, start + TEST_ROUND)
        hidden = states.hidden[rows].float()
        seen = model.video(states.features[rows].float(), states.picture[rows])
        meaning = seen.embedding @ model.music(hidden).T
        in_time = model.video_timed(seen.motion) @ model.music_timed(hidden).T
        both = model.temperature() * meaning + model.timed_temperature() * in_time
        for name, matrix in zip(ranks, (meaning, in_time, both), strict=True):
            ranks[name].append(ranks_of(matrix))
    model.train()
    model.decoder.eval()
    return {name: round(TEST_ROUND * (torch.cat(x) < 0.5).float().mean().item(), 1) for name, x in ranks.items()}


def align_folder(packed: Path, pools: Path, decoder: Path, folder: Path, options: AlignOptions) -> None:
    """Train on a folder of `openvmas train examples pack` with pools of pairs, and write the parts into a folder.

    Measures ten times; a run that was stopped goes on.
    """
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    (music, held_out), pool = read_packed(packed), PairPool.load(pools / "train.npz")
    recipe = JointRecipe(preset=options.preset, fps=options.fps)
    model = JointModel(recipe, load_decoder(str(decoder)), pool.features.shape[2])
    model.decoder.requires_grad_(False)
    training = States(model, music, pool)
    testing = States(model, held_out, PairPool.load(pools / "test.npz"))
    parts = (model.video, model.music, model.video_timed, model.music_timed, model.temperature, model.timed_temperature)
    weights = [weight for part in parts if part is not None for weight in part.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=options.learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.learning_rate, options.steps, pct_start=0.1)
    run = Run(folder, options.steps, math.inf, "cpu", model=model, optimizer=optimizer, schedule=schedule)

    def step(progress: float) -> dict[str, Tensor]:
        torch.manual_seed(options.seed * 1_000_003 + run.step)  # so that a resumed run draws the same
        loss = losses(model, training, torch.randperm(len(training))[: options.batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        return {"loss": loss}

    model.train()
    every, write = max(options.steps // 10, 1), partial(save_parts, model, model, folder, is_first=True)
    run.train(step, partial(measure, model, testing), every, every, write)
