"""What the training loops share: checkpoints that appear whole, logs, optimisers, an average of the weights."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from openvmas.errors import OpenVMASError
from openvmas.settings import option, read_table, value_type
from openvmas.train.optim import BatchedMuon
from openvmas.train.recipe_file import read_recipe

SCHEDULES = ("hold", "cosine")
_Parser = argparse.ArgumentParser


@dataclass(frozen=True)
class RunOptions:
    """How a run goes on this machine; nothing of it changes what is learned."""

    time_limit: float = option(3600.0, "Seconds of training after which it ends.", min=0)
    threads: int = option(1, "Of each process on a CPU.", min=1, max=1024)
    loaders: int = option(1, "Processes that draw batches; 1: a thread.", min=1, max=1024)
    start_from: str | None = option(None, "Begin with the weights of this decoder.pt.")
    log_every: int = option(20, "Steps between lines of RUN/steps.jsonl.", min=1)
    tensorboard: bool = option(False, "Also log to RUN/tensorboard: curves, pictures, sound.")
    codec: str | None = option(None, "codec.pt that makes sound of what the model writes, for --tensorboard.")


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
            forget_after(folder / "steps.jsonl", self.step)
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
        """Write one line of `steps.jsonl`; returns it. Values are those of this step, exactly."""
        now = self._now()
        n_steps, seconds = self.step - self._noted[0], now - self._noted[1]
        self._noted = self.step, now
        rate = round(n_steps / seconds, 3) if seconds > 0 else 0.0
        record = {"step": self.step, "seconds": round(self.spent, 2), "steps_per_second": rate, **values}
        if self.is_first:
            append(self.folder / "steps.jsonl", record)
        return record

    def save(self, measures: Mapping[str, float]) -> None:
        """Log what was measured and write the checkpoint beside the old one, then in its place."""
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
        (self.folder / "last.tmp").rename(self.folder / "last.pt")


def start(main: Callable[[], None]) -> None:
    """Run a trainer's command; what the user can mend is one sentence and exit code 2."""
    try:
        main()
    except OpenVMASError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def append(path: Path, record: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(record) + "\n")


def forget_after(path: Path, step: int) -> None:
    """Take away what a run that was killed wrote after its last checkpoint: it comes again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        path.with_suffix(".tmp").write_text("".join(kept), encoding="utf-8")
        path.with_suffix(".tmp").rename(path)


def add_recipe(parser: _Parser, *groups: type) -> None:
    """One option for every field of dataclasses with defaults; what is not given is left out of the result."""
    for group in groups:
        for item in fields(group):
            kind, _, _ = value_type(item, group)
            text = item.metadata.get("help", "") + f" [default: {item.default}]"
            settings: dict[str, Any] = {"action": "store_true"} if kind is bool else {"type": kind, "metavar": "VALUE"}
            parser.add_argument(
                f"--{item.name.replace('_', '-')}", default=argparse.SUPPRESS, help=text.replace("%", "%%"), **settings
            )
    parser.add_argument("--recipe", type=Path, help="TOML file with settings; options that are given go first")


def take_recipe(arguments: argparse.Namespace, recipe: type, trainer: str = "") -> Any:
    """The recipe that was asked for, also written to `recipe.json` in the run's folder. Raises OptionError."""
    taken = take(arguments, recipe, trainer, "recipe")
    arguments.run.mkdir(parents=True, exist_ok=True)
    (arguments.run / "recipe.json").write_text(json.dumps(asdict(taken), indent=1))
    return taken


def take(arguments: argparse.Namespace, group: type, trainer: str, table: str) -> Any:
    """A dataclass from the file's table and the options that were given. Raises InputError, OptionError."""
    found = getattr(read_recipe(arguments.recipe, trainer), table) if arguments.recipe else {}
    given = {item.name: getattr(arguments, item.name) for item in fields(group) if hasattr(arguments, item.name)}
    return read_table(group, {**found, **given}, "the recipe")


@torch.no_grad()
def follow(averaged: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    """Moving average of the weights; buffers (codebooks are averages already) are copied."""
    foreach: Any = torch  # one launch for all weights; torch.optim.swa_utils does the same
    mine, others = ([getattr(p, "_local_tensor", p) for p in part.parameters()] for part in (averaged, model))
    foreach._foreach_lerp_(mine, others, 1 - decay)
    for a, b in zip(averaged.buffers(), model.buffers(), strict=True):
        a.copy_(b)


def make_optimizers(
    model: torch.nn.Module, layers: Sequence[torch.nn.Module], learning_rate: float, weight_decay: float
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon (Jordan 2024) for the matrices inside the layers of a model, AdamW for everything else."""
    matrices = [p for part in layers for p in part.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in inside]
    muon = BatchedMuon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    return muon, torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01)


def rate_at(step: int, progress: float, warmup: int, schedule: str = "hold") -> float:
    """Share of the learning rate: warm-up, then constant and linear to zero over the last 40 %, or half a cosine."""
    risen = min(1, (step + 1) / warmup)
    if schedule == "cosine":
        return risen * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, progress))) / 2)
    return risen * min(1.0, (1 - progress) / 0.4 + 0.01)
