"""A tiny MusicGen with random weights, whole: words in, sound out."""

from __future__ import annotations

from pathlib import Path

import pytest

RATE, VOCABULARY = 3200, 16  # Hz of its codec, 50 steps a second; entries of a codebook


def write_musicgen(folder: Path) -> Path:
    """A folder as `transformers` saves it. Skips the test where the library is missing."""
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    tokenizers = pytest.importorskip("tokenizers")
    torch.manual_seed(0)
    text = transformers.T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=30)
    codec = transformers.EncodecConfig(
        num_filters=2, hidden_size=8, codebook_size=VOCABULARY, codebook_dim=8, num_lstm_layers=1, sampling_rate=RATE,
        upsampling_ratios=[8, 4, 2, 1], target_bandwidths=[0.4],
    )  # fmt: skip
    decoder = transformers.MusicgenDecoderConfig(
        vocab_size=VOCABULARY, num_hidden_layers=1, ffn_dim=16, num_attention_heads=2, hidden_size=16, num_codebooks=2,
        pad_token_id=VOCABULARY, bos_token_id=VOCABULARY,
    )  # fmt: skip
    config = transformers.MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder)
    model = transformers.MusicgenForConditionalGeneration(config).eval()
    for name in ("decoder_start_token_id", "pad_token_id", "bos_token_id"):
        setattr(model.generation_config, name, VOCABULARY)
    model.save_pretrained(folder)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    transformers.EncodecFeatureExtractor(feature_size=1, sampling_rate=RATE).save_pretrained(folder)
    return folder
