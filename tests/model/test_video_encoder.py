"""The video encoder: windows equal masked attention, padding is unseen, cost is linear, all kinds share one door."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from openvmas.model.video_encoder import (
    KINDS,
    VIDEO_PRESETS,
    MotionBranch,
    VideoEncoder,
    VideoEncoderConfig,
    attend_near,
    load_video_encoder,
    mean_around,
    read_at,
    save_video_encoder,
)

DEBUG = VIDEO_PRESETS["debug"]
STEPS = 25  # codec steps per frame at 2 fps


def encoder_of(config: VideoEncoderConfig) -> VideoEncoder:
    torch.manual_seed(0)
    encoder = VideoEncoder(config).eval()
    for parameter in encoder.parameters():  # layers begin as identities
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder


def video(n_frames: int, batch: int = 2, n_pooled: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(batch, n_frames, n_pooled, DEBUG.feature_width), torch.randn(batch, n_frames * STEPS, 4)


@pytest.mark.parametrize("length", [2, 3, 10, 23])
def test_blocks_equal_masked_attention(length):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, length, 8) for _ in range(3))
    shared_k, shared_v = torch.randn(2, 3, 2, 8), torch.randn(2, 3, 2, 8)
    valid = torch.arange(length) < torch.tensor([[length], [max(1, length - 4)]])
    window = 3
    distance = (torch.arange(length)[:, None] - torch.arange(length)).abs()
    is_hidden = (distance > window) | ~valid[:, None, None]
    scores = torch.cat([(q @ k.mT).masked_fill(is_hidden, -torch.inf), q @ shared_k.mT], dim=-1) / 8**0.5
    expected = scores.softmax(-1) @ torch.cat([v, shared_v], dim=2)
    assert torch.allclose(attend_near(q, k, v, shared_k, shared_v, valid, window), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_pooled", [1, 4])
def test_every_kind_has_the_same_door(kind, n_pooled):
    encoder = encoder_of(replace(DEBUG, kind=kind, n_pooled=n_pooled))
    encoded = encoder(*video(9, n_pooled=n_pooled))
    assert encoded.steps.shape == (2, 9 * STEPS, DEBUG.out_width)
    assert encoded.embedding.shape == (2, DEBUG.embedding)
    assert torch.allclose(encoded.embedding.norm(dim=-1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_beyond_the_last_frame_is_not_seen(kind):
    encoder = encoder_of(replace(DEBUG, kind=kind))
    features, curves = video(12)
    n_frames = torch.tensor([12, 7])
    noisy = features.clone()
    noisy[1, 7:] = 100
    a, b = encoder(features, curves, n_frames), encoder(noisy, curves, n_frames)
    assert torch.allclose(a.embedding, b.embedding, atol=1e-6) and torch.allclose(a.steps, b.steps, atol=1e-5)
    noisy[1, 6] = 100
    assert not torch.allclose(a.embedding[1], encoder(noisy, curves, n_frames).embedding[1], atol=1e-3)


def test_what_each_kind_can_tell_of_other_frames():
    features, curves = video(20, batch=1)
    changed = features.clone()
    changed[:, 0] += 3
    last = slice(15 * STEPS, None)  # five windows away
    moved = {}
    for kind in KINDS:
        encoder = encoder_of(replace(DEBUG, kind=kind))
        moved[kind] = (encoder(features, curves).steps - encoder(changed, curves).steps)[:, last].abs().max().item()
    assert moved["linear"] == 0
    assert min(moved["encoder"], moved["joint"], moved["mean"]) > 1e-3  # through the globals, too


def test_without_globals_the_window_is_the_horizon():
    encoder = encoder_of(replace(DEBUG, n_globals=0))
    features, curves = video(30, batch=1)
    changed = features.clone()
    changed[:, 0] += 3
    difference = (encoder(features, curves).steps - encoder(changed, curves).steps).abs().amax(dim=(0, 2))
    reach = DEBUG.n_layers * DEBUG.window
    assert difference[reach * STEPS] > 0 and difference[(reach + 1) * STEPS :].max() == 0


def test_a_moment_means_the_same_wherever_it_is():
    """Positions are relative: an encoder that sees windows only answers a shifted picture by shifted steps."""
    encoder = encoder_of(replace(DEBUG, n_globals=0))
    features, curves = video(40, batch=1)
    steps = encoder(features, curves).steps
    shifted = encoder(features[:, 10:], curves[:, 10 * STEPS :]).steps
    edge = DEBUG.n_layers * DEBUG.window + 2
    inside = slice(edge * STEPS, -STEPS)
    assert torch.allclose(steps[:, 10 * STEPS :][:, inside], shifted[:, inside], atol=1e-4)


def test_music_without_a_picture_ignores_features():
    encoder = encoder_of(DEBUG)
    features, curves = video(8)
    without = torch.zeros(2)
    a, b = encoder(features, curves, None, without), encoder(features + 1, curves, None, without)
    assert torch.equal(a.steps, b.steps) and torch.equal(a.embedding, b.embedding)
    other = encoder(features, curves + 1, None, without)
    assert not torch.allclose(a.embedding, other.embedding, atol=1e-4)  # the curves stand in


def test_steps_change_where_the_curves_do():
    encoder = encoder_of(replace(DEBUG, kind="linear"))
    _, curves = video(20, batch=1)
    changed = curves.clone()
    changed[:, 250] += 1
    difference = (encoder.motion(curves) - encoder.motion(changed)).abs().amax(dim=(0, 2))
    reach = 3 * (DEBUG.motion_kernel // 2)
    touched = difference.nonzero().flatten()
    assert touched.min() == 250 - reach and touched.max() == 250 + reach


def test_slower_curves_are_read_on_the_same_clock():
    slow = MotionBranch(replace(DEBUG, curve_rate=12.5))
    fast = MotionBranch(DEBUG)
    fast.load_state_dict(slow.state_dict())
    ramp = torch.arange(100.0)[None, :, None].expand(1, 100, 4) / 100
    answered = slow(ramp[:, ::4])
    assert answered.shape == (1, 100, DEBUG.motion_width)
    assert torch.allclose(answered[:, :80], fast(ramp)[:, :80], atol=1e-5)


def test_interpolation_and_means_in_time():
    values = torch.tensor([[[0.0], [10.0], [20.0], [99.0]]])
    read = read_at(values, torch.tensor([[-1.0, 0.5, 1.75, 2.0, 3.5]]), torch.tensor([3]))
    assert read.flatten().tolist() == [0, 5, 17.5, 20, 20]
    states = torch.arange(100.0)[None, :, None]
    # At 2 fps, frame 1 is at step 25: steps 12 (12.5 rounds to even) to 37.
    assert mean_around(states, 4, 2.0)[0, 1, 0] == pytest.approx(states[0, 12:38].mean().item())
    assert mean_around(states, 6, 2.0)[0, 5, 0] == 99  # beyond the end: what is there


def flops(config: VideoEncoderConfig, n_frames: int) -> int:
    with torch.device("meta"):
        encoder = VideoEncoder(config)
        features = torch.zeros(1, n_frames, config.n_pooled, config.feature_width)
        curves = torch.zeros(1, round(n_frames * 50 / config.fps), config.n_curves)
    with FlopCounterMode(display=False) as counter:
        encoder(features, curves)
    return counter.get_total_flops()


def test_cost_is_linear_and_far_below_joint_attention():
    config = replace(VIDEO_PRESETS["mini"], n_pooled=4)
    joint = replace(config, kind="joint")
    assert flops(config, 4096) / flops(config, 1024) == pytest.approx(4, rel=0.02)
    assert flops(joint, 4096) / flops(joint, 1024) > 10  # the counter sees attention
    assert flops(joint, 256) >= 5 * flops(config, 256)


def test_checkpoint_carries_its_sizes(tmp_path):
    encoder = encoder_of(replace(DEBUG, window=5, fps=4.0))
    save_video_encoder(encoder, str(tmp_path / "video.pt"))
    again = load_video_encoder(str(tmp_path / "video.pt"))
    assert again.config == encoder.config
    features, curves = video(8)
    for a, b in zip(encoder(features, curves[:, :100]), again(features, curves[:, :100]), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_its_graph_gives_the_same_at_any_length(kind, tmp_path):
    encoder, path = encoder_of(replace(DEBUG, kind=kind)), str(tmp_path / "video.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer speaks of every constant
        torch.onnx.export(
            encoder, video(10, batch=1), path, input_names=["features", "curves"], output_names=["steps", "embedding"],
            dynamic_axes={"features": {1: "F"}, "curves": {1: "M"}}, opset_version=17, dynamo=False,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(path)
    for n_frames in (3, 10, 31):
        features, curves = video(n_frames, batch=1)
        given = {"features": features.numpy(), "curves": curves.numpy()}
        with torch.no_grad():
            for expected, found in zip(encoder(features, curves), session.run(None, given), strict=True):
                assert np.allclose(expected.numpy(), found, atol=1e-4)


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="kind must be one of encoder, joint, linear, mean, not tree"):
        VideoEncoder(replace(DEBUG, kind="tree"))
