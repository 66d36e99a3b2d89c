"""MusicGen's decoder from folders of tiny random weights: the logits of `transformers` itself."""

import shutil

import numpy as np
import pytest
import torch

from openvmas.condition import AXES, CURVES
from openvmas.errors import ModelError
from openvmas.generate.pattern import delay
from openvmas.hub.musicgen import MusicGenConfig, MusicGenDecoder, load_musicgen, open_decoder, text_states
from openvmas.model.alignment import unconditioned
from openvmas.model.decoder import Decoder, DecoderConfig, save_decoder

transformers = pytest.importorskip("transformers")

K, V, WIDTH = 4, 32, 24


def decoder_config(**changes: object) -> "transformers.MusicgenDecoderConfig":
    sizes = {
        "vocab_size": V, "hidden_size": WIDTH, "ffn_dim": 40, "num_hidden_layers": 3, "num_attention_heads": 3,
        "num_codebooks": K, "pad_token_id": V, "bos_token_id": V,
    }  # fmt: skip
    return transformers.MusicgenDecoderConfig(**(sizes | changes))


def shake(model: torch.nn.Module) -> None:
    """Weights large enough that every part matters."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.15)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple:
    model = transformers.MusicgenForCausalLM(decoder_config()).eval()
    shake(model)
    folder = tmp_path_factory.mktemp("alone")
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple:
    text = transformers.T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=30)
    codec = transformers.EncodecConfig(num_filters=2, hidden_size=8, codebook_size=V, num_lstm_layers=1)
    config = transformers.MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder_config())
    model = transformers.MusicgenForConditionalGeneration(config).eval()
    shake(model.decoder)
    shake(model.enc_to_dec_proj)
    folder = tmp_path_factory.mktemp("whole")
    model.save_pretrained(folder)
    return model, folder


def tokens_of(seed: int = 0, batch: int = 2, n_steps: int = 17) -> tuple[np.ndarray, torch.Tensor]:
    """Random codes and their tokens after our delay pattern."""
    codes = np.random.default_rng(seed).integers(0, V, (batch, K, n_steps))
    return codes, torch.from_numpy(delay(codes, V))


def nothing(decoder: MusicGenDecoder, tokens: torch.Tensor) -> torch.Tensor:
    return unconditioned(decoder, tokens.shape[0], tokens.shape[-1])  # pyright: ignore[reportArgumentType]


def test_logits_are_those_of_transformers(alone):
    model, folder = alone
    decoder = load_musicgen(folder)
    _, tokens = tokens_of()
    before = torch.cat([torch.full_like(tokens[..., :1], V), tokens[..., :-1]], -1)
    with torch.no_grad():
        expected = model(input_ids=before.flatten(0, 1)).logits.unflatten(0, (2, K))
        found = decoder(tokens, nothing(decoder, tokens))
    assert found.shape == (2, K, tokens.shape[-1], V) and expected.std() > 0.5
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_logits_with_text_are_those_of_transformers(whole):
    model, folder = whole
    decoder = load_musicgen(folder)
    assert decoder.config.text_width == 16
    _, tokens = tokens_of(1)
    words = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 1, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    before = torch.cat([torch.full_like(tokens[..., :1], V), tokens[..., :-1]], -1)
    with torch.no_grad():
        states = model.text_encoder(input_ids=words, attention_mask=mask).last_hidden_state
        expected = model(input_ids=words, attention_mask=mask, decoder_input_ids=before.flatten(0, 1)).logits
        found = decoder(tokens, nothing(decoder, tokens), states, mask)
    torch.testing.assert_close(found, expected.unflatten(0, (2, K)), atol=1e-4, rtol=0)
    assert (found - decoder(tokens, nothing(decoder, tokens))).abs().max() > 0.05  # the words are heard


def test_texts_become_states_of_its_text_encoder(whole, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    model, folder = whole
    shutil.copytree(folder, tmp_path / "whole")
    words = {"<pad>": 0, "<unk>": 1, "calm": 5, "piano": 6}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    fast.save_pretrained(tmp_path / "whole")
    states, mask = text_states(tmp_path / "whole", ["calm piano", "piano"])
    given = torch.tensor([[5, 6], [6, 0]])
    assert torch.equal(mask, (given > 0).long())
    with torch.no_grad():
        expected = model.text_encoder(input_ids=given, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(states, expected)


def test_no_text_is_musicgens_own_null_text(whole):
    """Zeros for the text encoder's states give the same as leaving cross-attention out, once past the projection."""
    model, folder = whole
    decoder = load_musicgen(folder)
    _, tokens = tokens_of(2)
    before = torch.cat([torch.full_like(tokens[..., :1], V), tokens[..., :-1]], -1)
    with torch.no_grad():
        zeros = torch.zeros(2, 4, WIDTH)
        expected = model.decoder(input_ids=before.flatten(0, 1), encoder_hidden_states=zeros).logits
        found = decoder(tokens, nothing(decoder, tokens))
    torch.testing.assert_close(found, expected.unflatten(0, (2, K)), atol=1e-4, rtol=0)


def test_the_delay_pattern_is_ours(alone):
    model, _ = alone
    codes, tokens = tokens_of(3, batch=1, n_steps=9)
    start = torch.full((K, 1), V)
    # transformers wants the length of all: the first column of empties, and every codebook shifted by its number.
    given, pattern = model.build_delay_pattern_mask(start, V, max_length=tokens.shape[-1] + 1)
    is_free = pattern[:, 1:] == -1
    ours = tokens[0] != V
    assert given.shape[-1] == 1 and torch.equal(is_free, ours)
    assert np.array_equal(tokens[0].numpy()[ours.numpy()].reshape(K, -1), codes[0])


def test_the_condition_speaks_once_its_gains_open(alone):
    decoder = load_musicgen(alone[1])
    _, tokens = tokens_of(4)
    shape = tokens.shape[0], tokens.shape[-1]
    generator = torch.Generator().manual_seed(1)
    curves = torch.randn(*shape, len(CURVES), generator=generator)
    semantics = torch.randn(*shape, 2 * len(AXES), generator=generator)
    condition = decoder.condition(curves, semantics, torch.ones(2), torch.ones(2))
    quiet = decoder(tokens, condition)
    torch.testing.assert_close(quiet, decoder(tokens, nothing(decoder, tokens)))
    (-quiet.log_softmax(-1)[..., 0]).mean().backward()
    gains = [layer.condition_gain for layer in decoder.layers]
    assert all(gain.grad is not None and gain.grad.abs().max() > 0 for gain in gains)
    with torch.no_grad():
        for gain in gains:
            gain.fill_(0.3)
    changed = condition.detach().clone()
    changed[:, 9:] *= -1
    loud, other = decoder(tokens, condition), decoder(tokens, changed)
    assert (loud - quiet).abs().max() > 0.05
    torch.testing.assert_close(other[:, :, :9], loud[:, :, :9])  # causal in the condition too
    assert (other - loud)[:, :, 9:].abs().max() > 0.05


def test_step_s_sees_tokens_before_s_only(alone):
    decoder = load_musicgen(alone[1])
    _, tokens = tokens_of(5)
    changed = tokens.clone()
    changed[:, :, 8] = (changed[:, :, 8] + 1) % V
    with torch.no_grad():
        a, b = (decoder(t, nothing(decoder, t)) for t in (tokens, changed))
    torch.testing.assert_close(a[:, :, :9], b[:, :, :9])
    assert (a - b)[:, :, 9:].abs().max() > 0.05


def test_saved_decoders_open_again(alone, tmp_path):
    decoder = load_musicgen(alone[1])
    with torch.no_grad():
        decoder.layers[0].condition_gain.fill_(0.2)  # pyright: ignore
    save_decoder(decoder, str(tmp_path / "decoder.pt"))  # pyright: ignore[reportArgumentType]
    found = open_decoder(tmp_path / "decoder.pt")
    assert isinstance(found, MusicGenDecoder) and found.config == decoder.config
    for key, value in decoder.state_dict().items():
        assert torch.equal(found.state_dict()[key], value)
    assert isinstance(open_decoder(alone[1]), MusicGenDecoder)
    ours = Decoder(DecoderConfig(codebook_size=8, width=16, n_layers=1, n_heads=2, n_groups=1, hidden=16))
    save_decoder(ours, str(tmp_path / "ours.pt"))
    assert isinstance(open_decoder(tmp_path / "ours.pt"), Decoder)


def test_wrong_folders_are_named_with_the_remedy(alone, whole, tmp_path):
    from safetensors.torch import load_file, save_file

    with pytest.raises(ModelError, match=r"give a decoder\.pt or a folder of MusicGen"):
        open_decoder(tmp_path / "none.pt")
    config = (alone[1] / "config.json").read_text()
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor"):
        load_musicgen(tmp_path)
    state = load_file(alone[1] / "model.safetensors")
    part = {key: value for key, value in state.items() if "layers.1.fc1" not in key}
    save_file(part, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="1 tensors are missing"):
        load_musicgen(tmp_path)
    save_file({key: v for key, v in state.items() if "embed_tokens" not in key}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="lacks the weights"):
        load_musicgen(tmp_path)
    (tmp_path / "config.json").write_text(config.replace('"gelu"', '"relu"'))
    with pytest.raises(ModelError, match="give musicgen-small"):
        load_musicgen(tmp_path)
    with pytest.raises(ModelError, match="no tokenizer"):
        text_states(whole[1], ["piano"])
    (tmp_path / "config.json").write_text('{"model_type": "encodec"}')
    with pytest.raises(ModelError, match="type encodec; give a folder with musicgen"):
        load_musicgen(tmp_path)


def test_weights_in_parts_and_in_pickles_load(alone, tmp_path):
    model, folder = alone
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text((folder / "config.json").read_text())
    torch.save(model.state_dict(), pickled / "pytorch_model.bin")
    expected = load_musicgen(folder).state_dict()
    for other in (tmp_path, pickled):
        found = load_musicgen(other).state_dict()
        assert all(torch.equal(found[key], value) for key, value in expected.items() if "condition" not in key)


def test_full_size_is_musicgen_small():
    """420 M parameters in the published decoder (300 M without tables, heads and cross-attention)."""
    with torch.device("meta"):
        decoder = MusicGenDecoder(MusicGenConfig())
    own = sum(p.numel() for name, p in decoder.named_parameters() if "condition" not in name and "text_in" not in name)
    layers = 24 * (8 * 1024**2 + 2 * 1024 * 4096 + 6 * 1024)
    assert own == layers + 4 * 2049 * 1024 + 4 * 2048 * 1024 + 2 * 1024
    assert own == pytest.approx(420e6, rel=0.01)
