"""A frozen decoder keeps every weight, begins as itself, and what is trained around it is exported and goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fold_picture import fold

from openvmas.cli.main import main
from openvmas.errors import InputError, ModelError
from openvmas.generate.batch_decoder import Engine
from openvmas.generate.picture_encoder import PictureEncoder
from openvmas.model.decoder import Decoder, load_decoder, save_decoder
from openvmas.model.video_encoder import load_video_encoder
from openvmas.pretrained import find_weights, open_graph, run
from openvmas.train.export.export_model import ExportOptions, export
from openvmas.train.export.import_onnx import import_video_encoder
from openvmas.train.joint.joint_model import JointModel, JointRecipe
from openvmas.train.joint.joint_trainer import JointOptions, begin_video, evaluate, train
from openvmas.train.joint.material import PackedMaterial
from openvmas.train.joint.pairs import MontagePairs, PairBatch, collate
from tests.generate.made import make_condition, make_models
from tests.generate.test_alignment import make_picture
from tests.train.made import STEPS, TINY, WIDTH, losses_of, make_bank, make_examples

pytestmark = pytest.mark.slow

FROZEN = replace(
    TINY, freeze_decoder=True, gated=True, share_music=0.0, share_montage=1.0, picture_events=1.0, only_picture=0.0,
    stand_in_weight=0.0, learning_rate=3e-2,
)  # fmt: skip


BANK, EXAMPLES = make_bank(), make_examples()
PACKED = PackedMaterial(EXAMPLES, EXAMPLES, (BANK, BANK))


@pytest.fixture
def batch() -> PairBatch:
    source, generator = MontagePairs(EXAMPLES, BANK, STEPS), np.random.default_rng(0)
    decoder = make_models()[1]
    clips = [source.draw(generator, STEPS, STEPS - decoder.config.n_codebooks + 1) for _ in range(5)]
    return collate(clips, decoder.config, 2.0, WIDTH)


def test_the_decoder_begins_as_itself_and_only_the_rest_learns(batch: PairBatch) -> None:
    torch.manual_seed(0)
    model = JointModel(FROZEN, make_models()[1], WIDTH)
    found = evaluate(model, [batch])
    assert found["full"] == found["full_blind"] == found["full_shuffled"]  # the gate is shut
    losses_of(model, batch, torch.ones(3, 5), FROZEN).total.backward()
    assert not [name for name, p in model.decoder.named_parameters() if p.grad is not None]
    assert model.video is not None and model.video.gate is not None and model.video.gate.grad is not None
    assert model.video.gate.grad.abs().sum() > 0  # it opens
    assert model.music.to_keys.weight.grad is not None and model.music_timed.first.weight.grad is not None
    with torch.no_grad():
        model.video.gate.fill_(1.0)
    opened = evaluate(model, [batch])
    assert opened["full_blind"] == found["full_blind"] and opened["full"] != opened["full_shuffled"] != found["full"]


def test_without_motion_only_features_are_seen(batch: PairBatch) -> None:
    """After a step, too: other curves give the same steps, other features do not."""
    torch.manual_seed(0)
    video = JointModel(replace(FROZEN, features_alone=True), make_models()[1], WIDTH).video
    assert video is not None
    with torch.no_grad():
        video.gate.fill_(1.0)  # pyright: ignore
    optimizer = torch.optim.AdamW([x for x in video.parameters() if x.requires_grad], lr=1e-2)
    features, curves = torch.randn(2, 5, WIDTH), torch.randn(2, 125, 4)
    video(features, curves).steps.square().mean().backward()
    optimizer.step()
    seen = video(features, curves)
    moved = video(features, curves.flip(1))
    assert torch.equal(seen.steps, moved.steps) and torch.equal(seen.embedding, moved.embedding)
    assert not torch.equal(seen.steps, video(features.flip(1), curves).steps)


@pytest.mark.parametrize("told", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_folded_vector_is_added_where_events_are_told(told: tuple[int, int], tmp_path: Path) -> None:
    path = Path(shutil.copy(find_weights("mini").file("condition"), tmp_path))
    generator = np.random.default_rng(0)
    vector = generator.normal(0, 0.2, 448)
    inputs = {
        "curves": generator.normal(size=(1, 50, 15)).astype(np.float32),
        "semantics": generator.normal(size=(1, 50, 70)).astype(np.float32),
        "use_events": np.array([told[0]], np.float32), "use_meaning": np.array([told[1]], np.float32),
    }  # fmt: skip
    before = run(open_graph(path, 1), inputs)[0]
    fold(path, vector)
    after = run(open_graph(path, 1), inputs)[0]
    assert after - before == pytest.approx(np.broadcast_to(told[0] * vector, before.shape), abs=1e-3)


def test_losses_are_those_of_a_decoder_that_is_not_frozen(batch: PairBatch) -> None:
    losses = []
    for recipe in (FROZEN, replace(FROZEN, freeze_decoder=False)):
        torch.manual_seed(0)
        model = JointModel(recipe, make_models()[1], WIDTH)
        model.eval()  # without dropout
        losses.append(losses_of(model, batch, torch.ones(3, 5), recipe))
    for name in ("codebooks", "contrastive", "onset", "reading"):
        assert torch.allclose(getattr(losses[0], name), getattr(losses[1], name), atol=1e-5), name


def test_a_run_is_exported_beside_the_decoder_it_began_from(tmp_path: Path) -> None:
    codec, decoder = make_models()
    export(codec, decoder, tmp_path / "plain", ExportOptions("plain", "1"))
    assert main(["train", "import", str(tmp_path / "plain"), str(tmp_path)]) == 0
    decoder, run, folder = load_decoder(str(tmp_path / "decoder.pt")), tmp_path / "run", tmp_path / "model"
    train(PACKED, run, FROZEN, JointOptions(float("inf"), start_from=str(tmp_path / "decoder.pt")))
    for name, value in load_decoder(str(run / "decoder.pt")).state_dict().items():
        assert torch.equal(value, decoder.state_dict()[name]), name
    gate = load_video_encoder(str(run / "video_encoder.pt")).gate
    assert gate is not None and gate.abs().max() > 0
    command = ["train", "export", str(tmp_path / "plain"), "-", str(folder), "--joint", str(run), "--span", str(STEPS)]
    assert main([*command, "--name", "seeing"]) == 0
    plain, seeing = find_weights(tmp_path / "plain"), find_weights(folder)
    assert seeing.name == "seeing" and seeing.files.keys() - plain.files.keys() == {"video_encoder"}
    for role in plain.files:  # a step costs what it did
        assert seeing.file(role).read_bytes() == plain.file(role).read_bytes()
    engine = Engine(find_weights(folder))
    condition = make_condition(STEPS)
    seen = np.concatenate(list(engine.encode_picture(replace(condition, picture=make_picture(STEPS)))))
    assert seen.shape == (STEPS, decoder.config.width) and np.abs(seen).max() > 0
    assert not list(engine.encode_picture(condition))
    other = tmp_path / "other"
    export(codec, Decoder(decoder.config), other, ExportOptions("other", "1"))
    with pytest.raises(ModelError, match=r"run has another decoder than other 1; give .*decoder\.pt in place of -"):
        export(find_weights(other), None, tmp_path / "no", ExportOptions(joint=str(run)))
    assert not (tmp_path / "no").exists()


def test_the_encoder_that_ships_is_begun_with() -> None:
    """All of it but what leads into the decoder, whose width is another; it reads pictures as the exported one does."""
    weights = find_weights("alignment")
    found, recipe = import_video_encoder(weights), JointRecipe(gated=True)
    picture = replace(make_picture(120), features=np.random.default_rng(0).normal(size=(5, 1280)).astype(np.float32))
    seen = PictureEncoder(weights).encode(picture, 0, 120)
    with torch.no_grad():
        again = found(torch.from_numpy(picture.features[None]), torch.from_numpy(picture.curves[None]))
    assert np.abs(seen.steps - again.steps[0].numpy()).max() < 1e-4
    assert seen.embedding @ again.embedding[0].numpy() == pytest.approx(1, abs=1e-5)
    begun = begin_video(recipe, "alignment", 448, 1280)
    assert begun is not None and begun.config.out_width == 448 and begun.gate is not None and not begun.gate.any()
    others = ("frames_out", "motion_out", "pool")  # of another width, and what one token a frame has no use for
    for name, value in found.state_dict().items():
        assert name.startswith(others) or torch.equal(value, begun.state_dict()[name]), name
    assert begin_video(replace(recipe, video="none"), "alignment", 448, 1280) is None
    with pytest.raises(InputError, match="reads 2 features of 1280 a second, but this run has encoder, 4 and 1280"):
        begin_video(replace(recipe, fps=4.0), "alignment", 448, 1280)
    with pytest.raises(ModelError, match=r"mini .* has no video encoder; give alignment"):
        begin_video(recipe, "mini", 448, 1280)


def test_a_run_goes_on_with_the_encoder_of_another(tmp_path: Path) -> None:
    train(PACKED, tmp_path / "first", replace(FROZEN, steps=2), JointOptions(float("inf")))
    path = tmp_path / "first" / "video_encoder.pt"
    begun = begin_video(FROZEN, str(path), 32, WIDTH)
    assert begun is not None
    for name, value in load_video_encoder(str(path)).state_dict().items():
        assert torch.equal(value, begun.state_dict()[name]), name
    train(PACKED, tmp_path / "second", replace(FROZEN, steps=2), JointOptions(float("inf"), video_from=str(path)))
    assert load_video_encoder(str(tmp_path / "second" / "video_encoder.pt")).config == begun.config


def test_the_recipe_goes_on_after_it_was_killed(tmp_path: Path) -> None:
    """The command as docs/TRAINING.md has it, with the sizes of the preset debug."""
    for name in ("music", "held-out"):
        EXAMPLES.save(tmp_path / f"{name}.npz", 4)
    BANK.save(tmp_path / "bank.npz")
    save_decoder(make_models()[1], str(tmp_path / "decoder.pt"))
    command = [
        sys.executable, "-m", "openvmas", "train", "run", str(tmp_path / "frozen.toml"), str(tmp_path), "RUN",
        "--bank", str(tmp_path / "bank.npz"), "--start-from", str(tmp_path / "decoder.pt"),
    ]  # fmt: skip
    recipes = Path(__file__).resolve().parents[2] / "recipes" / "train"
    shutil.copy(recipes / "joint-mini-frozen.toml", tmp_path)
    (tmp_path / "frozen.toml").write_text(
        "like = 'joint-mini-frozen.toml'\n[recipe]\npreset = 'debug'\nbatch = 4\nsteps_per_crop = 103\nqueue = 8\n"
        "steps = 6\nsave_every = 2\ntest_pairs = 3\nprecision = 'fp32'\n[run]\nlog_every = 1\n"
    )
    whole, killed = ([*command[:7], str(tmp_path / name), *command[8:]] for name in ("whole", "killed"))
    assert subprocess.run(whole, check=False, timeout=300).returncode == 0
    begun = subprocess.Popen(killed)
    deadline = time.monotonic() + 200
    while not (tmp_path / "killed" / "last.pt").exists() and time.monotonic() < deadline and begun.poll() is None:
        time.sleep(0.05)
    os.kill(begun.pid, signal.SIGKILL)
    begun.wait()
    assert subprocess.run(killed, check=False, timeout=300).returncode == 0
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "steps.jsonl").read_text().splitlines()]
        for name in ("whole", "killed")
    ]
    assert len(losses[0]) == 6 and losses[0] == losses[1]
    measured = json.loads((tmp_path / "killed" / "log.jsonl").read_text().splitlines()[-1])
    assert measured["step"] == 6 and {"full", "full_blind", "full_shuffled", "found_in_time"} <= measured.keys()
