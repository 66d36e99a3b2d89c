"""A bank and examples made up for tests of joint training, and a recipe for them."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from openvmas.condition import AXES
from openvmas.data.montage.bank import Bank
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Events
from openvmas.train.decoder.examples import Example, Examples
from openvmas.train.joint.joint_model import JointModel, JointRecipe, Losses
from openvmas.train.joint.pairs import PairBatch

WIDTH, STEPS = 16, 103  # of features; of a clip
TINY = JointRecipe(
    preset="debug", batch=5, share_music=0.4, share_montage=0.6, steps_per_crop=STEPS, queue=8, steps=4, warmup=2,
    test_pairs=3, save_every=2, stand_in_weight=0.1,
)  # fmt: skip


def make_bank() -> Bank:
    """Ten pictures and two pieces of footage with made-up features; every third view is the picture seen nearer."""
    rng = np.random.default_rng(3)
    n_stills, n_views, length = 10, 3, 25
    stills = [(zoom, 0.5, 0.5, 0.0) for zoom in (1.0, 1.45, 2.0)]
    footage = [(1.0, 0.5, 0.5, time) for time in (0.0, 0.5, 1.0)]
    n = 12 * n_views
    return Bank(
        paths=np.array([f"{i}.png" for i in range(12)]),
        sizes=np.tile([640, 360], (12, 1)),
        first=np.arange(13) * n_views,
        views=np.array(n_stills * stills + 2 * footage),
        features=rng.normal(size=(n, WIDTH)).astype(np.float16),
        classes=np.full((n, 1000), 1e-3, np.float16),
        looks=rng.uniform(0.1, 0.9, (n, 4)).astype(np.float32),
        thumbs=rng.integers(0, 255, (n, 12, 20)).astype(np.uint8),
        motion_first=np.array([0] * 11 + [length, 2 * length]),
        motion=rng.uniform(0, 0.2, (2 * length, 7)),
    )


def make_examples() -> Examples:
    """Six pieces of 6 s with accents on their beats; the codes tell the steps apart."""
    made = []
    for i in range(6):
        rng = np.random.default_rng(i)
        beats = np.arange(0.1, 6, 0.5)
        curves = rng.uniform(0, 1, (3, 300)).astype(np.float32)
        curves[0] = 0
        curves[0, np.rint(beats * 50).astype(int)] = 0.7
        codes = rng.integers(0, 64, (4, 300)).astype(np.uint16)
        axes = rng.normal(size=(2, len(AXES))).astype(np.float32)
        made.append(
            Example(codes, Events(CONTROL_RATE, *curves), beats, beats[::4], np.array([1.5, 4.5]), axes, i % 2 == 0)
        )
    return Examples(made)


def losses_of(model: JointModel, batch: PairBatch, keep: Tensor, recipe: JointRecipe) -> Losses:
    """Losses of a whole batch at once, in one process."""
    n_pairs, n_uncond = batch.n_pairs, model.n_uncond(len(batch.tokens), recipe)
    weights = model.loss_weights(batch, n_uncond, recipe)
    weights = weights._replace(tokens=weights.tokens / weights.tokens.sum())
    passed = model(batch, keep, recipe, weights, n_pairs, n_uncond)
    contrastive = model.contrastive(passed.embeddings, batch.pieces, n_pairs, recipe)
    by_clip = recipe.onset_weight * passed.onset + recipe.reading_weight * passed.reading
    sums, counts = passed.codebooks
    rest = (x.detach() for x in (contrastive, passed.onset, passed.reading))
    return Losses(passed.likelihood + contrastive + by_clip, sums / counts, *rest)
