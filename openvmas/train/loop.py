"""Shared parts of the training loops: checkpoints, logs, batches drawn ahead, optimisers, averages of weights."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from openvmas.model.decoder import DECODER_PRESETS
from openvmas.settings import option
from openvmas.train.optim import BatchedMuon, local_of

SCHEDULES = ("hold", "cosine")
PRESETS = tuple(DECODER_PRESETS)
Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class RunOptions:
    """Settings of a run on a machine; none of them changes what is learned."""

    time_limit: float = option(3600.0, "Seconds of training after which the run ends.", min=0)
    threads: int = option(1, "CPU threads of each process.", min=1, max=1024)
    loaders: int = option(1, "Processes that draw batches; 1: a thread of this one.", min=1, max=1024)
    start_from: str | None = option(None, "Begin with the weights of this decoder.pt.", metavar="PATH")
    log_every: int = option(20, "Steps between lines of RUN/steps.jsonl.", min=1)
    tensorboard: bool = option(False, "Also log curves, pictures and sound to RUN/tensorboard.")
    codec: str | None = option(
        None, "The codec.pt that decodes what the model composes, for --tensorboard.", metavar="PATH"
    )


@dataclass(frozen=True)
class SequenceRecipe:
    """Settings of training a decoder, alone or with other networks, that change what is learned."""

    preset: str = option("mini", "Sizes of the decoder, and of the video encoder beside it.", choices=PRESETS)
    steps_per_crop: int = option(576, "Steps of a clip after the delay pattern, 50 a second.", min=16)
    first_weight: float = option(
        1.6, "Weight of the first codebook's loss; the last has 2 - first_weight.", min=0, max=2
    )
    steps: int = option(4000, "Optimiser steps, if the time suffices.", min=1)
    schedule: str = option("hold", "Decay of the learning rate: at the end only (hold), or cosine.", choices=SCHEDULES)
    weight_decay: float = option(0.05, "Weight decay of the matrices inside layers.", min=0, max=1)
    drop_events: float = option(0.12, "Share of the clips without conditioning on events.", min=0, max=1)
    drop_meaning: float = option(0.12, "Share of the clips without conditioning on meaning.", min=0, max=1)
    seed: int = option(0, "Seed of weights and batches.", min=0)


class Run:
    """A folder with `log.jsonl`, `steps.jsonl` and `last.pt`, a clock that goes on after a stop, and the number of
    steps done.

    now: the clock in seconds. is_first: whether this process writes the logs. parts: whatever has `state_dict`; loaded
    at once if there is a checkpoint.
    """

    def __init__(
        self, folder: Path, steps: int, time_limit: float, device: str, now: Callable[[], float] = time.time,
        is_first: bool = True, **parts: Any,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.steps, self.time_limit, self.device, self.parts = folder, steps, time_limit, device, parts
        self.is_first = is_first
        self.step, spent = self.read()
        if is_first:
            drop_lines_after(folder / "steps.jsonl", self.step)
        self._now = now
        self._began = now() - spent
        self._noted = self.step, now()

    @property
    def spent(self) -> float:
        """Seconds of training, those before a stop included."""
        return self._now() - self._began

    @property
    def progress(self) -> float:
        """From 0 to 1: by steps or by time, whichever is further."""
        return max(self.step / self.steps, self.spent / self.time_limit)

    def note(self, **values: float) -> dict[str, float]:
        """Write a line of `steps.jsonl`, print a shorter one and return it. Values are those of this step, exactly."""
        now = self._now()
        n_steps, seconds = self.step - self._noted[0], now - self._noted[1]
        self._noted = self.step, now
        rate = round(n_steps / seconds, 3) if seconds > 0 else 0.0
        record = {"step": self.step, "seconds": round(self.spent, 2), "steps_per_second": rate, **values}
        if self.is_first:
            append(self.folder / "steps.jsonl", record)
            shown = " ".join(f"{name} {value:.4g}" for name, value in values.items())
            print(f"{self.step} {self.spent:.0f}s {shown} {rate:.2f} steps/s", flush=True)
        return record

    def train(
        self, step: Callable[[float], Mapping[str, float | Tensor]], measure: Callable[[], Mapping[str, float]],
        save_every: int, log_every: int, write: Callable[[], None], board: Any = None,
    ) -> None:  # fmt: skip
        """Do steps until all are done or the time is up.

        step: one update at a progress from 0 to 1; returns values to log. measure: measurements on held-out data, every
        `save_every` steps before a checkpoint is written; write: saves the weights that others use, after it. board: a
        `logs.Board`.
        """
        while True:
            progress = self.progress
            if self.step % save_every == 0 or progress >= 1:
                measures = measure()
                self.save(measures)
                if board:
                    board.numbers(self.step, "held_out", measures)
                write()
            if progress >= 1:
                return
            values = step(progress)
            self.step += 1
            if self.step % log_every == 0:
                numbers = {k: v.item() if isinstance(v, Tensor) else v for k, v in values.items()}
                record = self.note(**numbers)
                if board:
                    board.numbers(self.step, "train", record)

    def save(self, measures: Mapping[str, float]) -> None:
        """Log measurements and write the checkpoint beside the old one, then in its place."""
        record = {"step": self.step, "seconds": round(self.spent), **measures}
        if self.is_first:
            append(self.folder / "log.jsonl", record)
            print(json.dumps(record), flush=True)
        self.write()
        self._noted = self.step, self._now()  # measuring is not training

    def read(self) -> tuple[int, float]:
        """Load the checkpoint, if there is one; returns its steps and seconds."""
        path = self.folder / "last.pt"
        if not path.exists():
            return 0, 0.0
        state = torch.load(path, map_location=self.device, weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        return state["step"], state["spent"]

    def write(self) -> None:
        """The checkpoint of one process."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        torch.save({**state, "step": self.step, "spent": self.spent}, self.folder / "last.tmp")
        (self.folder / "last.tmp").replace(self.folder / "last.pt")


def append(path: Path, record: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(record) + "\n")


def drop_lines_after(path: Path, step: int) -> None:
    """Remove the lines that a killed run wrote after its last checkpoint: those steps are done again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        path.with_suffix(".tmp").write_text("".join(kept), encoding="utf-8")
        path.with_suffix(".tmp").replace(path)


@torch.no_grad()
def update_ema(averaged: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    """Exponential moving average of the weights; buffers (codebooks are averages already) are copied."""
    mine, others = ([local_of(p) for p in part.parameters()] for part in (averaged, model))
    get_ema_multi_avg_fn(decay)(mine, others, None)  # one launch for all weights
    for a, b in zip(averaged.buffers(), model.buffers(), strict=True):
        a.copy_(b)


def ema_decay(step: int) -> float:
    """Decay of the average of weights after `step` updates: short at first, so that it forgets the beginning."""
    return min(0.995, 1 - 1 / (step / 4 + 1))


def make_optimizers(
    model: torch.nn.Module, layers: Sequence[torch.nn.Module], learning_rate: float, weight_decay: float,
    fused: bool | None = None,
) -> dict[str, torch.optim.Optimizer]:  # fmt: skip
    """`muon` (Jordan 2024) for the matrices inside layers, if there are any, and `adam` for what else is learned."""
    matrices = [p for part in layers for p in part.parameters() if p.ndim == 2 and p.requires_grad]
    inside = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in inside and p.requires_grad]
    made: dict[str, torch.optim.Optimizer] = {}
    if matrices:
        made["muon"] = BatchedMuon(
            matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
    made["adam"] = torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01, fused=fused)
    return made


def set_lr(optimizers: Mapping[str, torch.optim.Optimizer], learning_rate: float) -> None:
    """Give all parameters the same learning rate."""
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = learning_rate


def lr_factor(step: int, progress: float, warmup: int, schedule: str = "hold", final: float = 0.01) -> float:
    """Factor of the learning rate: warm-up, then constant and linear to zero over the last 40 %, or half a cosine.

    final: factor at the end of the cosine.
    """
    risen = min(1, (step + 1) / warmup)
    if schedule == "cosine":
        return risen * (final + (1 - final) * (1 + math.cos(math.pi * min(1.0, progress))) / 2)
    return risen * min(1.0, (1 - progress) / 0.4 + 0.01)


def draw_ahead(draw: Callable[[int], Drawn], first: int, n_workers: int = 1) -> Iterator[Drawn]:
    """Yield draw(first), draw(first + 1), ... in this order without end, computed ahead in a thread or in processes.

    n_workers: processes if more than one; a GPU needs many.
    """
    if n_workers > 1:
        from torch.utils.data import DataLoader

        loader: Any = DataLoader  # which gives every number of the range to collate_fn in a worker
        yield from loader(range(first, 2**40), batch_size=None, collate_fn=draw, num_workers=n_workers)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(draw, first)
        step = first + 1
        try:
            while True:
                done, waiting = waiting, thread.submit(draw, step)
                step += 1
                yield done.result()
        finally:
            waiting.cancel()
