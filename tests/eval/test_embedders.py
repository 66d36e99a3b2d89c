"""Embedders against closed forms, on a network of one matrix that is made here (the real weights are not needed)."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from openvmas.errors import ModelError
from openvmas.files import cache_folder
from openvmas.hub.taggers import (
    HOP,
    MELS,
    PATCH,
    SAMPLE_RATE,
    WINDOW,
    Yamnet,
    log_mel,
    mel_matrix,
)


@pytest.fixture(scope="module")
def tiny_yamnet(tmp_path_factory):
    """A file with YAMNet's inputs and outputs whose embedding is the mean spectrum of the patch."""
    path = tmp_path_factory.mktemp("weights") / "yamnet.onnx"
    nodes = [
        helper.make_node("ReduceMean", ["patches", "axes"], ["embeddings"], keepdims=0),
        helper.make_node("MatMul", ["embeddings", "weights"], ["logits"]),
    ]
    tensors = [
        numpy_helper.from_array(np.array([1, 2], dtype=np.int64), "axes"),
        numpy_helper.from_array(np.eye(MELS, 3, dtype=np.float32), "weights"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["P", 1, PATCH, MELS])],
        [
            helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["P", MELS]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["P", 3]),
        ],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"classes": json.dumps(["a", "b", "c"])})
    onnx.save(model, path)
    return Yamnet(path, batch=4)


def test_missing_weights_name_the_remedy(tmp_path):
    with pytest.raises(ModelError, match=r"fetch_eval_weights\.py"):
        Yamnet(tmp_path / "none.onnx")


def test_cache_folder_is_an_environment_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_mel_triangles_peak_at_their_centres():
    matrix = mel_matrix()
    assert matrix.shape == (257, 64)
    centres = 700 * np.expm1(np.linspace(1127 * np.log1p(125 / 700), 1127 * np.log1p(7500 / 700), 66)[1:-1] / 1127)
    peaks = matrix.argmax(0) * SAMPLE_RATE / 512
    assert np.all(np.abs(peaks - centres) <= SAMPLE_RATE / 512)
    assert matrix.max() <= 1 and matrix.min() == 0
    # Between the first and last centre the triangles of a line sum to 1 at every bin.
    bins = np.arange(257) * SAMPLE_RATE / 512
    inside = (bins > centres[0]) & (bins < centres[-1])
    np.testing.assert_allclose(matrix.sum(1)[inside], 1, atol=1e-5)


def test_tone_lights_its_band():
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    frames = log_mel(np.sin(2 * np.pi * 1000 * times).astype(np.float32))
    assert frames.shape == ((SAMPLE_RATE - WINDOW) // HOP + 1, MELS)
    band = int(frames.mean(0).argmax())
    centres = 700 * np.expm1(np.linspace(1127 * np.log1p(125 / 700), 1127 * np.log1p(7500 / 700), 66)[1:-1] / 1127)
    assert abs(centres[band] - 1000) < 60
    assert log_mel(np.zeros(399, np.float32)).shape == (0, MELS)


def test_silence_is_the_logarithm_of_the_offset():
    np.testing.assert_allclose(log_mel(np.zeros(1600, np.float32)), np.log(1e-3), rtol=1e-6)


def test_patches_times_and_batches(tiny_yamnet):
    wave = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE * 10).astype(np.float32)
    found = tiny_yamnet.embed(wave, SAMPLE_RATE)
    n = (998 - PATCH) // 48 + 1
    assert found.embeddings.shape == (n, MELS) and found.logits.shape == (n, 3)
    np.testing.assert_allclose(np.diff(found.times), 0.48)
    assert found.times[0] == pytest.approx(0.4875)
    expected = log_mel(wave)[48:144].mean(0)
    np.testing.assert_allclose(found.embeddings[1], expected, atol=1e-5)
    np.testing.assert_allclose(found.scores[1], 1 / (1 + np.exp(-expected[:3])), atol=1e-6)
    assert tiny_yamnet.classes == ("a", "b", "c")


def test_short_waves_are_padded_and_stereo_is_refused(tiny_yamnet):
    assert len(tiny_yamnet.embed(np.zeros(100, np.float32), SAMPLE_RATE).times) == 1
    with pytest.raises(ValueError, match="mono"):
        tiny_yamnet.embed(np.zeros((2, 100), np.float32), SAMPLE_RATE)


def test_sample_rate_does_not_matter(tiny_yamnet):
    def tone(rate):
        return np.sin(2 * np.pi * 440 * np.arange(3 * rate) / rate).astype(np.float32)

    a = tiny_yamnet.embed(tone(16_000), 16_000).embeddings
    b = tiny_yamnet.embed(tone(44_100), 44_100).embeddings
    assert a.shape == b.shape
    loud = a.mean(0) > np.log(0.5)
    assert loud.any()
    np.testing.assert_allclose(a[:, loud], b[:, loud], atol=0.02)
