"""A batch in parts is the batch at once; a run that is killed goes on to the last bit; logs can be read back."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from openvmas.cli.main import main
from openvmas.codec.autoencoder import CODEC_PRESETS, Codec, save_codec
from openvmas.model.decoder import DECODER_PRESETS, Decoder
from openvmas.train.distributed import World, reduce_and_clip_gradients
from openvmas.train.joint import joint_trainer
from openvmas.train.joint.joint_model import JointModel, add_gradients
from openvmas.train.joint.joint_trainer import JointOptions
from openvmas.train.joint.material import PackedMaterial
from openvmas.train.joint.pairs import MontagePairs, Music, collate
from openvmas.train.logs import sample_codes
from openvmas.train.loop import Run, lr_factor
from tests.train.made import STEPS, TINY, WIDTH, make_bank, make_examples

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def clips():
    """Eight pairs and four clips of music."""
    bank, examples, rng = make_bank(), make_examples(), np.random.default_rng(0)
    sources = [MontagePairs(examples, bank, STEPS)] * 8 + [Music(examples)] * 4
    return [source.draw(rng, STEPS, STEPS - 3) for source in sources]


def gradients(clips, parts: int, stand_in: float) -> tuple[float, dict[str, torch.Tensor], torch.Tensor]:
    recipe = replace(TINY, stand_in_weight=stand_in, accumulate=parts)
    torch.manual_seed(0)
    model = JointModel(recipe, feature_width=WIDTH)
    for parameter in model.parameters():  # layers begin as identities
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.1)
    for name in ("video", "music"):  # negatives of an earlier batch
        getattr(model.queue, name)[:3] = torch.nn.functional.normalize(torch.randn(3, 16), dim=1)
    model.queue.count.fill_(3)
    batch = collate(clips, model.decoder.config, 2.0, WIDTH)
    keep = (torch.rand(3, len(clips)) > 0.3).float()
    losses = add_gradients(model, model, batch, keep, batch.n_pairs, recipe, World(), nullcontext())
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return losses.total.item(), found, model.queue.music.clone()


@pytest.mark.parametrize("stand_in", [0.0, 0.2])
def test_parts_have_the_gradients_of_the_whole(clips, stand_in):
    """With the contrastive loss over all of the batch: 8 pairs in 4 parts are 8 pairs, not 4 times 2."""
    total, whole, queue = gradients(clips, 1, stand_in)
    for n_parts in (2, 4):
        in_parts, found, other_queue = gradients(clips, n_parts, stand_in)
        assert in_parts == pytest.approx(total, rel=1e-5) and found.keys() == whole.keys()
        assert torch.allclose(queue, other_queue, atol=1e-6)
        for name, value in whole.items():
            assert torch.allclose(found[name], value, rtol=1e-4, atol=2e-6), name  # of a norm of 3
    alone = [gradients([*clips[i : i + 2], clips[8 + i // 2]], 1, stand_in)[0] for i in (0, 2, 4, 6)]
    assert np.mean(alone) < total - 0.05  # fewer negatives are easier: the parts were judged together


def test_clipping_is_that_of_pytorch():
    torch.manual_seed(0)
    model = JointModel(TINY, feature_width=WIDTH)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    norm = math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters()))
    assert reduce_and_clip_gradients(model, World(), 1.0).item() == pytest.approx(norm, rel=1e-5)
    assert math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters())) == pytest.approx(1, rel=1e-4)


def test_the_rate_rises_and_falls():
    assert [lr_factor(step, 0.0, 4) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    assert lr_factor(9, 0.6, 4) == 1 and lr_factor(9, 0.8, 4) == pytest.approx(0.51) and lr_factor(9, 1, 4) == 0.01
    assert lr_factor(9, 0.0, 4, "cosine") == 1 and lr_factor(9, 0.5, 4, "cosine") == pytest.approx(0.505)
    assert lr_factor(9, 1.0, 4, "cosine") == pytest.approx(0.01) and lr_factor(0, 0.0, 4, "cosine") == 0.25


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    for name in ("music", "held-out"):
        make_examples().save(folder / f"{name}.npz", 4)
    make_bank().save(folder / "bank.npz")
    return folder


def arguments(packed: Path, run: Path) -> list[str]:
    recipe = ROOT / "recipes" / "train" / "joint-debug.toml"
    tiny = f"--batch 4 --steps 12 --save-every 4 --steps-per-crop {STEPS} --test-pairs 2 --time-limit 1e9 --log-every 1"
    return [str(packed), str(run), "--bank", str(packed / "bank.npz"), "--recipe", str(recipe), *tiny.split()]


def losses_of(run: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "steps_per_second")} for record in records]


def test_a_run_killed_from_outside_goes_on_to_the_last_bit(packed, tmp_path):
    assert main(["train", "joint", *arguments(packed, tmp_path / "whole")]) == 0
    whole = losses_of(tmp_path / "whole")
    command = [sys.executable, "-m", "openvmas", "train", "joint", *arguments(packed, tmp_path / "killed")]
    log = tmp_path / "killed" / "steps.jsonl"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < 6):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL and 6 <= len(log.read_text().splitlines()) < 12
    assert main(["train", "joint", *arguments(packed, tmp_path / "killed")]) == 0
    assert [record["step"] for record in whole] == list(range(1, 13))
    assert losses_of(tmp_path / "killed") == whole  # every loss, rate and norm, all digits


def test_what_came_after_the_checkpoint_is_forgotten(tmp_path):
    lines = ['{"step": 20, "loss": 1}\n', '{"step": 40, "loss": 2}\n', '{"step": 6']  # the last one was cut off
    (tmp_path / "steps.jsonl").write_text("".join(lines))
    torch.save({"step": 30, "spent": 4.5}, tmp_path / "last.pt")
    run = Run(tmp_path, 100, 9.0, "cpu", now=lambda: 0.0)
    assert (tmp_path / "steps.jsonl").read_text() == lines[0]
    assert run.progress == 0.5 and run.note(loss=0.5)["seconds"] == 4.5


def test_tensorboard_has_curves_pictures_and_sound(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    bank, examples = make_bank(), make_examples()
    torch.manual_seed(1)
    save_codec(Codec(CODEC_PRESETS["debug"]), str(tmp_path / "codec.pt"))
    options = JointOptions(math.inf, log_every=1, tensorboard=True, codec=str(tmp_path / "codec.pt"))
    recipe = replace(TINY, steps=2, test_pairs=2)
    joint_trainer.train(PackedMaterial(examples, examples, (bank, bank)), tmp_path / "run", recipe, options)
    found = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"audio": 0, "images": 0})
    found.Reload()
    steps = losses_of(tmp_path / "run")
    logged = found.Scalars("train/loss")
    assert [x.step for x in logged] == [1, 2] and logged[1].value == pytest.approx(steps[1]["loss"], rel=1e-6)
    names = {"likelihood", "contrastive", "onset", "gradient_norm", "rate", "steps_per_second"}
    assert {f"train/{name}" for name in names} | {"held_out/full", "held_out/found"} <= set(found.Tags()["scalars"])
    pictures, sounds = found.Images("curves"), found.Audio("written")
    assert [x.step for x in pictures] == [x.step for x in sounds] == [0, 2]
    assert pictures[0].width > 500 and pictures[0].encoded_image_string[:4] == b"\x89PNG"
    assert sounds[1].sample_rate == 32_000 and sounds[1].length_frames == (STEPS - 3) * 640


def test_codes_written_with_a_cache_are_those_of_the_whole_pass():
    torch.manual_seed(0)
    config = DECODER_PRESETS["debug"]
    decoder = Decoder(config).eval()
    for parameter in decoder.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.2)
    condition = torch.randn(60, config.width)
    codes = sample_codes(decoder, condition[None], temperature=1e-4)[0]  # the likeliest, always
    from openvmas.generate.pattern import delay

    tokens = torch.from_numpy(delay(codes, config.codebook_size))[None]
    assert tokens.shape == (1, config.n_codebooks, 60)
    with torch.no_grad():
        best = decoder(tokens, condition[None]).argmax(-1)
    is_there = tokens != config.codebook_size
    assert (best[is_there] == tokens[is_there]).float().mean() > 0.99  # ties in fp32
    assert len(np.unique(codes)) > 10
