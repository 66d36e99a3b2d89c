"""One batch, its losses and gradients: at once, in parts one after the other, and over several processes.

In parts, embeddings are made first without gradients, judged together, and the gradients that they get are carried
back part by part in a second pass (GradCache, Gao et al. 2021): the number of negatives is that of the whole batch
while the memory is that of a part. Over processes the same holds by `model.alignment.gather`. Losses and gradients are
those of the whole batch in one process, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from openvmas.train.distributed import World
from openvmas.train.joint.joint_model import JointModel, JointRecipe, Losses, Passed, Sides, Weights, by_clip
from openvmas.train.joint.pairs import PairBatch


class Part(NamedTuple):
    """Some clips of a batch, those with a picture first. rows: which of the batch; seed: of what is left to chance."""

    batch: PairBatch
    keep: Tensor
    rows: Tensor
    n_pairs: int
    seed: int


def rows_of(batch: PairBatch, rows: Tensor) -> PairBatch:
    """Some clips of a batch."""
    return PairBatch(**{name: value[rows] for name, value in vars(batch).items()})


def split(batch: PairBatch, keep: Tensor, n_pairs: int, n_parts: int, seed: int) -> Iterator[Part]:
    """Parts with as many pairs and as much music each. keep [3, B]."""
    n, device = len(batch.tokens), batch.tokens.device
    n_music = n - n_pairs
    for i in range(n_parts):
        bounds = ((i * n_pairs // n_parts, (i + 1) * n_pairs // n_parts),
                  (n_pairs + i * n_music // n_parts, n_pairs + (i + 1) * n_music // n_parts))  # fmt: skip
        rows = torch.cat([torch.arange(*pair, device=device) for pair in bounds])
        yield Part(rows_of(batch, rows), keep[:, rows], rows, bounds[0][1] - bounds[0][0], seed * n_parts + i)


def learn(
    model: Any, whole: JointModel, batch: PairBatch, keep: Tensor, n_pairs: int, recipe: JointRecipe, world: World,
    autocast: AbstractContextManager[Any], step: int = 0,
) -> Losses:  # fmt: skip
    """Add the gradients of this process's share of a batch to the parameters; returns the losses of the whole batch.

    model: what is called, a wrapper of `whole` or `whole` itself. Every process must have as many pairs and as much
    music. Chance (dropout) is by seed, step, process and part alone, so that a resumed run does the same.
    """
    n = len(batch.tokens)
    n_untold = whole.n_untold(n, recipe)
    weights = whole.weigh(batch, n_untold, recipe)
    # Wrappers take the mean over processes, so each scales its sum up.
    scaled = weights.tokens * (world.size / world.sum(weights.tokens.sum()))
    seed = (recipe.seed * 1_000_003 + step) * world.size + world.rank
    parts = list(split(batch, keep, n_pairs, recipe.accumulate, seed))
    with autocast:
        given = judge(model, whole, parts, batch, n_pairs, recipe) if n_untold and len(parts) > 1 else None
    likelihood = onset = reading = contrastive = torch.zeros((), device=batch.tokens.device)
    codebooks = torch.zeros(2, batch.tokens.shape[1], device=batch.tokens.device)
    for i, part in enumerate(parts):
        chosen = torch.cat([part.rows, n + part.rows]) if n_untold else part.rows
        own = Weights(scaled[chosen], weights.beats[part.rows])
        share = len(part.rows) / n
        # DDP sums over processes once; sharded gradients are summed at once, as a whole one may not fit.
        waiting = model.no_sync() if hasattr(model, "no_sync") and i < len(parts) - 1 else nullcontext()
        torch.manual_seed(part.seed)
        with waiting:
            with autocast:
                passed: Passed = model(part.batch, part.keep, recipe, own, part.n_pairs, n_untold and len(part.rows))
                if given is None:
                    contrastive = carried = whole.contrast(passed.sides, batch.pieces, n_pairs, recipe)
                else:
                    contrastive, carried = given.loss, carry(passed.sides, given.gradients, part, len(parts))
            (passed.likelihood + share * by_clip(passed, recipe) + carried).backward()
        likelihood = likelihood + passed.likelihood.detach()
        onset, reading = onset + share * passed.onset.detach(), reading + share * passed.reading.detach()
        codebooks = codebooks + passed.codebooks
    means = torch.stack([likelihood, contrastive.detach(), onset, reading])
    likelihood, contrastive, onset, reading = world.sum(means) / world.size
    sums, counts = world.sum(codebooks)
    total = likelihood + contrastive + recipe.onset_weight * onset + recipe.reading_weight * reading
    return Losses(total, sums / counts, contrastive, onset, reading)


class Judged(NamedTuple):
    """The contrastive loss of all clips, and the gradients of their sides."""

    loss: Tensor
    gradients: Sides


def judge(
    model: Any, whole: JointModel, parts: list[Part], batch: PairBatch, n_pairs: int, recipe: JointRecipe
) -> Judged:
    """The first pass: sides of all parts without gradients, put together, and their loss."""
    found: list[Sides] = []
    with torch.no_grad():
        for part in parts:
            torch.manual_seed(part.seed)  # the second pass draws the same dropout
            found.append(model(part.batch, part.keep, recipe, None, part.n_pairs, len(part.rows)).sides)
    order = torch.cat([part.rows for part in parts])
    leaves: dict[str, Tensor] = {}
    for name in Sides._fields:
        pieces = [getattr(sides, name) for sides in found]
        if pieces[0] is None:
            continue
        if name.endswith("scale"):
            leaves[name] = pieces[0].detach().requires_grad_()
            continue
        joined = torch.cat(pieces)
        places = order if len(joined) == len(order) else order[order < n_pairs]  # the timed ones are of pairs only
        leaves[name] = torch.empty_like(joined).index_copy_(0, places, joined).requires_grad_()
    with torch.enable_grad():
        loss = whole.contrast(Sides(**leaves), batch.pieces, n_pairs, recipe)
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return Judged(loss.detach(), Sides(**dict(zip(leaves, gradients, strict=True))))


def carry(sides: Sides, gradients: Sides, part: Part, n_parts: int) -> Tensor:
    """A number whose gradients are those that the sides of a part were given."""
    total = torch.zeros((), device=part.rows.device)
    for name, value in sides._asdict().items():
        gradient = getattr(gradients, name)
        if value is None:
            continue
        if name.endswith("scale"):
            total = total + value * gradient / n_parts
        else:
            total = total + (value * gradient[part.rows[: len(value)]]).sum()  # the timed ones are of pairs only
    return total
