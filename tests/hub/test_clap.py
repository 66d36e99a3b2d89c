"""CLAP from a folder of tiny random weights: the embeddings of `transformers` itself."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from openvmas.errors import ModelError
from openvmas.hub.clap import Clap

transformers = pytest.importorskip("transformers")

RATE, SPAN = 8000, 1  # Hz, s of a window
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "piano", "drums", "calm", "dark"]


def save(folder: Path, fusion: bool = False, padding: str = "repeatpad") -> tuple:
    torch.manual_seed(5)
    audio = {
        "window_size": 4, "num_mel_bins": 16, "spec_size": 64, "patch_size": 4, "patch_stride": [4, 4],
        "hidden_size": 32, "depths": [1, 1], "num_attention_heads": [2, 2], "num_hidden_layers": 2,
        "patch_embeds_hidden_size": 16, "num_classes": 4, "enable_fusion": fusion, "aff_block_r": 2,
        "enable_patch_fusion": fusion, "fusion_num_hidden_layers": 2, "fusion_type": "aff_2d" if fusion else None,
    }  # fmt: skip
    text = {
        "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "max_position_embeddings": 20, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
    }  # fmt: skip
    config = transformers.ClapConfig(audio_config=audio, text_config=text, projection_dim=12, hidden_size=32)
    model = transformers.ClapModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    extractor = transformers.ClapFeatureExtractor(
        feature_size=16, sampling_rate=RATE, hop_length=80, max_length_s=SPAN, fft_window_size=256,
        frequency_max=4000, truncation="fusion" if fusion else "rand_trunc", padding=padding,
    )  # fmt: skip
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])  # pyright: ignore
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    fast.save_pretrained(folder)
    return model, extractor, fast


def sound(n: int) -> np.ndarray:
    times = np.arange(n) / RATE
    noise = np.random.default_rng(1).normal(0, 0.05, n)
    return (0.3 * np.sin(2 * np.pi * (300 + 400 * times) * times) + noise).astype(np.float32)


@pytest.mark.parametrize("fusion", [False, True])
def test_windows_are_heard_as_by_transformers(fusion, tmp_path):
    model, extractor, _ = save(tmp_path, fusion)
    wave = sound(2 * RATE)
    found = Clap.open(tmp_path).embed(wave, RATE)
    assert found.embeddings.shape == (3, 12) and found.logits.shape == (3, 0)
    np.testing.assert_allclose(found.times, [0.5, 1.0, 1.5])
    for start, embedding in zip([0, RATE // 2, RATE], found.embeddings, strict=True):
        inputs = extractor(wave[start : start + RATE], sampling_rate=RATE, return_tensors="pt")
        with torch.no_grad():  # is_longer is drawn by the extractor; a window of exactly the length is not longer
            expected = model.get_audio_features(inputs["input_features"], is_longer=torch.zeros(1, 1).bool())
        np.testing.assert_allclose(embedding, expected.pooler_output[0].numpy(), atol=1e-5)
    assert np.abs(found.embeddings[0] - found.embeddings[2]).max() > 1e-3


@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
@pytest.mark.parametrize("n", [1500, 7999])
def test_short_sounds_are_lengthened_as_by_the_extractor(padding, n, tmp_path):
    model, extractor, _ = save(tmp_path, padding=padding)
    wave = sound(n)
    inputs = extractor(wave, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        expected = model.get_audio_features(**inputs).pooler_output.numpy()
    np.testing.assert_allclose(Clap.open(tmp_path).embed(wave, RATE).embeddings, expected, atol=1e-5)


def test_words_and_sound_share_a_space(tmp_path):
    model, extractor, tokenizer = save(tmp_path)
    clap, texts = Clap.open(tmp_path), ["calm piano", "dark", "drums drums drums"]
    with torch.no_grad():
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        expected = model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output.numpy()
    found = clap.embed_texts(texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(clap.embed_texts(texts[1:2]), found[1:2], atol=1e-5)  # padding is not heard
    wave = sound(RATE)
    with torch.no_grad():
        heard = extractor(wave, sampling_rate=RATE, return_tensors="pt")
        out = model(**inputs, **heard)
    cosine = out.logits_per_audio[0] / model.logit_scale_a.exp()
    np.testing.assert_allclose(clap.similarity(wave, RATE, texts), cosine.detach().numpy(), atol=1e-5)


def test_other_rates_are_resampled_and_shapes_checked(tmp_path):
    save(tmp_path)
    clap = Clap.open(tmp_path)
    assert clap.sample_rate == RATE and clap.span == SPAN
    assert len(clap.embed(sound(int(2.2 * RATE)), RATE).times) == 4  # the last window ends with the wave
    assert clap.embed(np.zeros(3 * 16_000, np.float32), 16_000).embeddings.shape == (5, 12)
    with pytest.raises(ValueError, match="mono"):
        clap.embed(np.zeros((2, 100), np.float32), RATE)


def test_what_is_missing_is_named(tmp_path):
    save(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    clap = Clap.open(tmp_path)
    assert clap.embed(sound(RATE), RATE).embeddings.shape == (1, 12)
    with pytest.raises(ModelError, match="holds no tokenizer"):
        clap.embed_texts(["piano"])
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"lacks preprocessor_config\.json"):
        Clap.open(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    with pytest.raises(ModelError, match="give a folder with clap"):
        Clap.open(tmp_path)
