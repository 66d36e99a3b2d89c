"""Losses, augmentation and adversaries of the codec against closed forms and PyTorch's own transforms."""

import numpy as np
import pytest
import torch

from openvmas.codec.autoencoder import CODEC_PRESETS, Codec
from openvmas.train.codec.augment import augment, gap, make_tones, read_changed
from openvmas.train.codec.calibrate import apply_gains, find_gains
from openvmas.train.codec.codec_trainer import CodecRecipe, Trainer
from openvmas.train.codec.losses import Discriminators, Overlap, SpectralLoss

RATE = 32_000


def test_gradient_of_overlapping_frames_is_exact():
    hops = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Overlap.apply, (hops,))


def test_transform_is_the_short_time_fourier_transform():
    wave = torch.randn(2, 8000)
    parts, power = SpectralLoss(RATE).transform(wave, 1024)
    window = torch.hann_window(1024)
    padded = torch.nn.functional.pad(wave, (512, 512 - 8000 % 256))
    wanted = torch.stft(padded, 1024, 256, window=window, center=False, return_complex=True) * (2 / window.sum())
    assert torch.allclose(torch.view_as_complex(parts), wanted.transpose(1, 2), atol=1e-5)
    assert torch.allclose(power, wanted.transpose(1, 2).abs().square() + 1e-10, atol=1e-6)


def test_mel_distance_of_a_gain_is_its_logarithm():
    wave = torch.randn(1, RATE)
    loss = SpectralLoss(RATE)
    assert loss(wave, 10 * wave)["mel"].item() == pytest.approx(1, abs=0.01)
    assert loss(wave, wave)["mel"].item() == 0 and loss(wave, -wave)["complex"].item() > 0.01


def test_drawn_scales_are_right_on_average():
    reference, estimated = torch.randn(1, RATE), torch.randn(1, RATE) * 0.3
    loss = SpectralLoss(RATE)
    wanted = loss(reference, estimated)
    torch.manual_seed(0)
    found = [loss(reference, estimated, drawn=2) for _ in range(60)]
    for name in wanted:
        mean = torch.stack([f[name] for f in found]).mean().item()
        assert mean == pytest.approx(wanted[name].item(), rel=0.1)


def test_another_speed_moves_a_tone_and_nothing_else():
    def tone(generator, length):
        return np.sin(2 * np.pi * 440 * np.arange(length) / RATE).astype(np.float32)

    pitches = []
    for seed in range(8):
        wave = read_changed(tone, np.random.default_rng(seed), RATE, RATE, semitones=2, eq_db=0)
        assert wave.shape == (RATE,) and 0.95 < np.abs(wave).max() < 1.05
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(RATE)))
        pitches.append(int(spectrum.argmax()))
        assert spectrum[pitches[-1] - 3 : pitches[-1] + 4].sum() > 0.95 * spectrum.sum()
    assert len(set(pitches)) > 4 and all(440 * 2 ** (-2.5 / 12) < p < 440 * 2 ** (2.5 / 12) for p in pitches)


def test_equaliser_stays_within_its_limits():
    noise = np.random.default_rng(5).standard_normal(200_000).astype(np.float32)
    wave = read_changed(lambda _, n: noise[:n], np.random.default_rng(1), RATE, RATE, semitones=0, eq_db=6)
    kept = noise[2048 : 2048 + RATE]
    gain = 20 * np.log10(np.abs(np.fft.rfft(wave)) / np.abs(np.fft.rfft(kept)))
    centre = np.convolve(gain, np.ones(500) / 500, "valid")
    assert np.abs(centre).max() < 7 and centre.max() - centre.min() > 2


def test_augmented_crops_do_not_clip():
    for seed in range(20):
        generator = np.random.default_rng(seed)
        loud = generator.uniform(-1, 1, 1000)
        assert np.abs(augment(loud, loud[::-1], generator)).max() <= 0.991


def test_made_tones_are_tonal_and_gaps_are_digital_silence():
    flatness, silent = [], []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        wave = make_tones(generator, RATE, RATE)
        assert wave.shape == (RATE,) and 0.02 < np.abs(wave).max() <= 1
        power = np.abs(np.fft.rfft(wave * np.hanning(RATE))) ** 2 + 1e-12
        flatness.append(np.exp(np.log(power).mean()) / power.mean())
        silent.append(np.mean(gap(np.ones(RATE), generator, RATE) == 0))
    assert max(flatness) < 0.05  # white noise has 0.56
    assert min(silent) < 0.3 and max(silent) == 1 and 0.2 < np.mean(silent) < 0.8


def test_adversaries_learn_to_tell_noise_from_tones_at_any_level():
    torch.manual_seed(0)
    adversaries = Discriminators((512,), width=8)
    optimizer = torch.optim.AdamW(adversaries.parameters(), lr=1e-3)
    time = torch.arange(8000) / RATE
    for _ in range(60):
        tones = torch.sin(2 * torch.pi * 300 * (1 + torch.rand(4, 1)) * time) * (0.1 + torch.rand(4, 1))
        loss = adversaries.discriminator_loss(0, tones, 0.3 * torch.randn(4, 8000))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    fooled, matching = adversaries.generator_loss(0, tones, tones)
    caught, other = adversaries.generator_loss(0, tones, 0.3 * torch.randn(4, 8000))
    assert fooled < 0.1 < caught and matching == 0 and other > 0.3


def test_an_unknown_size_is_named():
    with pytest.raises(ValueError, match="no colour"):
        CodecRecipe(sizes="colour=3").config()
    assert CodecRecipe(sizes="latent_width=32,head_width=0").config().latent_width == 32


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_with_adversaries_changes_codec_and_adversaries(optimizer):
    recipe = CodecRecipe(
        preset="debug",
        optimizer=optimizer,
        continuous_steps=0,
        adversary_from=0,
        precision="fp32",
        adversary_width=4,
        warmup=1,
    )
    trainer = Trainer(recipe, None)
    wave = 0.1 * torch.randn(2, 25_600)
    trainer.start_quantizer(iter([wave] * 100))
    before = [p.clone() for p in (*trainer.codec.parameters(), *trainer.adversaries.parameters())]
    for step in range(9):  # all adversaries get their turn
        torch.manual_seed(step)
        terms = trainer.step(wave, step, 0.5)
    assert {"mel", "complex", "waveform", "taught", "adversary", "matching", "commitment"} <= set(terms)
    assert all(torch.isfinite(value) for value in terms.values())
    after = [*trainer.codec.parameters(), *trainer.adversaries.parameters()]
    assert sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) > 0.8 * len(before)


def test_calibration_gives_a_soft_band_its_level_back():
    torch.manual_seed(0)
    codec = Codec(CODEC_PRESETS["debug"]).eval()
    torch.nn.init.normal_(codec.quantizer.codebooks)
    waves = 0.1 * torch.randn(4, 64_000)
    _, gains = find_gains(codec, waves, (8,))
    assert np.abs(gains).max() > 1
    before = [p.clone() for p in codec.parameters()]
    for _ in range(8):
        apply_gains(codec, *find_gains(codec, waves, (8,)))
    assert np.abs(find_gains(codec, waves, (8,))[1]).mean() < 0.3
    assert sum(not torch.equal(a, b) for a, b in zip(before, codec.parameters(), strict=True)) == 2
