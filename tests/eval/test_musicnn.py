"""musicnn out of a TensorFlow checkpoint: the file format, and the network against plain arithmetic on tiny weights."""

import struct
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from openvmas.errors import ModelError
from openvmas.hub.taggers import (
    MUSICNN_HOP,
    MUSICNN_MELS,
    MUSICNN_PATCH,
    SAMPLE_RATE,
    Musicnn,
    musicnn_log_mel,
    slaney_matrix,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from musicnn_graph import CLASSES, musicnn_graph
from tensor_bundle import MAGIC, crc32c, mask, read_bundle

TIMBRAL, TEMPORAL, MIDDLE, UNITS, TAGS = 4, 2, 3, 6, 5
KERNELS = [(7, 38), (7, 67), (16, 1), (8, 1), (4, 1)]  # shorter in time than the real ones, even too


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    """Random weights with the names and structure of a musicnn checkpoint."""
    generator = np.random.default_rng(3)
    found: dict[str, np.ndarray] = {}

    def put(name: str, *shape: int, positive: bool = False) -> None:
        values = generator.normal(0, 0.3, shape)
        found[name] = (np.abs(values) + 0.5 if positive else values).astype(np.float32)

    n_front = 2 * TIMBRAL + 3 * TEMPORAL
    kernels = [(*k, 1, TIMBRAL if i < 2 else TEMPORAL) for i, k in enumerate(KERNELS)]
    kernels += [(7, n_front, 1, MIDDLE), (7, MIDDLE, 1, MIDDLE), (7, MIDDLE, 1, MIDDLE)]
    for i, shape in enumerate(kernels):
        put("conv2d" + (f"_{i}" if i else "") + "/kernel", *shape)
        put("conv2d" + (f"_{i}" if i else "") + "/bias", shape[-1])
    n_pooled = 2 * (n_front + 3 * MIDDLE)
    for i, n in enumerate([1, *(shape[-1] for shape in kernels), n_pooled, UNITS]):
        prefix = "batch_normalization" + (f"_{i}" if i else "")
        for part in ("gamma", "beta", "moving_mean"):
            put(f"{prefix}/{part}", n)
        put(f"{prefix}/moving_variance", n, positive=True)
    for name, shape in (("dense", (n_pooled, UNITS)), ("dense_1", (UNITS, TAGS))):
        put(f"{name}/kernel", *shape)
        put(f"{name}/bias", shape[1])
    return found


def by_hand(tensors: dict[str, np.ndarray], patch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The layers as models.py of musicnn writes them, one patch [T, F] at a time, channels last, in float64."""

    def norm(x: np.ndarray, i: int) -> np.ndarray:
        p = {k: tensors["batch_normalization" + (f"_{i}" if i else "") + f"/{k}"].astype(float)
             for k in ("gamma", "beta", "moving_mean", "moving_variance")}  # fmt: skip
        return (x - p["moving_mean"]) / np.sqrt(p["moving_variance"] + 0.001) * p["gamma"] + p["beta"]

    def conv(x: np.ndarray, i: int) -> np.ndarray:  # [T, F, 1] → [T', F', C], valid, with ReLU
        name = "conv2d" + (f"_{i}" if i else "")
        kernel = tensors[f"{name}/kernel"].astype(float)
        windows = np.lib.stride_tricks.sliding_window_view(x[:, :, 0], kernel.shape[:2])
        return np.maximum(np.einsum("tfhw,hwc->tfc", windows, kernel[:, :, 0]) + tensors[f"{name}/bias"], 0)

    x = norm(patch[:, :, None].astype(float), 0)
    front = []
    for i, (height, _) in enumerate(KERNELS):
        before = 3 if i < 2 else (height - 1) // 2
        padded = np.pad(x, ((before, height - 1 - before), (0, 0), (0, 0)))
        front.append(norm(conv(padded, i), i + 1).max(axis=1))
    front_features = np.concatenate(front, axis=1)[:, :, None]
    layers = [front_features]
    for i in (5, 6, 7):
        padded = np.pad(layers[-1], ((3, 3), (0, 0), (0, 0)))
        y = norm(conv(padded, i), i + 1).transpose(0, 2, 1)
        layers.append(y if i == 5 else y + layers[-1])
    features = np.concatenate(layers, axis=1)  # [T, C, 1]
    pooled = np.concatenate([features.max(axis=0), features.mean(axis=0)], axis=1).reshape(-1)
    hidden = np.maximum(norm(pooled, 9) @ tensors["dense/kernel"].astype(float) + tensors["dense/bias"], 0)
    embedding = norm(hidden, 10)
    return embedding, embedding @ tensors["dense_1/kernel"].astype(float) + tensors["dense_1/bias"]


@pytest.fixture(scope="module")
def tiny(tensors, tmp_path_factory) -> Musicnn:
    path = tmp_path_factory.mktemp("weights") / "musicnn.onnx"
    onnx.save(musicnn_graph(tensors), path)
    return Musicnn(path, batch=2)


def test_the_graph_is_the_network(tensors, tiny):
    patches = np.random.default_rng(0).uniform(0, 5, (3, 40, MUSICNN_MELS)).astype(np.float32)
    embeddings, logits = tiny._run(patches)
    assert embeddings.shape == (3, UNITS) and logits.shape == (3, TAGS)
    for patch, embedding, logit in zip(patches, embeddings, logits, strict=True):
        wanted = by_hand(tensors, patch)
        np.testing.assert_allclose(embedding, wanted[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(logit, wanted[1], rtol=1e-4, atol=1e-4)


def test_patches_and_times(tiny):
    wave = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE * 10).astype(np.float32)
    found = tiny.embed(wave, SAMPLE_RATE)
    n_frames = len(wave) // MUSICNN_HOP + 1
    assert len(found.times) == (n_frames - MUSICNN_PATCH) // 125 + 1
    np.testing.assert_allclose(np.diff(found.times), 2.0)
    assert found.times[0] == pytest.approx(1.488) and found.span == pytest.approx(2.992)
    expected, _ = tiny._run(musicnn_log_mel(wave)[None, 125 : 125 + MUSICNN_PATCH])
    np.testing.assert_allclose(found.embeddings[1], expected[0], atol=1e-5)
    assert len(tiny.embed(np.zeros(100, np.float32), SAMPLE_RATE).times) == 1
    with pytest.raises(ValueError, match="mono"):
        tiny.embed(np.zeros((2, 100), np.float32), SAMPLE_RATE)


def test_missing_weights_name_the_remedy(tmp_path):
    with pytest.raises(ModelError, match=r"fetch_eval_weights\.py"):
        Musicnn(tmp_path / "none.onnx")


def test_mel_filters_have_unit_area_and_straight_beginnings():
    matrix = slaney_matrix()
    assert matrix.shape == (257, MUSICNN_MELS)
    # Above 1 kHz a triangle is several bins wide: its sum times the bin's width is its area.
    np.testing.assert_allclose(matrix.sum(0)[-20:] * SAMPLE_RATE / 512, 1, atol=0.05)
    peaks = matrix.argmax(0) * SAMPLE_RATE / 512
    # 45.245642471924965 mel at 8 kHz (Slaney), 97 equal steps, 200 / 3 Hz per mel below 1 kHz.
    centres = np.arange(1, 20) * 45.245642471924965 / 97 * 200 / 3
    assert np.all(np.abs(peaks[:19] - centres) <= SAMPLE_RATE / 512)


def test_log_mel_of_a_tone_and_of_silence():
    assert not musicnn_log_mel(np.zeros(SAMPLE_RATE, np.float32)).any()
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    frames = musicnn_log_mel(np.sin(2 * np.pi * 440 * times).astype(np.float32))
    assert frames.shape == (SAMPLE_RATE // MUSICNN_HOP + 1, MUSICNN_MELS)
    power = (10.0 ** frames[10:-10].mean(0) - 1) / 10_000
    # Hann, FFT 512: the bins' powers add up to (256 / 2)² · 1.5; filters of unit area, adjacent ones sum to 1 / step.
    step = 45.245642471924965 / 97 * 200 / 3
    assert power.sum() == pytest.approx(128**2 * 1.5 / step, rel=0.02)


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def block(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """A LevelDB block, keys sharing prefixes, one restart point."""
    data, last = b"", b""
    for key, value in pairs:
        shared = next((i for i, (a, b) in enumerate(zip(last, key, strict=False)) if a != b), min(len(last), len(key)))
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return data + struct.pack("<II", 0, 1)


def bundle(tensors: dict[str, np.ndarray]) -> tuple[bytes, bytes]:
    """Index and data of a checkpoint."""
    data, pairs = b"", [(b"", b"\x08\x01")]
    for name in sorted(tensors):
        raw = tensors[name].astype("<f4").tobytes()
        dims = b"".join(b"\x12" + varint(len(d)) + d for d in (b"\x08" + varint(n) for n in tensors[name].shape))
        entry = b"\x08\x01\x12" + varint(len(dims)) + dims
        entry += (b"\x20" + varint(len(data)) if data else b"") + b"\x28" + varint(len(raw))
        pairs.append((name.encode(), entry + b"\x35" + struct.pack("<I", mask(crc32c(raw)))))
        data += raw
    first = block(pairs)
    root = block([(b"z", varint(0) + varint(len(first)))])
    index = first + b"\x00" + b"\0" * 4
    handle = varint(0) + varint(0) + varint(len(index)) + varint(len(root))
    index += root + b"\x00" + b"\0" * 4
    return index + handle.ljust(40, b"\0") + struct.pack("<Q", MAGIC), data


def test_checkpoints_are_read(tensors):
    optimiser = {"dense/kernel/Adam": np.zeros(3, np.float32), "beta1_power": np.ones((), np.float32)}
    found = read_bundle(*bundle(tensors | optimiser))
    assert set(found) == set(tensors)
    for name, values in tensors.items():
        np.testing.assert_array_equal(found[name], values)


def test_damaged_checkpoints_are_refused(tensors):
    index, data = bundle(tensors)
    with pytest.raises(ValueError, match="damaged"):
        read_bundle(index, data[:100] + bytes([data[100] ^ 1]) + data[101:])
    with pytest.raises(ValueError, match="damaged"):
        read_bundle(index, data[:-4])
    with pytest.raises(ValueError, match="not the index"):
        read_bundle(index[:-1] + b"x", data)


def test_checksum_is_castagnoli():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C (RFC 3720, B.4)


def test_fifty_tags_each():
    assert {len(set(names)) for names in CLASSES.values()} == {50}
