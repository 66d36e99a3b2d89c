"""Devices: which provider is chosen, what is said where there is none, and how much half precision changes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime
import pytest

from openvmas import devices
from openvmas.errors import ModelError, OptionError
from openvmas.generate import scorer
from openvmas.pretrained import find_weights, open_graph
from openvmas.settings import Options

WITH_CUDA = ["CUDAExecutionProvider", "CPUExecutionProvider"]


class FakeSession:
    """A session that says which providers it was asked for; works: whether the card does."""

    asked: list[tuple[Any, Any]]
    works = True
    allows_half = True

    def __init__(self, graph: Any, options: Any, providers: list[Any]) -> None:
        if isinstance(graph, bytes) and not self.allows_half:
            raise onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented("no such kernel")  # type: ignore[attr-defined]
        FakeSession.asked.append((graph, providers))
        self._names = [name if isinstance(name, str) else name[0] for name in providers]

    def get_providers(self) -> list[str]:
        return self._names if self.works else ["CPUExecutionProvider"]


@pytest.fixture()
def card(monkeypatch: pytest.MonkeyPatch) -> type[FakeSession]:
    """An ONNX Runtime that offers CUDA."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: WITH_CUDA)
    monkeypatch.setattr(onnxruntime, "InferenceSession", FakeSession)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setenv(devices.VARIABLE, "cpu")
    monkeypatch.setattr(FakeSession, "asked", [], raising=False)
    return FakeSession


def test_without_a_card_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(devices.VARIABLE, "cpu")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(OptionError, match="offers only CPUExecutionProvider; run: pip uninstall"):
        scorer.load_for(Options.of(device="cuda"))
    assert os.environ[devices.VARIABLE] == "cpu"
    with pytest.raises(OptionError, match="device cannot be 'tpu'"):
        Options.of(device="tpu")


def test_the_option_makes_every_graph_open_on_the_card(
    card: type[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer, "load", lambda name: scorer.Scorer(None))  # type: ignore[arg-type]
    scorer.load_for(Options.of(device="cuda"))
    path = find_weights("mini").file("codec")
    open_graph(path, 1)
    ((graph, providers),) = card.asked
    assert isinstance(graph, bytes) or graph == str(path)
    assert providers == [("CUDAExecutionProvider", {"use_tf32": "1"}), "CPUExecutionProvider"]


def test_a_graph_without_half_precision_opens_in_full(card: type[FakeSession], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, "allows_half", False)
    path = find_weights("mini").file("codec")
    devices.open_session(path, None, "cuda")
    assert [graph for graph, _ in card.asked] == [str(path)]


def test_a_card_that_cannot_be_used_is_said_and_not_passed_over(
    card: type[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "works", False)
    with pytest.raises(ModelError, match="the card cannot be used"):
        devices.open_session(find_weights("mini").file("codec"), None, "cuda")


def test_a_wrong_name_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(devices.VARIABLE, "gpu")
    with pytest.raises(OptionError, match="set it to cpu or cuda"):
        open_graph(find_weights("mini").file("codec"), 1)


def test_half_precision_changes_little() -> None:
    """Kernels of the processor stand in for those of the card: same rounding, other order of sums."""
    pytest.importorskip("onnx")
    path = find_weights("mini").file("codec_encoder")
    graph = devices.halve(path)
    assert graph is not None
    half = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    whole = open_graph(path, 1)
    (item,) = whole.get_inputs()
    width = item.shape[-1]
    frames = np.random.default_rng(0).normal(size=(1, 40, width)).astype(np.float32)
    (a,), (b,) = whole.run(None, {item.name: frames}), half.run(None, {item.name: frames})
    assert a.dtype == b.dtype == np.float32
    error = np.sqrt(np.mean((a - b) ** 2) / np.mean(a**2))
    assert 0 < error < 0.01
