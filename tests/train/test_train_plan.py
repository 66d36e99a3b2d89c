"""The plan counts what the networks do: against closed forms for one decoder, and by hand for the arithmetic."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from openvmas.cli.main import main
from openvmas.errors import OptionError
from openvmas.model.decoder import DECODER_PRESETS, Decoder, DecoderConfig
from openvmas.model.video_encoder import VIDEO_PRESETS, VideoEncoder
from openvmas.train.joint.joint_model import JointModel, JointRecipe
from openvmas.train.resource_plan import ModelCounts, ResourceOptions, count, estimate, make_plan, parts_of

pytestmark = pytest.mark.slow


def decoder_flops(config: DecoderConfig, n_steps: int) -> float:
    """Products of a forward pass over one clip, by hand: two operations a weight and step, and attention."""
    width, heads = config.width, config.n_heads * config.head_width
    layer = width * (heads + 2 * config.n_groups * config.head_width) + width * width + 3 * width * config.hidden
    outside = config.n_codebooks * config.codebook_size * width
    total = 2.0 * n_steps * (config.n_layers * layer + outside)
    for i in range(config.n_layers):
        window = config.window(i)
        blocks = -(-n_steps // window)
        total += 2 * 2.0 * heads * blocks * window * 2 * window  # scores and sums, over this block and the last
    return total


@pytest.mark.parametrize("name", ["mini", "base", "large"])
def test_flops_of_the_decoder_are_those_of_its_formula(name):
    config = DECODER_PRESETS[name]
    with torch.device("meta"):
        decoder = Decoder(config)
        tokens = torch.zeros(1, config.n_codebooks, 300, dtype=torch.int64)
        condition = torch.zeros(1, 300, config.width)
        with FlopCounterMode(display=False) as counter:
            decoder(tokens, condition)
    assert counter.get_total_flops() == decoder_flops(config, 300)


def test_presets_have_the_sizes_they_are_named_for():
    found = {}
    with torch.device("meta"):
        for name in ("mini", "base", "large"):
            decoder, video = Decoder(DECODER_PRESETS[name]), VideoEncoder(VIDEO_PRESETS[name])
            found[name] = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (decoder, video)]
            assert DECODER_PRESETS[name].width == VIDEO_PRESETS[name].out_width
            assert DECODER_PRESETS[name].head_width * DECODER_PRESETS[name].n_heads == DECODER_PRESETS[name].width
    assert found["mini"] == pytest.approx([22.1, 2.2], abs=0.05)
    assert found["base"] == pytest.approx([299.6, 20.7], abs=0.05)
    assert found["large"] == pytest.approx([1544.9, 59.5], abs=0.05)


@pytest.fixture(scope="module")
def counted() -> ModelCounts:
    return count(ResourceOptions(preset="debug", seconds=4.0, feature_width=16))


def test_what_is_counted_is_what_a_step_does(counted):
    recipe = JointRecipe(preset="debug", steps_per_crop=200)
    model = JointModel(recipe, feature_width=16)
    assert counted.parameters == sum(p.numel() for p in model.parameters())
    decoder = decoder_flops(DECODER_PRESETS["debug"], 200)
    # Told and untold, forward and twice as much back; the rest, much at this size, is video encoder and condition.
    assert 6 * decoder < counted.flops < 12 * decoder
    batch = 8 * 4 * 200 + 2 * 8 + 4 * (200 * (15 + 70 + 1 + 4) + 8 * 16 + 1)
    assert counted.tensor_bytes == batch
    # At the least: every layer's input, and its hidden layer, twice (told, untold).
    assert counted.activation_bytes > 2 * 4 * 200 * (2 * 4 * 32 + 2 * 2 * 64)


OPTIONS = ResourceOptions(
    clips=1000, hours=100.0, seconds=10.0, batch=64, peak=100.0, mfu=0.5, memory=10.0, reserve=1.0, network=10.0,
    stored=2000.0,
)  # fmt: skip
MADE = ModelCounts(
    flops=1e12, activation_bytes=1e9, tensor_bytes=5e5, parameters=200_000_000, matrices=150_000_000, largest=10_000_000
)


def test_the_arithmetic_is_that_of_the_formulas():
    assert MADE.state_bytes == 4 * (200e6 * 3 + 150e6 + 2 * 50e6) == 3.4e9
    costs = estimate(OPTIONS, MADE, 8)
    assert costs.whole_gb == pytest.approx(3.4) and costs.shared_gb == pytest.approx(3.4 / 8 + 0.08)
    assert costs.whole_parts == 2 and costs.shared_parts == 1  # 8 clips each; 5 fit, or 8
    assert costs.step_seconds == pytest.approx(64 * 1e12 / (8 * 100e12 * 0.5))  # 0.16 s
    assert costs.steps == pytest.approx(100 * 3600 / 10 / 64)
    assert costs.epoch_days == pytest.approx(100 * 3600 / 10 * 1e12 / (8 * 100e12 * 0.5) / 86_400)
    assert costs.stored_rate == pytest.approx(64 / 0.16 * 10 * 2000)
    assert costs.tensor_rate == pytest.approx(64 / 0.16 * 5e5)
    assert costs.whole_sent == pytest.approx(2 * 7 / 8 * 8e8) and costs.shared_sent == pytest.approx(3 * 7 / 8 * 8e8)
    more = estimate(OPTIONS, MADE, 64)
    assert more.step_seconds == pytest.approx(costs.step_seconds / 8) and more.whole_parts == 1
    small = replace(OPTIONS, memory=4.5)
    assert parts_of(small, MADE, 3.4, 8) is None and estimate(small, MADE, 8).shared_parts == 4
    with pytest.raises(OptionError, match="a batch of 64 does not divide among 48 GPUs"):
        estimate(OPTIONS, MADE, 48)


def test_the_table_says_what_was_assumed(capsys):
    text = make_plan(ResourceOptions(preset="debug", batch=64), (8, 16))
    assert re.search(r"2,200,000 clips, 47,000 h: \S+ FLOP an epoch, 0\.\d+ TB", text)
    assert "989 TFLOP/s at 35%" in text and len(re.findall(r"^ +(8|16) ", text, re.M)) == 2
    assert main(["train", "plan", "--preset", "debug", "--gpus", "4", "--mfu", "0.5"]) == 0
    assert "at 50%" in capsys.readouterr().out
    for wrong in (["--mfu", "2"], ["--preset", "giant"], ["--gpus", "0"], ["--batch", "7"]):
        assert main(["train", "plan", *wrong]) == 2
    assert "choose from" in capsys.readouterr().err
