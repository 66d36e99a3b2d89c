"""What one of several processes does in the tests: torchrun --nproc-per-node N tests/train/ranks.py FOLDER RUN...

Each RUN is NAME:SHARDING:PARTS:STOP. At step STOP (0: never) every process dies without a word, the first time;
if it is negative, all leave at that step in good order and go on with the next run.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from openvmas.train.distributed import World, join_world
from openvmas.train.joint import joint_trainer
from openvmas.train.joint.material import PackedMaterial
from tests.train.made import TINY, make_bank, make_examples

SHARED = replace(TINY, batch=16, share_music=0.5, share_montage=0.5, test_pairs=4)


class LeaveError(Exception):
    """All processes leave a run at the same step."""


def run(folder: Path, sharding: str = "ddp", parts: int = 1, stop: int = 0, world: World | None = None) -> None:
    """One training run of four steps on made data."""
    update_ema = joint_trainer.update_ema
    calls: list[int] = []

    def update_or_stop(*arguments) -> None:
        calls.append(1)
        if stop and len(calls) == abs(stop):
            if stop < 0:
                raise LeaveError
            if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
                os._exit(9)
        update_ema(*arguments)

    bank, examples = make_bank(), make_examples()
    options = joint_trainer.JointOptions(float("inf"), log_every=1, sharding=sharding)
    recipe = replace(SHARED, accumulate=parts)
    joint_trainer.update_ema = update_or_stop
    try:
        joint_trainer.train(PackedMaterial(examples, examples, (bank, bank)), folder, recipe, options, world)
    except LeaveError:
        pass
    finally:
        joint_trainer.update_ema = update_ema


if __name__ == "__main__":
    torch.set_num_threads(1)
    with join_world() as world:
        for wanted in sys.argv[2:]:
            name, sharding, *numbers = wanted.split(":")
            parts, stop = map(int, numbers)
            run(Path(sys.argv[1]) / name, sharding, parts, stop, world)
