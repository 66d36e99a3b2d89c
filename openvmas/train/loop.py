"""What the training loops share: checkpoints that appear whole, a log, optimisers, an average of the weights."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from openvmas.train.muon import BatchedMuon


class Run:
    """A folder with `log.jsonl` and `last.pt`, a clock that goes on after a stop, and the number of steps done.

    now: the clock in seconds. parts: whatever has `state_dict`; loaded at once if there is a checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        time_limit: float,
        device: str,
        now: Callable[[], float] = time.time,
        **parts: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.steps, self.time_limit, self.parts = folder, steps, time_limit, parts
        self.step, spent = 0, 0.0
        if (folder / "last.pt").exists():
            state = torch.load(folder / "last.pt", map_location=device, weights_only=True)
            for name, part in parts.items():
                part.load_state_dict(state[name])
            self.step, spent = state["step"], state["spent"]
        self._now = now
        self._began = now() - spent

    @property
    def spent(self) -> float:
        """Seconds of training, those before a stop included."""
        return self._now() - self._began

    @property
    def progress(self) -> float:
        """From 0 to 1: by steps or by time, whichever is further."""
        return max(self.step / self.steps, self.spent / self.time_limit)

    def save(self, measures: dict[str, float]) -> None:
        """Log what was measured and write the checkpoint beside the old one, then in its place."""
        record = {"step": self.step, "seconds": round(self.spent), **measures}
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        torch.save({**state, "step": self.step, "spent": self.spent}, self.folder / "last.tmp")
        (self.folder / "last.tmp").rename(self.folder / "last.pt")


def add_recipe(parser: argparse.ArgumentParser, recipe: type) -> None:
    """One option for every field of a recipe (a dataclass with defaults)."""
    for item in fields(recipe):
        parser.add_argument(f"--{item.name.replace('_', '-')}", type=type(item.default), default=item.default)


def take_recipe(arguments: argparse.Namespace, recipe: type) -> Any:
    """The recipe that was asked for, also written to `recipe.json` in the run's folder."""
    taken = recipe(**{item.name: getattr(arguments, item.name) for item in fields(recipe)})
    arguments.run.mkdir(parents=True, exist_ok=True)
    (arguments.run / "recipe.json").write_text(json.dumps(asdict(taken), indent=1))
    return taken


@torch.no_grad()
def follow(averaged: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    """Moving average of the weights; buffers (codebooks are averages already) are copied."""
    foreach: Any = torch  # one launch for all weights; torch.optim.swa_utils does the same
    foreach._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)
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


def rate_at(step: int, progress: float, warmup: int) -> float:
    """Share of the learning rate: warm-up, then constant, then linear to zero over the last 40 %."""
    return min(1, (step + 1) / warmup) * min(1.0, (1 - progress) / 0.4 + 0.01)
