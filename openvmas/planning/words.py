"""Learned words: the axes of any text in sixteen languages, from small Transformers over the vectors of its subwords.

The vectors began as those of the universal sentence encoder (Yang et al. 2019, arXiv:1907.04307; multilingual v3,
Apache-2.0), one for each subword; they and the networks were taught by a tuned sentence encoder on texts that nobody
labelled, and by phrases labelled by hand (`tools/words/`, `tools/build_words.py`). Each subword is heard among the
others and has a learned weight, so that "sad" counts for more than "clown". Loaded when the first text needs it.
"""

from __future__ import annotations

import functools
import re
import unicodedata
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvmas.condition import AXES

PATH = Path(__file__).with_name("words.npz")
SPACE = "▁"  # begins every subword that begins a word, as in SentencePiece (Kudo and Richardson 2018, arXiv:1808.06226)
MAX_PIECE = 16  # characters in the longest subword
UNKNOWN_SCORE = -28.0  # of a character that is no subword, against -8 to -16 of ordinary subwords
MIN_LETTERS = 2.0  # of a subword on average: words in pieces no longer than that are no words (zork, qwertz)
# Surprise (nats) of a word of several subwords from which it is doubted: at least + each letter, or each Katakana.
DOUBTED, DOUBTED_LETTER, DOUBTED_SIGN = 8.0, 1.9, 10.0
N_BLOCKS = 2  # of attention and a layer on each subword, in the networks
DOUBT = 2.0  # times as clearly as others a doubted word must speak
CLEAR_MOOD, CLEAR_OTHER = 0.5, 0.35  # from ordinary words: valence and arousal, other axes; what is less says nothing
SENTENCE_SHARE = 0.65  # of the sentence encoder, where it is installed, beside the subwords
MAX_PIECES = 200  # of one text; what comes after them is left out
CJK = "\u2e80-\u9fff\uf900-\ufaff\uff66-\uff9d"
WORD = re.compile(rf"[{CJK}ー々]+|[^\W_{CJK}]+(?:['’][^\W_{CJK}]+)*")


@dataclass(frozen=True)
class WordModel:
    """The subwords and the networks.

    hashes: [V] uint32, increasing, CRC-32 of each subword; scores: [V] their log probabilities.
    vectors: [V, D / 2] uint8, two numbers of four bits in each: the first half of the dimensions in the low bits.
    layers: name → matrices of the networks, whose answers are averaged, and the "scale" [D] of the vectors.
    neutral: [len(AXES)], the mean answer to ordinary words.
    """

    hashes: np.ndarray
    scores: np.ndarray
    vectors: np.ndarray
    layers: dict[str, np.ndarray]
    neutral: np.ndarray

    def split(self, text: str) -> list[int]:
        """The subwords of a text, as rows of the vectors: the most probable division of each of its words."""
        rows: list[int] = []
        for word in WORD.findall(fold(text)):
            rows += self._divide(SPACE + word)
            if len(rows) >= MAX_PIECES:
                break
        return rows[:MAX_PIECES]

    def _divide(self, word: str) -> list[int]:
        """Viterbi search over the unigram model of subwords (Kudo 2018, arXiv:1804.10959)."""
        word = word[: 4 * MAX_PIECE]
        n = len(word)
        spans = [(i, j) for i in range(n) for j in range(i + 1, min(i + MAX_PIECE, n) + 1)]
        keys = np.array([zlib.crc32(word[i:j].encode()) for i, j in spans], np.uint32)
        rows = np.searchsorted(self.hashes, keys)
        rows[rows == len(self.hashes)] = 0
        found = dict(zip(spans, np.where(self.hashes[rows] == keys, rows, -1).tolist(), strict=True))
        best, back = [0.0] + [-np.inf] * n, [(0, -1)] * (n + 1)
        for i in range(n):
            for j in range(i + 1, min(i + MAX_PIECE, n) + 1):
                row = found[i, j]
                if row < 0 and j > i + 1:
                    continue
                score = best[i] + (float(self.scores[row]) if row >= 0 else UNKNOWN_SCORE)
                if score > best[j]:
                    best[j], back[j] = score, (i, row)
        pieces, j = [], n
        while j > 0:
            j, row = back[j]
            pieces.append(row)
        return [row for row in reversed(pieces) if row >= 0]

    def is_doubtful(self, word: str) -> bool:
        """Whether a word is unlike those of any language: several subwords, less probable than its length explains."""
        word = fold(word)
        is_katakana = bool(re.fullmatch("[\u30a1-\u30faー]+", word))
        rows = self._divide(SPACE + word)
        if len(rows) <= 1 + is_katakana or (not is_katakana and re.search(f"[{CJK} ]", word)):
            return False
        surprise = -float(self.scores[rows].sum())
        return surprise > (DOUBTED_SIGN * len(word) if is_katakana else DOUBTED + DOUBTED_LETTER * len(word))

    def axes(self, text: str) -> np.ndarray:
        """The value of every axis, [len(AXES)] in standard deviations; near 0 where the text says nothing."""
        rows = self.split(text)
        if not rows:
            return np.zeros(len(AXES))
        packed = self.vectors[rows]
        # From the first layer on networks come first: [H, T, width].
        x = (np.concatenate([packed & 15, packed >> 4], axis=1) - 7.5) * self.layers["scale"]
        x = _normal(self._layer(x, "inputs"))
        for k in range(N_BLOCKS):
            x = x + self._attend(_normal(x), k)
            x = x + self._layer(np.maximum(self._layer(_normal(x), f"wide{k}"), 0.0), f"narrow{k}")
        x = _normal(x)
        # Columns of the weights: valence, arousal, and one for all other axes.
        weights = np.exp(np.clip(self._layer(x, "weights"), -6, 6))[..., [0, 1, *[2] * (len(AXES) - 2)]]
        total = weights.sum(1) + np.exp(self.layers["prior"])[:, None]
        return ((weights * self._layer(x, "values")).sum(1) / total).mean(0)

    def _attend(self, x: np.ndarray, block: int) -> np.ndarray:
        """Attention of every subword to all others, by what they are and how far away they stand. x: [H, T, width]."""
        n_networks, n, width = x.shape
        bias = self.layers[f"distance{block}"]  # [H, heads, 2 * farthest + 1]
        n_heads, farthest = bias.shape[1], bias.shape[2] // 2
        parts = self._layer(x, f"asked{block}").reshape(n_networks, n, 3, n_heads, -1)
        asked, found, said = parts.transpose(2, 0, 3, 1, 4)
        apart = np.clip(np.arange(n) - np.arange(n)[:, None], -farthest, farthest) + farthest
        logits = asked @ found.swapaxes(-1, -2) / np.sqrt(asked.shape[-1]) + bias[:, :, apart]
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        heard = shares / shares.sum(-1, keepdims=True) @ said
        return self._layer(heard.transpose(0, 2, 1, 3).reshape(n_networks, n, width), f"heard{block}")

    def _layer(self, x: np.ndarray, name: str) -> np.ndarray:
        """A linear layer of all networks."""
        return x @ self.layers[name] + self.layers[f"{name}_bias"][:, None]


def _normal(x: np.ndarray) -> np.ndarray:
    """Layer normalisation without weights of its own (Ba et al. 2016, arXiv:1607.06450)."""
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)


def fold(text: str) -> str:
    """Lower case, with compatible characters made one (full and half width, ligatures)."""
    return unicodedata.normalize("NFKC", text).lower()


def widened(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The layers as float32. arrays: those of the file, matrices int8 [H, inputs, outputs] beside "…_scale"."""
    scales = {name: arrays.pop(name) for name in list(arrays) if name.endswith("_scale")}
    return {name: array * scales.get(f"{name}_scale", np.float32(1)) for name, array in arrays.items()}


@functools.cache
def word_model() -> WordModel:
    """The shipped model, read once."""
    with np.load(PATH, allow_pickle=False) as found:
        arrays = {name: found[name] for name in found.files}
    # Only the rows that a text needs are read from the disk.
    vectors = np.load(PATH.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
    hashes, scores, neutral = (arrays.pop(name) for name in ("hashes", "scores", "neutral"))
    return WordModel(hashes, scores.astype(np.float32) / -8.0, vectors, widened(arrays), neutral)


@functools.lru_cache(maxsize=512)
def axes_of(text: str) -> tuple[float, ...]:
    """The values of all AXES that the learned models give to a text, with all of its small words."""
    from openvmas.planning.sentences import sentence_axes  # only when a text needs it

    values, sentence = word_model().axes(text), sentence_axes(text)
    if sentence is not None:
        values = SENTENCE_SHARE * sentence + (1 - SENTENCE_SHARE) * values
    return tuple(np.round(values, 4).tolist())


@functools.lru_cache(maxsize=2048)
def is_word(text: str) -> bool:
    """Whether a text can be words at all: not where its letters only fit small pieces."""
    rows = word_model().split(text)
    return bool(rows) and (bool(re.search(f"[{CJK}]", text)) or len(text) / len(rows) > MIN_LETTERS)


@functools.lru_cache(maxsize=2048)
def is_doubtful(text: str) -> bool:
    """Whether a text that stands alone is more likely made up than a word: it is unlike words and speaks unclearly."""
    return word_model().is_doubtful(text) and _clearness(text) < DOUBT


@functools.lru_cache(maxsize=2048)
def says_something(text: str) -> bool:
    """Whether a text by itself says more of the music than ordinary words do."""
    return is_word(text) and _clearness(text) >= 1


def _clearness(text: str) -> float:
    """Distance of a text from ordinary words, in shares of the distance that counts as saying something."""
    from openvmas.planning import sentences  # only when a text needs it

    values = sentences.sentence_axes(text)
    if values is None:
        apart = np.abs(word_model().axes(text) - word_model().neutral)
    else:
        apart = np.abs(values - sentences.head().neutral)
    return float(max(apart[:2].max() / CLEAR_MOOD, apart[2:].max() / CLEAR_OTHER))
