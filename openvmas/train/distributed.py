"""Training over several processes with PyTorch: ranks, one model over all, checkpoints for any number of processes.

    torchrun --nproc-per-node 8 -m openvmas train joint ... --sharding fsdp2

`ddp` keeps the whole model on every device (Li et al. 2020); `fsdp2` shares weights, gradients and the optimisers'
states out and gathers a layer when it is needed (ZeRO, Rajbhandari et al. 2020). Checkpoints are written by all
processes together, under names that do not depend on their number: any number, one too, goes on from them.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load as load_shared
from torch.distributed.checkpoint.state_dict_saver import save as save_shared
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.fsdp import fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from openvmas.errors import InputError
from openvmas.train.loop import Run
from openvmas.train.optim import local_of

SHARDINGS = ("ddp", "fsdp2")
PATIENCE = timedelta(minutes=30)  # that a process waits for the others, as while one of them exports sound


@dataclass(frozen=True)
class World:
    """The rank of this process, the number of processes, and its device."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def sum(self, x: Tensor) -> Tensor:
        """The sum of x over all processes, without gradients."""
        if self.size == 1:
            return x.detach()
        total = x.detach().clone()
        dist.all_reduce(total)
        return total

    def agreed(self, value: float) -> float:
        """The value of the first process; sent between CPUs, so that no device has to wait."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64)
        dist.broadcast(shared, 0)
        return float(shared)


@contextmanager
def join_world() -> Iterator[World]:
    """This process among those that torchrun started, or alone."""
    size, is_cuda = int(os.environ.get("WORLD_SIZE", "1")), torch.cuda.is_available()
    if size == 1:
        yield World(device="cuda" if is_cuda else "cpu")
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if is_cuda:
        torch.cuda.set_device(local)
    store, rank, size = next(iter(rendezvous("env://")))
    # Keys of their own for every start: a restarted process may else be sent to the address of a dead one.
    store = PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "cpu:gloo,cuda:nccl" if is_cuda else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE, store=store, rank=rank, world_size=size)
    try:
        yield World(dist.get_rank(), size, f"cuda:{local}" if is_cuda else "cpu")
    finally:
        dist.destroy_process_group()


def wrap_distributed(model: nn.Module, layers: list[nn.Module], world: World, sharding: str) -> nn.Module:
    """The model wrapped for several processes. layers: lists of modules that are gathered one at a time under fsdp2.

    Scalar parameters stay whole everywhere; see `reduce_and_clip_gradients`.
    """
    if world.size == 1:
        return model
    if sharding == "ddp":
        # Parts that a recipe leaves out get no gradient, so unused ones have to be found.
        return DistributedDataParallel(model, find_unused_parameters=True)
    for part in layers:
        for layer in part.children():
            fully_shard(layer)
    numbers = {p for p in model.parameters() if p.ndim == 0}
    fully_shard(model, ignored_params=numbers)
    return model


def reduce_and_clip_gradients(model: nn.Module, world: World, max_norm: float) -> Tensor:
    """Clip the gradients to a norm over all parameters together; returns the norm before.

    Under fsdp2 gradients of scalar parameters are averaged over the processes first.
    """
    found = [p.grad for p in model.parameters() if p.grad is not None]
    shared = [local_of(gradient) for gradient in found if isinstance(gradient, DTensor)]
    if not shared:
        return torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    single = [gradient for gradient in found if not isinstance(gradient, DTensor)]
    for gradient in single:
        gradient.copy_(world.sum(gradient) / world.size)
    squares = world.sum(torch.stack([gradient.square().sum() for gradient in shared]).sum())
    norm = torch.stack([squares, *(gradient.square() for gradient in single)]).sum().sqrt()
    factor = (max_norm / (norm + 1e-6)).clamp_max(1.0)  # as torch.nn.utils.clip_grad_norm_
    for gradient in (*shared, *single):
        gradient.mul_(factor)
    return norm


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model, sharded or not, as whole tensors. All processes must call it."""
    return {name: x.full_tensor() if isinstance(x, DTensor) else x for name, x in model.state_dict().items()}


def states_of(model: nn.Module, averaged: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Any]:
    """All tensors of a run by names that do not depend on the number of processes."""
    names = {id(p): name for name, p in model.named_parameters()}
    found: dict[str, Any] = {f"model.{name}": x for name, x in model.state_dict().items()}
    found |= {f"averaged.{name}": x for name, x in averaged.state_dict().items()}
    for kind, optimizer in optimizers.items():
        for parameter, state in optimizer.state.items():
            found |= {f"{kind}.{names[id(parameter)]}.{key}": value for key, value in state.items()}
    return found


class SharedRun(Run):
    """A `Run` of several processes: `RUN/checkpoint-STEP`, one file a process; a clock that all agree on."""

    def __init__(
        self, folder: Path, steps: int, time_limit: float, world: World, model: nn.Module, averaged: nn.Module,
        **optimizers: torch.optim.Optimizer,
    ) -> None:  # fmt: skip
        self.world, self.model, self.averaged, self.optimizers = world, model, averaged, optimizers
        parts = {"model": model, "averaged": averaged, **optimizers}
        super().__init__(folder, steps, time_limit, world.device, is_first=world.is_first, **parts)

    @property
    def progress(self) -> float:
        return self.world.agreed(super().progress)

    def read(self) -> tuple[int, float]:
        """Load the newest checkpoint, of several processes or of one.

        Raises InputError if it is of one process and there are several now.
        """
        newest, alone = newest_checkpoint(self.folder), self.folder / "last.pt"
        if alone.exists():
            step = torch.load(alone, map_location="cpu", weights_only=True, mmap=True)["step"]
            if newest is None or step > int(newest.name.partition("-")[2]):
                if self.world.size == 1:
                    return super().read()
                raise InputError(
                    f"{alone} is of one process and cannot be shared out; go on with one, or begin a new run with "
                    f"--start-from {self.folder / 'decoder.pt'}."
                )
        return self._read(newest) if newest is not None else (0, 0.0)

    def _read(self, path: Path) -> tuple[int, float]:
        there = FileSystemReader(path).read_metadata().state_dict_metadata
        state = states_of(self.model, self.averaged, {})
        parameters = dict(self.model.named_parameters())
        owners = {id(p): o for o in self.optimizers.values() for group in o.param_groups for p in group["params"]}
        kinds = {id(optimizer): kind for kind, optimizer in self.optimizers.items()}
        for name, parameter in parameters.items():
            optimizer = owners[id(parameter)]
            prefix = f"{kinds[id(optimizer)]}.{name}."
            for key in there:
                if key.startswith(prefix) and "." not in key[len(prefix) :]:
                    kind = key[len(prefix) :]
                    value = torch.zeros(()) if kind == "step" else torch.zeros_like(parameter.detach())
                    state[key] = optimizer.state[parameter][kind] = value
        clock = {"step": torch.zeros((), dtype=torch.int64), "spent": torch.zeros((), dtype=torch.float64)}
        state |= clock
        with warnings.catch_warnings():  # it asks whether one process is meant
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            load_shared(state, checkpoint_id=path, no_dist=self.world.size == 1)
        return int(clock["step"]), float(clock["spent"])

    def write(self) -> None:
        """Write one checkpoint by all processes together; a single process writes as `Run` does.

        Nothing is written at step 0.
        """
        if self.world.size == 1:
            super().write()
            return
        target = self.folder / f"checkpoint-{self.step:08d}"
        if not self.step or target.exists():  # it is where this run went on from
            return
        part = target.with_suffix(".tmp")
        if self.world.is_first:
            shutil.rmtree(part, ignore_errors=True)
        dist.barrier()
        state = states_of(self.model, self.averaged, self.optimizers)
        state |= {"step": torch.tensor(self.step), "spent": torch.tensor(self.spent, dtype=torch.float64)}
        save_shared(state, checkpoint_id=part)
        if self.world.is_first:
            part.replace(target)
            for old in self.folder.glob("checkpoint-*"):
                if old != target:
                    shutil.rmtree(old, ignore_errors=True)
        dist.barrier()


def newest_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint of a run that is whole."""
    found = sorted(path for path in folder.glob("checkpoint-*") if not path.suffix)
    return found[-1] if found else None
