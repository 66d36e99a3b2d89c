"""The MusicGen system with a tiny random checkpoint of the same classes: caption in, sound of the right length out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openvmas.eval.suites.cache import Cache
from openvmas.eval.suites.excerpt import prepare
from openvmas.eval.suites.suite import Clip
from openvmas.eval.systems.system import Setting, Task, open_system
from tests.clips import write_clip

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
tokenizers = pytest.importorskip("tokenizers")
RATE, VOCABULARY = 3200, 16


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("musicgen")
    torch.manual_seed(0)
    text = transformers.T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=30)
    codec = transformers.EncodecConfig(
        num_filters=2, hidden_size=8, codebook_size=VOCABULARY, codebook_dim=8, num_lstm_layers=1, sampling_rate=RATE,
        upsampling_ratios=[8, 4, 2, 1], target_bandwidths=[0.8],
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


def test_musicgen_is_a_system(weights: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 2.0)
    clip = Clip("s-clip", "s", tmp_path / "clip.mp4", None, caption="calm piano")
    task = Task(prepare(clip, Cache(tmp_path / "cache")), 3, tmp_path)
    system = open_system(f"musicgen:folder={weights}", Setting())
    made = system.make(task)
    assert made.sample_rate == RATE and made.wave.shape == (1, 2 * RATE) and np.isfinite(made.wave).all()
    assert np.array_equal(system.make(task).wave, made.wave)
    other = system.make(Task(task.excerpt, 4, tmp_path))
    assert other.wave.shape == made.wave.shape  # sixteen codes sound too much alike to tell seeds apart
