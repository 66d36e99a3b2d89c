"""Several processes train as one: the same losses, checkpoints that any number of them reads, a worker that is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openvmas.errors import InputError
from openvmas.model.decoder import load_decoder
from openvmas.train.distributed import World, newest_checkpoint
from openvmas.train.joint.joint_trainer import Batches
from openvmas.train.joint.pairs import MontagePairs, Music
from tests.train.made import STEPS, WIDTH, make_bank, make_examples
from tests.train.ranks import SHARED, run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
# fp32 sums in another order differ by 1e-7; Muon's bf16 products make 1e-6 to 1e-5 of that in the steps that follow.
CLOSE = {"loss": 5e-6, "likelihood": 5e-6, "contrastive": 3e-5, "onset": 3e-5, "gradient_norm": 3e-4}


def launch(n: int, folder: Path, *runs: str, restarts: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"]
    command += [f"--max-restarts={restarts}", "tests/train/ranks.py", str(folder), *runs]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=1800)


def steps_of(run_folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_folder / "steps.jsonl").read_text().splitlines()]


def assert_same_losses(reference: Path, estimated: Path) -> None:
    a, b = steps_of(reference), steps_of(estimated)
    assert [x["step"] for x in b] == [x["step"] for x in a] == [1, 2, 3, 4]
    for x, y in zip(a, b, strict=True):
        for name, tolerance in CLOSE.items():
            assert y[name] == pytest.approx(x[name], rel=tolerance), (estimated.name, y["step"], name)
    one, other = (json.loads((r / "log.jsonl").read_text().splitlines()[-1]) for r in (reference, estimated))
    for name in ("full", "picture", "nothing", "found", "found_in_time"):
        assert other[name] == pytest.approx(one[name], abs=2e-4), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """`one` is trained in this process; then by two processes: ddp, fsdp2 in two parts, and `left` after step 2."""
    folder = tmp_path_factory.mktemp("runs")
    run(folder / "one")
    done = launch(2, folder, "ddp:ddp:1:0", "fsdp2:fsdp2:2:0", "left:fsdp2:1:-3")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "returned a view" not in done.stderr  # after which FSDP2 may lose gradients without a word
    return folder


@pytest.mark.parametrize("name", ["ddp", "fsdp2"])
def test_two_processes_lose_what_one_does(folder, name):
    assert_same_losses(folder / "one", folder / name)
    decoder = load_decoder(str(folder / name / "decoder.pt")).state_dict()
    for key, value in load_decoder(str(folder / "one" / "decoder.pt")).state_dict().items():
        assert (decoder[key] - value).abs().max() < 2e-4, key  # of rates of 1e-3 a step


def test_four_processes_lose_what_one_does_and_go_on_from_two(folder):
    shutil.copytree(folder / "left", folder / "left4")
    done = launch(4, folder, "ddp4:ddp:1:0", "fsdp4:fsdp2:2:0", "left4:ddp:1:0")
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("ddp4", "fsdp4", "left4"):
        assert_same_losses(folder / "one", folder / name)


def test_one_process_goes_on_from_two(folder):
    shutil.copytree(folder / "left", folder / "left1")
    checkpoint = newest_checkpoint(folder / "left1")
    assert checkpoint is not None and checkpoint.name == "checkpoint-00000002"
    assert [x["step"] for x in steps_of(folder / "left1")][:2] == [1, 2]
    run(folder / "left1")
    assert_same_losses(folder / "one", folder / "left1")


def test_a_lost_worker_starts_again_from_the_last_checkpoint(folder):
    done = launch(2, folder, "crashed:ddp:1:3", restarts=1)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "exitcode: 9" in done.stderr  # it did die
    assert_same_losses(folder / "one", folder / "crashed")
    assert newest_checkpoint(folder / "crashed").name == "checkpoint-00000004"  # older ones are gone
    assert len(list((folder / "crashed").glob("checkpoint-*"))) == 1


def test_a_run_of_one_process_is_not_shared_out(folder):
    from openvmas.train.distributed import SharedRun
    from openvmas.train.joint.joint_model import JointModel

    model = JointModel(SHARED, feature_width=WIDTH)
    with pytest.raises(InputError, match=r"last\.pt is of one process .* go on with one, or begin a new run with"):
        SharedRun(folder / "one", 4, 1.0, World(1, 2), model, model)


def test_every_process_draws_its_share_of_the_same_batch():
    bank, examples = make_bank(), make_examples()
    sources = [(Music(examples), 8), (MontagePairs(examples, bank, STEPS), 8)]
    from openvmas.model.decoder import DECODER_PRESETS

    sizes = DECODER_PRESETS["debug"], 2.0, WIDTH
    whole, keep = Batches(sources, SHARED, World(), *sizes).draw(5)
    shares = [Batches(sources, SHARED, World(rank, 4), *sizes).draw(5) for rank in range(4)]
    for name, value in vars(whole).items():
        rows = [getattr(share, name) for share, _ in shares]
        joined = [x[:2] for x in rows] + [x[2:] for x in rows]  # pairs of all, then music of all
        assert all((x == value[2 * i : 2 * i + 2]).all() for i, x in enumerate(joined)), name
    assert (keep[:, 2:4] == shares[1][1][:, :2]).all() and (keep[:, 14:] == shares[3][1][:, 2:]).all()
    with pytest.raises(InputError, match=r"the 8 clips of music of a batch do not divide among 3 processes"):
        Batches([(sources[0][0], 8), (sources[1][0], 9)], SHARED, World(0, 3), *sizes)
