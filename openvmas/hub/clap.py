"""CLAP (Wu et al. 2023, arXiv:2211.06687), a folder as `transformers` saves it: sound and words in one space.

Read here: laion/clap-htsat-unfused, laion/larger_clap_music and their like (`ClapModel`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openvmas.errors import ModelError
from openvmas.hub.checkpoint_files import load_pretrained, load_tokenizer, transformers_library
from openvmas.hub.sound_windows import Adapter, no_logits


class Clap(Adapter):
    """Windows as long as the model was trained on (10 s), half overlapping, so that nothing is cropped at random.

    A shorter wave is repeated and then padded, as the model's own extractor does it.
    """

    def __init__(self, model: Any, extractor: Any, tokenizer: Any = None, device: str = "cpu", batch: int = 8) -> None:
        super().__init__(model, device, batch)
        self.extractor, self.tokenizer = extractor, tokenizer
        self.sample_rate = extractor.sampling_rate
        self.span = extractor.nb_max_samples / self.sample_rate
        self.hop = self.span / 2

    @classmethod
    def open(cls, path: str | Path) -> Clap:
        """Load a folder; without a tokenizer in it there are no words, only sound. Raises ModelError."""
        folder = Path(path)
        model = load_pretrained(folder, {"clap": "ClapModel"})
        library = transformers_library()
        try:
            extractor = library.ClapFeatureExtractor.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError) as error:
            raise ModelError(f"{folder} lacks preprocessor_config.json; download the whole folder again.") from error
        return cls(model, extractor, load_tokenizer(folder))

    def lengthen(self, wave: np.ndarray, size: int) -> np.ndarray:
        if self.extractor.padding == "repeatpad" and len(wave):
            wave = np.tile(wave, size // len(wave))
        elif self.extractor.padding == "repeat" and len(wave):
            wave = np.tile(wave, size // len(wave) + 1)[:size]
        return np.pad(wave, (0, size - len(wave)))

    def forward_windows(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.extractor(list(windows.numpy()), sampling_rate=self.sample_rate, return_tensors="np")
        mel = torch.from_numpy(np.stack(seen["input_features"])).float().to(self.device)
        # The extractor marks one window of a batch as longer than 10 s at random; none is.
        is_longer = torch.zeros(len(mel), 1, dtype=torch.bool, device=self.device)
        pooled = self.network.audio_model(input_features=mel, is_longer=is_longer).pooler_output
        found = torch.nn.functional.normalize(self.network.audio_projection(pooled), dim=-1)
        return found, no_logits(found)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings of length 1 of texts: [N, D]. Raises ModelError if the folder holds no tokenizer."""
        if self.tokenizer is None:
            raise ModelError("this CLAP folder holds no tokenizer; add tokenizer.json from where the weights are from.")
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(self.device)
        pooled = self.network.text_model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
        return torch.nn.functional.normalize(self.network.text_projection(pooled), dim=-1).cpu().numpy()

    def similarity(self, wave: np.ndarray, sample_rate: int, texts: Sequence[str]) -> np.ndarray:
        """Similarity of each text to a mono wave [L]: mean cosine over windows, [N] in [-1, 1] (the CLAP score)."""
        return (self.embed(wave, sample_rate).embeddings @ self.embed_texts(texts).T).mean(axis=0)
