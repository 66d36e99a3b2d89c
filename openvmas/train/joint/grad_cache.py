"""Gradients of one batch: at once, in parts one after the other, and over several processes.

In parts, embeddings are computed first without gradients, their contrastive loss is that of the whole batch, and its
gradients go back part by part in a second pass (GradCache, Gao et al. 2021): the number of negatives is that of the
batch while the memory is that of a part. Over processes the same holds by `model.alignment.gather`. Losses and
gradients are those of the whole batch in one process, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from openvmas.train.distributed import World
from openvmas.train.joint.joint_model import JointModel, JointRecipe, Losses, LossWeights, PairEmbeddings, PassOutput
from openvmas.train.joint.pairs import PairBatch


class BatchPart(NamedTuple):
    """Some clips of a batch, those with a picture first. rows: their rows in the batch; seed: for dropout."""

    batch: PairBatch
    keep: Tensor
    rows: Tensor
    n_pairs: int
    seed: int


def split_batch(batch: PairBatch, keep: Tensor, n_pairs: int, n_parts: int, seed: int) -> Iterator[BatchPart]:
    """Parts of a batch with equal numbers of pairs and of music. keep [3, B]."""
    n, device = len(batch.tokens), batch.tokens.device
    n_music = n - n_pairs
    for i in range(n_parts):
        bounds = ((i * n_pairs // n_parts, (i + 1) * n_pairs // n_parts),
                  (n_pairs + i * n_music // n_parts, n_pairs + (i + 1) * n_music // n_parts))  # fmt: skip
        rows = torch.cat([torch.arange(*pair, device=device) for pair in bounds])
        part = PairBatch(**{name: value[rows] for name, value in vars(batch).items()})
        yield BatchPart(part, keep[:, rows], rows, bounds[0][1] - bounds[0][0], seed * n_parts + i)


def add_gradients(
    model: Any, whole: JointModel, batch: PairBatch, keep: Tensor, n_pairs: int, recipe: JointRecipe, world: World,
    autocast: AbstractContextManager[Any], step: int = 0,
) -> Losses:  # fmt: skip
    """Add the gradients of this process's share of a batch to the parameters; returns the losses of the whole batch.

    model: a distributed wrapper of `whole`, or `whole` itself. Every process must have as many pairs and as much
    music. Chance (dropout) is by seed, step, process and part alone, so that a resumed run does the same.
    """
    n = len(batch.tokens)
    n_uncond = whole.n_uncond(n, recipe)
    weights = whole.loss_weights(batch, n_uncond, recipe)
    # Wrappers take the mean over processes, so each scales its sum up.
    scaled = weights.tokens * (world.size / world.sum(weights.tokens.sum()))
    seed = (recipe.seed * 1_000_003 + step) * world.size + world.rank
    parts = list(split_batch(batch, keep, n_pairs, recipe.accumulate, seed))
    with autocast:
        given = contrast_parts(model, whole, parts, batch, n_pairs, recipe) if n_uncond and len(parts) > 1 else None
    likelihood = onset = reading = contrastive = torch.zeros((), device=batch.tokens.device)
    codebooks = torch.zeros(2, batch.tokens.shape[1], device=batch.tokens.device)
    for i, part in enumerate(parts):
        chosen = torch.cat([part.rows, n + part.rows]) if n_uncond else part.rows
        own = LossWeights(scaled[chosen], weights.beats[part.rows])
        share = len(part.rows) / n
        # DDP sums over processes once; sharded gradients are summed at once, as a whole one may not fit.
        waiting = model.no_sync() if hasattr(model, "no_sync") and i < len(parts) - 1 else nullcontext()
        torch.manual_seed(part.seed)
        with waiting:
            with autocast:
                passed: PassOutput = model(
                    part.batch, part.keep, recipe, own, part.n_pairs, n_uncond and len(part.rows)
                )
                if given is None:
                    contrastive = carried = whole.contrastive(passed.embeddings, batch.pieces, n_pairs, recipe)
                else:
                    contrastive = given.loss
                    carried = surrogate_loss(passed.embeddings, given.gradients, part, len(parts))
            by_clip = recipe.onset_weight * passed.onset + recipe.reading_weight * passed.reading  # means over clips
            (passed.likelihood + share * by_clip + carried).backward()
        likelihood = likelihood + passed.likelihood.detach()
        onset, reading = onset + share * passed.onset.detach(), reading + share * passed.reading.detach()
        codebooks = codebooks + passed.codebooks
    means = torch.stack([likelihood, contrastive.detach(), onset, reading])
    likelihood, contrastive, onset, reading = world.sum(means) / world.size
    sums, counts = world.sum(codebooks)
    total = likelihood + contrastive + recipe.onset_weight * onset + recipe.reading_weight * reading
    return Losses(total, sums / counts, contrastive, onset, reading)


class Contrast(NamedTuple):
    """The contrastive loss of all clips, and its gradients in their embeddings."""

    loss: Tensor
    gradients: PairEmbeddings


def contrast_parts(
    model: Any, whole: JointModel, parts: list[BatchPart], batch: PairBatch, n_pairs: int, recipe: JointRecipe
) -> Contrast:
    """The first pass: embeddings of all parts without gradients, put together; their loss and its gradients."""
    found: list[PairEmbeddings] = []
    with torch.no_grad():
        for part in parts:
            torch.manual_seed(part.seed)  # the second pass draws the same dropout
            found.append(model(part.batch, part.keep, recipe, None, part.n_pairs, len(part.rows)).embeddings)
    order = torch.cat([part.rows for part in parts])
    leaves: dict[str, Tensor] = {}
    for name in PairEmbeddings._fields:
        pieces = [getattr(embeddings, name) for embeddings in found]
        if pieces[0] is None:
            continue
        if name.endswith("scale"):
            leaves[name] = pieces[0].detach().requires_grad_()
            continue
        stacked = torch.cat(pieces)
        places = order if len(stacked) == len(order) else order[order < n_pairs]  # the timed ones are of pairs only
        leaves[name] = torch.empty_like(stacked).index_copy_(0, places, stacked).requires_grad_()
    with torch.enable_grad():
        loss = whole.contrastive(PairEmbeddings(**leaves), batch.pieces, n_pairs, recipe)
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return Contrast(loss.detach(), PairEmbeddings(**dict(zip(leaves, gradients, strict=True))))


def surrogate_loss(embeddings: PairEmbeddings, gradients: PairEmbeddings, part: BatchPart, n_parts: int) -> Tensor:
    """A scalar whose gradients in the embeddings of a part are those given."""
    total = torch.zeros((), device=part.rows.device)
    for name, value in embeddings._asdict().items():
        gradient = getattr(gradients, name)
        if value is None:
            continue
        if name.endswith("scale"):
            total = total + value * gradient / n_parts
        else:
            total = total + (value * gradient[part.rows[: len(value)]]).sum()  # the timed ones are of pairs only
    return total
