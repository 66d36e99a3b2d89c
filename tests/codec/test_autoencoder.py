import copy

import pytest
import torch

from openvmas.codec.autoencoder import CODEC_PRESETS, Codec, load_codec, save_codec
from openvmas.codec.quantizer import ResidualQuantizer


@pytest.fixture
def codec() -> Codec:
    torch.manual_seed(0)
    codec = Codec(CODEC_PRESETS["debug"]).eval()
    torch.nn.init.normal_(codec.quantizer.codebooks)
    return codec


def test_frames_without_a_network_give_the_wave_back(codec):
    wave = 0.1 * torch.randn(2, 640 * 40)
    config = codec.config
    padded = torch.nn.functional.pad(wave, (codec.margin, codec.margin))
    frames = padded.unfold(-1, config.window_length, config.hop_length) * codec.window
    spectrum = torch.view_as_real(torch.fft.rfft(frames) / 16).flatten(-2)
    inner = slice(2560, -2560)
    assert torch.allclose(codec.synthesize(spectrum)[:, inner], wave[:, inner], atol=1e-6)


def test_shapes_and_fewer_codebooks(codec):
    wave = 0.1 * torch.randn(2, 640 * 25)
    codes = codec.encode(wave)
    assert codes.shape == (2, 8, 25) and codes.max() < codec.config.codebook_size
    assert codec.decode(codes).shape == wave.shape
    assert codec.decode(codes[:, :3]).shape == wave.shape
    assert torch.equal(codec.encode(wave, n_codebooks=3), codes[:, :3])


def test_the_future_beyond_the_stated_look_ahead_changes_nothing(codec):
    codes = torch.randint(0, codec.config.codebook_size, (1, 8, 60))
    changed = codes.clone()
    changed[:, :, 40:] = 0
    look_ahead = codec.config.look_ahead * codec.config.decoder_blocks
    # The frames before 40 - look_ahead are the same; the window reaches `margin` samples beyond its hop.
    safe = (40 - look_ahead) * codec.config.hop_length - codec.margin
    a, b = codec.decode(codes)[:, :safe], codec.decode(changed)[:, :safe]
    assert torch.equal(a, b)
    assert not torch.equal(codec.decode(codes), codec.decode(changed))


def test_checkpoint_carries_its_sizes(codec, tmp_path):
    save_codec(codec, str(tmp_path / "codec.pt"))
    again = load_codec(str(tmp_path / "codec.pt"))
    codes = torch.randint(0, 64, (1, 8, 10))
    assert again.config == codec.config
    assert torch.equal(again.decode(codes), codec.decode(codes))


def test_quantizer_finds_planted_clusters():
    torch.manual_seed(1)
    centres = 5 * torch.randn(16, 8)
    points = centres[torch.randint(16, (4000,))] + 0.01 * torch.randn(4000, 8)
    quantizer = ResidualQuantizer(2, 64, 8)
    quantizer.initialize(points)
    latent = points[None]
    error = (quantizer.decode(quantizer.encode(latent)) - latent).square().mean()
    assert error < 1e-3 * points.var()


def test_each_level_lowers_the_error_and_training_follows_the_data():
    torch.manual_seed(2)
    quantizer = ResidualQuantizer(4, 32, 8, decay=0.5).train()
    quantizer.initialize(torch.randn(4000, 8))
    moved = torch.randn(1, 4000, 8) + 3  # the data move away: the codebooks have to follow
    before = (quantizer.decode(quantizer.encode(moved)) - moved).square().mean()
    for _ in range(20):
        _, commitment = quantizer(moved)
    codes = quantizer.encode(moved)
    errors = [(quantizer.decode(codes[:, :k]) - moved).square().mean().item() for k in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * before
    assert commitment == pytest.approx(errors[-1], rel=0.2)


def test_gradient_passes_straight_through():
    quantizer = ResidualQuantizer(2, 16, 4).train()
    quantizer.initialize(torch.randn(500, 4))
    latent = torch.randn(1, 20, 4, requires_grad=True)
    quantized, _ = quantizer(latent)
    quantized.sum().backward()
    assert torch.allclose(latent.grad, torch.ones_like(latent))


def test_levels_that_are_dropped_learn_all_the_same():
    torch.manual_seed(0)
    full = ResidualQuantizer(4, 16, 4).train()
    full.initialize(torch.randn(500, 4))
    short, before = copy.deepcopy(full), full.codebooks.clone()
    for step in range(20):
        latent = torch.randn(1, 20, 4)
        found = []
        for quantizer, dropout in ((full, 0.0), (short, 1.0)):
            torch.manual_seed(step)
            found.append(quantizer(latent, dropout=dropout)[0])
        assert not torch.equal(*found)  # with dropout the last level is never in what is decoded
    assert torch.isfinite(short.codebooks).all() and all(torch.isfinite(x).all() for x in found)
    assert torch.equal(short.codebooks, full.codebooks)
    assert (short.codebooks - before).abs().amax((1, 2)).min() > 0.01  # of every level, the last one too
