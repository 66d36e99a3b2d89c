"""EnCodec from folders of tiny random weights: the codes and waves of `transformers` itself."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from openvmas.errors import ModelError
from openvmas.hub.encodec import load_encodec

transformers = pytest.importorskip("transformers")

# The settings of encodec_32khz but for its sizes.
SIZES = {
    "sampling_rate": 32_000, "upsampling_ratios": [8, 5, 4, 4], "num_filters": 4, "hidden_size": 16,
    "codebook_size": 64, "target_bandwidths": [1.2], "use_causal_conv": False, "use_conv_shortcut": False,
    "num_lstm_layers": 1, "compress": 2,
}  # fmt: skip


def save(folder: Path, **changes: object) -> "transformers.EncodecModel":
    torch.manual_seed(3)
    model = transformers.EncodecModel(transformers.EncodecConfig(**(SIZES | changes))).eval()
    with torch.no_grad():  # tables start as zeros: every code would be 0
        states = model.encoder(torch.randn(1, model.config.audio_channels, 64 * 640) * 0.2)[0].T
        for k, level in enumerate(model.quantizer.layers):
            level.codebook.embed.copy_(states[torch.randperm(64)] if k == 0 else states.std(0) * torch.randn(64, 16))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("n_samples", [6400, 6401])
def test_codes_and_wave_are_those_of_transformers(n_samples, tmp_path):
    model, codec = save(tmp_path), load_encodec(tmp_path)
    wave = torch.randn(2, n_samples, generator=torch.Generator().manual_seed(4)) * 0.2
    with torch.no_grad():
        expected = model.encode(wave[:, None], bandwidth=1.2)
        back = model.decode(expected.audio_codes, expected.audio_scales).audio_values[:, 0]
    codes = codec.encode(wave)
    assert torch.equal(codes, expected.audio_codes[0]) and len(codes.unique()) > 20
    assert codes.shape == (2, codec.config.n_codebooks, -(-n_samples // 640))
    found = codec.decode(codes)
    assert found.shape == (2, codes.shape[2] * 640)
    torch.testing.assert_close(found[:, : back.shape[1]], back, atol=1e-5, rtol=1e-5)
    assert torch.equal(codec.encode(wave, 2), codes[:, :2])
    assert codec.decode(codes[:, :2]).shape == found.shape


def test_its_sizes_are_those_a_trainer_asks_for(tmp_path):
    save(tmp_path)
    config = load_encodec(tmp_path).config
    assert (config.sample_rate, config.hop_length, config.n_codebooks, config.codebook_size) == (32_000, 640, 4, 64)
    assert config.frame_rate == Fraction(50)


def save_musicgen(folder, n_layers):
    """A tiny MusicGen with random weights in folder / "whole", the codec inside it alone in folder / "codec"."""
    codec = save(folder / "codec")
    decoder = transformers.MusicgenDecoderConfig(
        vocab_size=64, hidden_size=16, ffn_dim=16, num_hidden_layers=n_layers, num_attention_heads=2, pad_token_id=64,
        bos_token_id=64,
    )  # fmt: skip
    text = transformers.T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=20)
    config = transformers.MusicgenConfig(text_encoder=text, audio_encoder=codec.config, decoder=decoder)
    whole = transformers.MusicgenForConditionalGeneration(config)
    whole.audio_encoder.load_state_dict(codec.state_dict())
    whole.save_pretrained(folder / "whole")


def test_the_codec_inside_musicgen(tmp_path):
    save_musicgen(tmp_path, n_layers=1)
    wave = torch.randn(1, 6400, generator=torch.Generator().manual_seed(5)) * 0.2
    found = load_encodec(tmp_path / "whole")
    assert torch.equal(found.encode(wave), load_encodec(tmp_path / "codec").encode(wave))


def test_weights_under_older_names_load(tmp_path):
    """Published files name the two parts of a weight-normalised matrix weight_g and weight_v."""
    model = save(tmp_path)
    from safetensors.torch import load_file, save_file

    old = {"original0": "weight_g", "original1": "weight_v"}
    state = {
        key.replace(f"parametrizations.weight.{key.rsplit('.', 1)[1]}", old.get(key.rsplit(".", 1)[1], "")): value
        for key, value in load_file(tmp_path / "model.safetensors").items()
    }
    assert any(key.endswith("weight_g") for key in state)
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    wave = torch.randn(1, 6400, generator=torch.Generator().manual_seed(6)) * 0.2
    with torch.no_grad():
        expected = model.encode(wave[:, None], bandwidth=1.2).audio_codes[0]
    np.testing.assert_array_equal(load_encodec(tmp_path).encode(wave), expected)


def test_other_kinds_are_refused(tmp_path):
    save(tmp_path, audio_channels=2, normalize=True)
    with pytest.raises(ModelError, match="give the mono one of MusicGen"):
        load_encodec(tmp_path)
