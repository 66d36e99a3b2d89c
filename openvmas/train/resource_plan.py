"""Costs of training the joint model on a large set, estimated from counted FLOPs and bytes.

The networks run once without memory or numbers (PyTorch's fake tensors) while products and the bytes kept for backward
passes are counted; all else is arithmetic on assumptions that are options (`ResourceOptions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from openvmas.data.report.costs import read_costs
from openvmas.errors import OptionError
from openvmas.settings import option
from openvmas.train.joint.joint_model import JointModel, JointRecipe
from openvmas.train.joint.pairs import PairBatch, frame_count
from openvmas.train.loop import PRESETS

HOUR, DAY = 3600.0, 86_400.0
RATE = 50.0  # steps per second
GIGA, TERA = 1e9, 1e12


@dataclass(frozen=True)
class ResourceOptions:
    """Assumptions of the estimate. Defaults: the size of DISCO-MV (VMAS, 2.2 million clips), H100 with 400 Gbit/s."""

    preset: str = option("base", "Sizes of the decoder and the video encoder.", choices=PRESETS)
    clips: int = option(2_200_000, "Clips of the set.", min=1)
    hours: float = option(47_000.0, "Length of all clips together, hours.", min=0.001)
    seconds: float = option(11.5, "Length of the crop that is drawn from a clip, seconds.", min=1, max=600)
    batch: int = option(1024, "Clips in a batch, over all GPUs.", min=1)
    fps: float = option(2.0, "Frames per second that the video encoder is given.", min=0.1, max=60)
    feature_width: int = option(1280, "Width of the features of a frame.", min=1)
    peak: float = option(989.0, "Peak of a GPU in bf16 without sparsity, TFLOP/s.", min=0.001)
    mfu: float = option(0.35, "Share of the peak that training reaches (model FLOPs utilisation).", min=0.001, max=1)
    memory: float = option(80.0, "Memory of a GPU, GB.", min=1)
    reserve: float = option(6.0, "Part of the memory for CUDA, NCCL and gaps, GB.", min=0)
    network: float = option(50.0, "Bandwidth of a GPU in each direction, GB/s.", min=0.001)
    stored: float = option(0.0, "Bytes stored for a second of a clip; 0: as measured (openvmas data plan).", min=0)


@dataclass(frozen=True)
class ModelCounts:
    """Counts for one clip and for the model.

    flops: of all passes over a clip; activation_bytes: kept for the backward pass; tensor_bytes: of a clip in a batch;
    parameters: of the model; matrices: those of them that Muon optimises; largest: those of the largest layer.
    """

    flops: float
    activation_bytes: float
    tensor_bytes: float
    parameters: int
    matrices: int
    largest: int

    @property
    def state_bytes(self) -> float:
        """Weights, gradients, average and optimisers (Muon keeps one number a weight, AdamW two), in fp32."""
        return 4.0 * (3 * self.parameters + self.matrices + 2 * (self.parameters - self.matrices))


@dataclass(frozen=True)
class RunCosts:
    """Costs of a run on a number of GPUs, whole (ddp) and shared (fsdp2).

    gb: memory of one GPU that does not grow with the batch; parts: into which a batch then has to be split; times in s;
    rates in bytes/s, of all GPUs together; sent: bytes that a GPU sends in a step.
    """

    n_gpus: int
    whole_gb: float
    shared_gb: float
    whole_parts: int | None
    shared_parts: int | None
    steps: float
    step_seconds: float
    stored_rate: float
    tensor_rate: float
    whole_sent: float
    shared_sent: float

    @property
    def epoch_days(self) -> float:
        return self.steps * self.step_seconds / DAY


def count(options: ResourceOptions) -> ModelCounts:
    """Run one clip through the networks without computing anything."""
    recipe = JointRecipe(preset=options.preset, fps=options.fps, steps_per_crop=round(options.seconds * RATE))
    with FakeTensorMode():
        model = JointModel(recipe, feature_width=options.feature_width)
        kept = [run_once(model, recipe, n) for n in (1, 3)]
        with FlopCounterMode(display=False) as counter:
            run_once(model, recipe, 1)
        inner = [p for part in model.learned_layers for p in part.parameters() if p.ndim == 2]
        layers = [layer for part in model.learned_layers for layer in part.children()]
        sizes = [sum(p.numel() for p in layer.parameters()) for layer in layers]
        batch = blank_batch(model.decoder.config, recipe, 1, options.feature_width)
        n_bytes = sum(x.numel() * x.element_size() for x in vars(batch).values() if isinstance(x, torch.Tensor))
        whole, matrices = (sum(p.numel() for p in part) for part in (model.parameters(), inner))
    return ModelCounts(counter.get_total_flops(), (kept[1] - kept[0]) / 2, n_bytes, whole, matrices, max(sizes))


def run_once(model: Any, recipe: JointRecipe, n: int) -> float:
    """Run forward, with and without condition, and backward over n pairs in mixed precision; returns bytes kept."""
    seen: dict[int, Any] = {}
    own = {id(p.untyped_storage()) for p in model.parameters()}

    def keep(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if id(storage) not in own:
            seen[storage._cdata] = storage  # held, so that no other takes its address
        return x

    batch = blank_batch(model.decoder.config, recipe, n, model.video.config.feature_width)
    weights = model.loss_weights(batch, n, recipe)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), torch.autocast("cpu", torch.bfloat16):
        passed = model(batch, torch.ones(3, n), recipe, weights, n, n)
    embeddings = [x.float().sum() for x in passed.embeddings if x is not None]
    total = sum(storage.nbytes() for storage in seen.values())
    (passed.likelihood + passed.onset + passed.reading + torch.stack(embeddings).sum()).backward()
    return float(total)


def blank_batch(config: Any, recipe: JointRecipe, n: int, feature_width: int) -> PairBatch:
    """n pairs of zeros in the shapes and types of training."""
    steps, frames = recipe.steps_per_crop, frame_count(recipe.steps_per_crop, recipe.fps)
    return PairBatch(
        tokens=torch.zeros(n, config.n_codebooks, steps, dtype=torch.int64),
        curves=torch.zeros(n, steps, config.n_curves), semantics=torch.zeros(n, steps, 2 * config.n_axes),
        onsets=torch.zeros(n, steps), picture=torch.zeros(n, steps, 4),
        features=torch.zeros(n, frames, feature_width), has_features=torch.ones(n),
        pieces=torch.zeros(n, dtype=torch.int64), chance=torch.zeros(n, dtype=torch.int64),
    )  # fmt: skip


def stored_rate(options: ResourceOptions) -> float:
    """Bytes of a second of a clip in the shards, as measured on a build."""
    if options.stored:
        return options.stored
    costs = read_costs(None)
    return costs.bytes_kept / costs.seconds_kept


def estimate(options: ResourceOptions, counted: ModelCounts, n_gpus: int) -> RunCosts:
    """Costs by arithmetic from the counts. An epoch uses every second of the set once."""
    share = share_of(options, n_gpus)
    gathered = 2 * 4.0 * counted.largest  # a layer at work and the next one on its way
    whole = counted.state_bytes / GIGA
    shared = (counted.state_bytes / n_gpus + gathered) / GIGA
    parts = [parts_of(options, counted, used, share) for used in (whole, shared)]
    seconds = options.batch * counted.flops / (n_gpus * options.peak * TERA * options.mfu)
    steps = options.hours * HOUR / options.seconds / options.batch
    clips = options.batch / seconds
    rest = (n_gpus - 1) / n_gpus * 4.0 * counted.parameters
    n_parts = parts[1] or 1
    passes = n_parts * (4 if n_parts > 1 else 3)  # two gathers, one sum; GradCache: a gather
    return RunCosts(
        n_gpus, whole, shared, parts[0], parts[1], steps, seconds, clips * options.seconds * stored_rate(options),
        clips * counted.tensor_bytes, 2 * rest, passes * rest,
    )  # fmt: skip


def share_of(options: ResourceOptions, n_gpus: int) -> int:
    """Clips of a batch that a GPU has. Raises OptionError."""
    if options.batch % n_gpus:
        raise OptionError(f"a batch of {options.batch} does not divide among {n_gpus} GPUs; change --batch or --gpus.")
    return options.batch // n_gpus


def parts_of(options: ResourceOptions, counted: ModelCounts, used_gb: float, share: int) -> int | None:
    """Number of parts that a GPU's share of a batch needs; None if not even one clip fits."""
    room = (options.memory - options.reserve - used_gb) * GIGA
    fitting = min(int(room // counted.activation_bytes), share)
    if fitting < 1:
        return None
    return next(n for n in range(1, share + 1) if share % n == 0 and share // n <= fitting)


def make_plan(options: ResourceOptions, gpus: Sequence[int]) -> str:
    """A table for the terminal. Raises OptionError."""
    for n in gpus:
        share_of(options, n)  # before counting takes its seconds
    counted = count(options)
    rows = [estimate(options, counted, n) for n in gpus]
    head = ("GPUs", "ddp GB", "parts", "fsdp2 GB", "parts", "s/step", "steps", "days/epoch", "set MB/s", "batch MB/s")
    table: list[tuple[str, ...]] = [(*head, "ddp s sent", "fsdp2 s sent")]
    for row in rows:
        sent = (f"{n / options.network / GIGA:.2f}" for n in (row.whole_sent, row.shared_sent))
        parts = [str(n or "none fits") for n in (row.whole_parts, row.shared_parts)]
        table.append((
            str(row.n_gpus), f"{row.whole_gb:.1f}", parts[0], f"{row.shared_gb:.1f}", parts[1],
            f"{row.step_seconds:.2f}", f"{row.steps:,.0f}", f"{row.epoch_days:.2f}", f"{row.stored_rate / 1e6:.1f}",
            f"{row.tensor_rate / 1e6:.1f}", *sent,
        ))  # fmt: skip
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table]
    epoch = options.hours * HOUR / options.seconds * counted.flops
    stored = stored_rate(options)
    return "\n".join([
        f"{options.preset}: {counted.parameters / 1e6:,.1f} M parameters, {counted.matrices / 1e6:,.1f} M by Muon",
        f"one clip of {options.seconds:g} s: {counted.flops / TERA:.2f} TFLOP (conditional, unconditional, backward), "
        f"{counted.activation_bytes / GIGA:.2f} GB of activations, {counted.tensor_bytes / 1e6:.2f} MB of batch",
        f"{options.clips:,} clips, {options.hours:,.0f} h: {epoch:.2e} FLOP an epoch, "
        f"{options.hours * HOUR * stored / TERA:.2f} TB of set", "", *lines, "",
        f"Assumed: {options.peak:g} TFLOP/s at {options.mfu:.0%}, {options.memory:g} GB less {options.reserve:g}, "
        f"{options.network:g} GB/s; batch {options.batch:,}; {stored / 1000:.2f} kB stored a second; products in bf16.",
        "GB: weights, gradients, average, optimisers. parts: --accumulate that the rest of the memory then needs.",
        "In parts, embeddings are computed twice (GradCache), which is not in s/step: about a sixth more.",
        "set, batch: what storage and loaders must give. s sent: of a step's traffic, if nothing of it overlaps.",
    ])  # fmt: skip
