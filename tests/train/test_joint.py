"""Joint training: pairs are aligned, nothing leaks, every part can be left out, a killed run goes on bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from openvmas.cli.main import main
from openvmas.data.montage.bank import Bank
from openvmas.data.montage.curves import analyze_montage
from openvmas.errors import InputError
from openvmas.model.alignment import unconditioned
from openvmas.model.decoder import load_decoder, save_decoder
from openvmas.model.video_encoder import load_video_encoder
from openvmas.train.decoder.examples import Examples
from openvmas.train.joint import joint_trainer
from openvmas.train.joint.joint_model import JointModel, JointRecipe
from openvmas.train.joint.joint_trainer import JointOptions, evaluate, train
from openvmas.train.joint.material import PackedMaterial
from openvmas.train.joint.pairs import (
    TEST_ROUND,
    MontagePairs,
    Music,
    PairBatch,
    PairPool,
    collate,
    counts_of,
    draw_distinct,
    montage_features,
    select_pictures,
    split_bank,
)
from openvmas.train.loop import Run, make_optimizers
from tests.train.made import STEPS, TINY, WIDTH, losses_of, make_bank, make_examples

pytestmark = pytest.mark.slow

ALIGNED = ["music.", "temperature.", "video_timed.", "music_timed.", "timed_temperature."]


@pytest.fixture(scope="module")
def bank() -> Bank:
    return make_bank()


@pytest.fixture(scope="module")
def examples() -> Examples:
    return make_examples()


@pytest.fixture
def batch(examples: Examples, bank: Bank) -> PairBatch:
    sources = [*[Music(examples)] * 2, *[MontagePairs(examples, bank, STEPS)] * 3]
    config, generator = JointModel(TINY).decoder.config, np.random.default_rng(0)
    clips = [source.draw(generator, STEPS, STEPS - config.n_codebooks + 1) for source in sources]
    return collate(clips, config, 2.0, WIDTH)


@pytest.fixture
def model() -> JointModel:
    torch.manual_seed(0)
    made = JointModel(TINY, feature_width=WIDTH)
    for parameter in made.parameters():  # layers begin as identities
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.1)
    return made


def test_a_batch_holds_what_its_sources_gave(batch):
    config = JointModel(TINY).decoder.config
    assert batch.n_pairs == 3 and batch.has_features.tolist() == [1, 1, 1, 0, 0]
    assert batch.tokens.shape == (5, 4, STEPS) and batch.features.shape == (5, 5, WIDTH)
    assert (batch.tokens[:, 3, :3] == config.codebook_size).all() and (batch.tokens[:, 0, :100] < 64).all()
    assert not batch.features[3:].any() and batch.features[:3].any()
    assert torch.equal(batch.picture[3:, :, 3], batch.picture[3:, :, 1])  # energy stands for motion


def test_pairs_are_of_the_same_span(examples, bank):
    source = MontagePairs(examples, bank, STEPS, picture_events=1.0)
    for seed in range(5):
        clip = source.draw(np.random.default_rng(seed), STEPS, 100)
        montage = source.montages.make(int(np.random.default_rng(seed).integers(2**31)))
        example = examples.examples[int(montage.music)]
        start = round(montage.start * 50)
        assert clip.piece == int(montage.music) and np.array_equal(clip.codes, example.codes[:, start : start + 100])
        assert np.array_equal(clip.onsets, example.events.accents[start : start + STEPS])
        # What the decoder is told and what the video encoder is given agree in time.
        told = clip.condition.events.accents
        assert np.array_equal(told > 0, clip.curves[:, 0] > 0) and told[told > 0].min() >= 0.45
        cuts = [p.time for p in montage.placed if p.kind == "cut" and 0.1 < p.time < 2]
        seen = np.flatnonzero(clip.curves[:, 0]) / 50
        assert all(np.abs(seen - cut).min() < 0.25 for cut in cuts)


def test_features_at_two_frames_a_second_are_those_of_the_analysis(examples, bank):
    montages = MontagePairs(examples, bank, 250).montages
    for index in range(8):
        montage = montages.make(index)
        analysis = analyze_montage(montage, bank)
        found = montage_features(montage, bank, 2.0, len(analysis.features))
        assert np.allclose(found, analysis.features, atol=2e-3)
        assert np.array_equal(montage_features(montage, bank, 4.0, 9)[::2], montage_features(montage, bank, 2.0, 5))


def test_held_out_pictures_are_never_trained_on(bank):
    training, held = split_bank(bank)
    assert sorted([*training.paths, *held.paths]) == sorted(bank.paths) and len(held) == 2
    part = select_pictures(bank, [4, 11])
    assert np.array_equal(part.features[:3], bank.features[12:15]) and part.is_footage(1) and not part.is_footage(0)
    assert np.array_equal(part.motion, bank.motion[25:]) and part.paths.tolist() == ["4.png", "11.png"]


def test_shares_become_whole_numbers():
    assert counts_of([0.5, 0.5], 12) == [6, 6]
    assert counts_of([0.5, 0.3, 0.2], 8) == [4, 2, 2] and counts_of([1, 0], 7) == [7, 0]
    with pytest.raises(InputError, match="one must be above zero"):
        counts_of([0, 0], 4)


def test_tests_ask_about_each_piece_once(examples, bank):
    clips = draw_distinct(MontagePairs(examples, bank, STEPS), 6, STEPS, JointModel(TINY).decoder.config, 1)
    assert sorted(clip.piece for clip in clips) == list(range(6))


def test_the_music_side_does_not_see_the_picture(model, batch):
    other = replace(
        batch, picture=batch.picture.flip(0), features=batch.features + 1, curves=batch.curves + 1,
        semantics=batch.semantics + 1, onsets=batch.onsets + 1,
    )  # fmt: skip
    model.eval()  # without dropout
    heard: list[torch.Tensor] = []
    for part in (model.music, model.music_timed):
        part.register_forward_hook(lambda _module, _inputs, result: heard.append(result))
    losses = [losses_of(model, one, torch.ones(3, 5), TINY).codebooks for one in (batch, other)]
    half = len(heard) // 2
    assert half == 2 and not torch.equal(losses[0], losses[1])  # all of them, and the moments of pairs
    assert all(torch.equal(a, b) for a, b in zip(heard[:half], heard[half:], strict=True))


def test_what_is_not_kept_is_not_told(model, batch):
    with torch.no_grad():
        told, _ = model.cond(batch, torch.zeros(3, 5))
        assert torch.allclose(told, unconditioned(model.decoder, 5, STEPS), atol=1e-5)
        alone, _ = model.cond(batch, torch.tensor([[0.0], [0.0], [1.0]]).expand(3, 5))
    assert not torch.allclose(told, alone, atol=1e-2)


@pytest.mark.parametrize(
    ("change", "silent"),
    [
        ({"contrastive_weight": 0.0, "stand_in_weight": 0.0}, ["music.", "temperature."]),
        ({"timed_weight": 0.0}, ["video_timed.", "music_timed.", "timed_temperature."]),
        ({"onset_weight": 0.0}, ["onsets."]),
        ({"video": "none"}, ALIGNED),
        ({"video": "mean"}, []),
        ({"video": "joint", "beat_weighting": 0.0}, []),
    ],
)
def test_every_part_can_be_left_out(batch, change, silent):
    recipe = replace(TINY, **change)
    torch.manual_seed(0)
    model = JointModel(recipe, feature_width=WIDTH)
    losses = losses_of(model, batch, torch.ones(3, 5), recipe)
    losses.total.backward()
    touched = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    for name, _ in model.named_parameters():
        if name.startswith((*ALIGNED, "onsets.")):
            assert (name in touched) != name.startswith(tuple(silent) or "-"), name
    assert (losses.onset == 0) == ("onsets." in silent) and (losses.contrastive == 0) == (silent == ALIGNED)


def test_beat_weighting_moves_the_loss_to_agreed_beats(model, batch):
    plain, weighted = (
        losses_of(model, batch, torch.ones(3, 5), replace(TINY, beat_weighting=gain)) for gain in (0.0, 4.0)
    )
    assert torch.equal(plain.codebooks, weighted.codebooks) and not torch.equal(plain.total, weighted.total)


def test_half_precision_is_close(model, batch):
    """What a GPU computes in; a dtype that does not fit would fail here."""
    model.eval()  # the queue stays as it is
    exact = losses_of(model, batch, torch.ones(3, 5), TINY)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = losses_of(model, batch, torch.ones(3, 5), TINY)
    mixed.total.backward()
    for name in ("total", "contrastive", "onset"):
        assert getattr(mixed, name).item() == pytest.approx(getattr(exact, name).item(), rel=0.03), name


@pytest.mark.parametrize("other", ["timed", "contrastive"])
def test_each_contrastive_part_shapes_what_it_is_made_of(model, batch, other):
    """Global embeddings shape decoder and video encoder, timed ones the motion branch and, by reading, the decoder."""
    recipe = replace(TINY, stand_in_weight=0.0, onset_weight=0.0, **{f"{other}_weight": 0.0})
    weights = model.loss_weights(batch, 5, recipe)
    passed = model(batch, torch.ones(3, 5), recipe, weights, 3, 5)
    (model.contrastive(passed.embeddings, batch.pieces, 3, recipe) + passed.reading).backward()
    shaped = [model.decoder.layers[0].to_qkv, model.video.motion.first]
    shaped += [model.video.layers[0].to_qkv] if other == "timed" else [model.music_timed.first]
    assert all(part.weight.grad.abs().sum() > 0 for part in shaped)


def test_who_is_told_what():
    recipe = replace(TINY, drop_events=0.2, drop_meaning=0.3, drop_picture=0.4, only_picture=0.5, drop_all=0.0)
    keep = joint_trainer.draw_keep(np.random.default_rng(0), recipe, 4000, 2000).numpy()
    assert np.allclose(keep[:, 2000:].mean(1), [0.8, 0.7, 0.6], atol=0.03)  # music
    assert np.allclose(keep[:, :2000].mean(1), [0.4, 0.35, 0.8], atol=0.03)  # pairs
    silent = joint_trainer.draw_keep(np.random.default_rng(0), replace(recipe, drop_all=0.5), 4000, 0).numpy()
    assert silent.any(0).mean() == pytest.approx(0.5 * (1 - 0.2 * 0.3 * 0.4), abs=0.03)
    no_video = joint_trainer.draw_keep(np.random.default_rng(0), replace(recipe, video="none"), 4000, 2000).numpy()
    assert np.allclose(no_video.mean(1), [0.8, 0.7, 0.6], atol=0.03)  # no clip is left with nothing by design


def test_copies_at_other_pitches_are_the_same_piece(examples, bank):
    twice = Examples([*examples.examples, *examples.examples], 6)
    generator = np.random.default_rng(0)
    for source in (Music(twice), MontagePairs(twice, bank, STEPS)):
        assert {source.draw(generator, STEPS, 100).piece for _ in range(40)} == set(range(6))


def test_unknown_video_kinds_are_refused():
    with pytest.raises(InputError, match="--video is encoder, joint, linear, mean or none, not tree"):
        JointModel(replace(TINY, video="tree"))


def test_too_short_music_is_refused(examples, bank):
    with pytest.raises(InputError, match=r"no track lasts 8\.1 s"):
        MontagePairs(examples, bank, 400)


def test_eight_pairs_are_learned_by_heart(examples, bank):
    """Afterwards each picture finds its own music, and only because of the contrastive part."""
    rng = np.random.default_rng(1)
    clips = [MontagePairs(examples, bank, STEPS).draw(rng, STEPS, 100) for _ in range(8)]
    clips = [replace(clip, piece=i) for i, clip in enumerate(clips)]
    found: dict[float, dict[str, float]] = {}
    for weight in (0.0, 1.0):
        recipe = replace(
            TINY, contrastive_weight=weight, timed_weight=weight, stand_in_weight=0.0, onset_weight=0.0, queue=1
        )
        torch.manual_seed(0)
        model = JointModel(recipe, feature_width=WIDTH)
        batch = collate(clips, model.decoder.config, 2.0, WIDTH)
        optimizers = make_optimizers(model, model.learned_layers, 5e-3, recipe.weight_decay).values()
        for _ in range(50 if weight else 10):
            losses = losses_of(model, batch, torch.ones(3, 8), recipe)
            model.zero_grad()
            losses.total.backward()
            for optimizer in optimizers:
                optimizer.step()
        found[weight] = evaluate(model, [batch])
    for name in ("found", "found_in_time"):
        assert found[1.0][name] == 1 and found[0.0][name] <= 0.5


def run(examples: Examples, bank: Bank, folder: Path, recipe: JointRecipe = TINY) -> dict[str, Any]:
    train(PackedMaterial(examples, examples, (bank, bank)), folder, recipe, JointOptions(float("inf")))
    return torch.load(folder / "last.pt", weights_only=True)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def test_a_killed_run_goes_on_bit_for_bit(examples, bank, tmp_path, monkeypatch):
    whole = run(examples, bank, tmp_path / "whole")
    update_ema: Callable[..., None] = joint_trainer.update_ema
    calls: list[int] = []

    def killed(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        update_ema(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(joint_trainer, "update_ema", killed)
        with pytest.raises(KeyboardInterrupt):
            run(examples, bank, tmp_path / "killed")
    assert torch.load(tmp_path / "killed" / "last.pt", weights_only=True)["step"] == 2
    resumed = run(examples, bank, tmp_path / "killed")
    for part in ("model", "averaged", "muon", "adam", "step"):
        assert same(whole[part], resumed[part]), part
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "killed")
    ]
    assert [{**x, "seconds": 0} for x in logs[0]][-1] == [{**x, "seconds": 0} for x in logs[1]][-1]
    assert whole["model"]["queue.count"] == 12 and {"full", "shuffled", "found"} <= logs[0][-1].keys()


def test_a_run_leaves_parts_that_load(examples, bank, tmp_path):
    state = run(examples, bank, tmp_path, replace(TINY, steps=2, fps=1.0))
    decoder, video = load_decoder(str(tmp_path / "decoder.pt")), load_video_encoder(str(tmp_path / "video_encoder.pt"))
    assert video.config.fps == 1.0 and video.config.out_width == decoder.config.width
    assert torch.equal(decoder.heads.weight, state["averaged"]["decoder.heads.weight"])
    parts = torch.load(tmp_path / "alignment.pt", weights_only=True)
    assert set(parts) == {"config", *(name.rstrip(".") for name in ALIGNED)}
    assert Run(tmp_path, 2, 1e9, "cpu").step == 2


def test_an_alignment_alone_is_trained_and_goes_on(tmp_path: Path, examples: Examples, bank: Bank) -> None:
    """The decoder stays; what is written is a run that can be exported, and a stopped one continues."""
    for name in ("music", "held-out"):
        examples.save(tmp_path / f"{name}.npz", 4)
    source = MontagePairs(examples, bank, STEPS)
    for name, n in (("train", 6), ("test", TEST_ROUND)):
        PairPool.build(source, n, STEPS, 1).save(tmp_path / f"{name}.npz")
    torch.manual_seed(1)
    decoder = JointModel(TINY).decoder
    save_decoder(decoder, str(tmp_path / "decoder.pt"))
    out = tmp_path / "out"
    command = ["train", "align", str(tmp_path), str(tmp_path), str(tmp_path / "decoder.pt"), str(out)]
    for _ in range(2):
        assert main([*command, "--preset", "debug", "--batch", "4", "--steps", "4"]) == 0
    for name, value in load_decoder(str(out / "decoder.pt")).state_dict().items():
        assert torch.equal(value, decoder.state_dict()[name])
    assert torch.load(out / "alignment.pt", weights_only=True).keys() >= {"music", "video_timed", "music_timed"}
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [0, 1, 2, 3, 4, 4] and {"meaning", "in time", "both"} <= log[-1].keys()
