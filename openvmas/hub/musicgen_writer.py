"""MusicGen as published (Copet et al. 2023), through `transformers`: from words, and music to go on from, to sound.

Pieces longer than a window are written by continuation: each window begins with the end of the last one, which is cut
away again, as the paper does (section 4).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openvmas.errors import ModelError
from openvmas.hub.checkpoint_files import load_pretrained, transformers_library
from openvmas.media.audio import Audio, resample

FILES = ("config.json", "preprocessor_config.json")
CLASSES = {"musicgen": "MusicgenForConditionalGeneration"}
WINDOW = 30.0  # s that MusicGen learned to write at once
CONTEXT = 10.0  # s of the last window, or of the music to go on from, that a window begins with
GUIDANCE = 3.0


class MusicGenWriter:
    """MusicGen of a folder; opened when it first writes. Raises ModelError for a folder that is not MusicGen's."""

    def __init__(self, folder: str | Path, window: float = WINDOW, context: float = CONTEXT) -> None:
        self.folder, self._window, self._context = Path(folder), window, context
        lacking = next((name for name in FILES if not (self.folder / name).is_file()), None)
        if lacking:
            raise ModelError(
                f"{self.folder} holds no {lacking} of MusicGen; download facebook/musicgen-small from the Hugging "
                "Face hub and give its folder."
            )

    @functools.cached_property
    def _parts(self) -> tuple[Any, Any]:
        """The processor of words and sound, and the model."""
        model = load_pretrained(self.folder, CLASSES)
        return transformers_library().AutoProcessor.from_pretrained(str(self.folder), local_files_only=True), model

    def write(
        self, text: str, seconds: float, seed: int, guidance: float = GUIDANCE, start: Audio | None = None
    ) -> Audio:
        """Music of `seconds` at the codec's rate: [C, L]. start: goes on from the end of this; it is not in the result.

        Raises ModelError if what comes is no sound.
        """
        _, model = self._parts
        rate = model.config.audio_encoder.sampling_rate
        n_samples = round(seconds * rate)
        context = None if start is None else self._end(resample(start, rate).wave, rate)
        made = np.zeros((1, 0), np.float32)
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed)
            while made.shape[1] < n_samples:
                held = 0 if context is None else context.shape[1]
                length = min(n_samples - made.shape[1], round(self._window * rate) - held)
                block = self._write_window(text, length, guidance, context)
                if not block.size or not np.isfinite(block).all():
                    raise ModelError(f"MusicGen in {self.folder} gave no sound; check its weights.")
                made = np.concatenate([np.repeat(made, len(block) // len(made), axis=0), block], axis=1)
                context = self._end(made if context is None else np.concatenate([context, block], axis=1), rate)
        return Audio(made[:, :n_samples], rate)

    def _end(self, wave: np.ndarray, rate: int) -> np.ndarray:
        """The last seconds of a wave [C, L], in whole codec steps."""
        codec = self._parts[1].config.audio_encoder
        hop = round(codec.sampling_rate / codec.frame_rate)
        n = min(wave.shape[1], round(self._context * rate)) // hop * hop
        return wave[:, wave.shape[1] - n :]

    def _write_window(self, text: str, length: int, guidance: float, context: np.ndarray | None) -> np.ndarray:
        """`length` new samples after the context: [C, length], or what there is of them."""
        processor, model = self._parts
        codec, decoder = model.config.audio_encoder, model.config.decoder
        given = {} if context is None or not context.shape[1] else {
            "audio": context.mean(axis=0), "sampling_rate": codec.sampling_rate
        }  # fmt: skip
        inputs = processor(text=[text], padding=True, return_tensors="pt", **given)
        steps = int(np.ceil(length / codec.sampling_rate * codec.frame_rate)) + decoder.num_codebooks
        made = model.generate(**inputs, do_sample=True, guidance_scale=guidance, max_new_tokens=steps)
        wave = made[0].float().numpy()
        held = context.shape[1] if given and context is not None else 0
        return wave[:, held : held + length]
