"""The codec without PyTorch is the same codec, and a stream of it is the same as all at once."""

import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from openvmas.codec.autoencoder import Codec
from openvmas.codec.runtime import CHUNK, CodecRunner, EncodeStream, compress_spectrum, sqrt_hann
from openvmas.codec.stream import CodecStream
from openvmas.errors import ModelError
from openvmas.pretrained import find_weights, open_graph, run, write_manifest
from openvmas.train.export.export_model import CODEC_FILES, ExportOptions, export, measure_reach
from tests.codec.made import export_debug_codec, make_codec

HOP = 640
CODES = np.random.default_rng(0).integers(0, 64, (8, 133))
WAVE = np.random.default_rng(1).normal(0, 0.1, 90 * HOP + 123).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return export_debug_codec(tmp_path_factory.mktemp("codec"))


@pytest.fixture(scope="module")
def runner(folder) -> CodecRunner:
    return CodecRunner(find_weights(folder), threads=1)


@pytest.fixture(scope="module")
def codec() -> Codec:
    return make_codec()


def test_spectrum_is_that_of_pytorch(codec, runner, monkeypatch):
    seen = []

    def look(frames: np.ndarray) -> np.ndarray:
        seen.append(frames)
        return np.zeros((len(frames), 16), np.float32)

    monkeypatch.setattr(runner, "encode_frames", look)
    runner.encode(WAVE)
    padded = torch.nn.functional.pad(torch.from_numpy(WAVE), (0, -len(WAVE) % HOP))
    expected = codec.spectrum(padded[None])[0].numpy()
    assert seen[0].shape == expected.shape and np.abs(expected).max() > 0.3
    assert np.abs(seen[0] - expected).max() < 1e-4


def test_weak_bins_beside_a_loud_tone_are_exact(codec):
    wave = np.sin(2 * np.pi * 440 * np.arange(2560) / 32_000)
    found = compress_spectrum((wave * sqrt_hann(2560))[None])
    spectrum = np.fft.rfft(wave.astype(np.longdouble) * np.sqrt(np.hanning(2561)[:-1])) / 16
    expected = spectrum * np.maximum(np.abs(spectrum), 1e-5) ** -0.6
    assert np.abs(found[0, 0::2] - expected.real).max() < 1e-4
    assert np.abs(found[0, 1::2] - expected.imag).max() < 1e-4


def test_quantisation_is_that_of_pytorch(codec, runner):
    latents = np.random.default_rng(2).normal(size=(300, 16)).astype(np.float32)
    expected = codec.quantizer.encode(torch.from_numpy(latents[None]))[0].numpy()
    assert np.array_equal(runner.quantize(latents), expected)
    assert np.array_equal(runner.quantize(latents, 3), expected[:3])


def test_graphs_are_those_of_pytorch_but_for_8_bit_weights(codec, runner):
    frames = codec.spectrum(torch.from_numpy(WAVE[None, : 90 * HOP]))
    with torch.no_grad():
        latents, decoded = codec.encoder(frames)[0].numpy(), codec.decode(torch.from_numpy(CODES[None]))[0].numpy()
    assert np.abs(runner.encode_frames(frames[0].numpy()) - latents).max() < 0.03 * np.abs(latents).max()
    assert np.abs(runner.decode(CODES) - decoded).max() < 0.03 * np.abs(decoded).max()


def test_weights_are_bytes_on_disk_and_exact_in_use(codec, folder):
    model = onnx.load(str(folder / "codec.onnx"))
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1}
    stored = [name for name, kind in kinds.items() if kind == TensorProto.INT8]
    halves = [name for name, kind in kinds.items() if kind == TensorProto.FLOAT16 and name.endswith("_half")]
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    assert len(stored) == len(products) - 1 and len(halves) == 1
    assert products[-2].input[1] == halves[0].removesuffix("_half")  # the one whose rounding can be heard
    latents = torch.randn(1, 50, 16, generator=torch.Generator().manual_seed(0))
    (frames,) = run(open_graph(folder / "codec.onnx", 1), {"latents": latents.numpy()})
    with torch.no_grad():
        expected = codec.decoder(latents).numpy()
    assert np.square(frames - expected).mean() < 1e-4 * np.square(expected).mean()


@pytest.mark.parametrize("n_codebooks", [1, 4, 8])
def test_any_number_of_codebooks(codec, runner, n_codebooks):
    codes = runner.encode(WAVE, n_codebooks)
    assert codes.shape == (n_codebooks, 91)
    assert np.array_equal(codes, runner.encode(WAVE)[:n_codebooks])
    with torch.no_grad():
        expected = codec.decode(torch.from_numpy(codes[None]))[0].numpy()
    assert np.abs(runner.decode(codes) - expected).max() < 0.03 * np.abs(expected).max()


def pieces(length: int, cuts: list[int]) -> list[slice]:
    return [slice(a, b) for a, b in itertools.pairwise([0, *sorted(min(cut, length) for cut in cuts), length])]


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, len(WAVE)), max_size=8))
def test_encoding_does_not_depend_on_how_the_wave_comes(runner, cuts):
    stream = EncodeStream(runner)
    parts = [stream.push(WAVE[part]) for part in pieces(len(WAVE), cuts)]
    parts.append(stream.push(WAVE[:0], is_last=True))
    assert np.array_equal(np.concatenate(parts, axis=1), runner.encode(WAVE))


def test_encoding_in_chunks_is_encoding_at_once(codec, runner):
    wave = np.random.default_rng(3).normal(0, 0.1, (2 * CHUNK + 77) * HOP).astype(np.float32)
    chunked = runner.encode(wave)
    frames = codec.spectrum(torch.from_numpy(wave[None]))[0].numpy()
    whole = runner.quantize(runner.encode_frames(frames))
    assert chunked.shape == whole.shape == (8, 2 * CHUNK + 77)
    assert np.mean(chunked == whole) > 0.999  # a tie may fall the other way by rounding


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 133), max_size=8))
def test_decoding_as_a_stream_is_decoding_at_once(runner, cuts):
    stream = CodecStream(runner, 8)
    parts = [stream.push(CODES[:, part]) for part in pieces(133, cuts)]
    parts.append(stream.push(CODES[:, :0], is_last=True))
    whole = CodecStream(runner, 8).push(CODES, is_last=True)
    assert whole.shape == (133 * HOP,)
    assert np.abs(np.concatenate(parts) - whole).max() < 1e-4 * np.abs(whole).max()


@pytest.mark.parametrize("n_steps", [0, 1, 2, 3])
def test_the_shortest_sounds_have_their_length(codec, runner, n_steps):
    wave = WAVE[: n_steps * HOP]
    codes = runner.encode(wave)
    assert codes.shape == (8, n_steps)
    decoded = runner.decode(codes)
    assert decoded.shape == wave.shape
    if n_steps:
        assert np.array_equal(runner.encode(wave[: 1 - HOP]), runner.encode(np.pad(wave[: 1 - HOP], (0, HOP - 1))))
        with torch.no_grad():
            expected = codec.decode(torch.from_numpy(codes[None]))[0].numpy()
        assert np.abs(decoded - expected).max() < 0.03 * np.abs(expected).max()


def test_reach_is_measured_from_the_trunk(codec, runner):
    assert measure_reach(codec.decoder, 16) == (2 * 5, 2 * 1)  # two blocks that see five steps back and one ahead
    assert (runner.sizes["encoder_history"], runner.sizes["encoder_look_ahead"]) == (5, 1)
    gru = torch.nn.GRU(4, 4, batch_first=True)
    with pytest.raises(ValueError, match="cannot be run in chunks"):
        measure_reach(lambda x: gru(x)[0], 4, 12)


def test_a_model_without_encoder_says_so(folder, tmp_path):
    weights = find_weights(folder)
    (tmp_path / "codec.onnx").write_bytes(weights.file("codec").read_bytes())
    write_manifest(tmp_path, name="old", version="0.1", licence="x", files={"codec": "codec.onnx"}, sizes=weights.sizes)
    with pytest.raises(ModelError, match=r"model old 0\.1 cannot encode or decode sound: it has no codec_encoder file"):
        CodecRunner(find_weights(tmp_path))


def test_a_codec_is_replaced_beside_a_decoder_that_stays(tmp_path):
    for name in ("decoder.onnx", "condition.onnx", "codec.onnx"):
        (tmp_path / name).write_bytes(name.encode())
    files = {name.removesuffix(".onnx"): name for name in ("decoder.onnx", "condition.onnx", "codec.onnx")}
    sizes = {"sample_rate": 32_000, "hop_length": HOP, "codebook_size": 64, "n_codebooks": 4, "width": 7}
    write_manifest(tmp_path, name="m", version="0.1", licence="x", files=files, sizes=sizes)
    export(make_codec(), None, tmp_path, ExportOptions(version="0.2"))
    weights = find_weights(tmp_path)
    assert (weights.version, weights.sizes["width"], weights.sizes["codec_codebooks"]) == ("0.2", 7, 8)
    assert set(weights.files) == {"decoder", "condition", *CODEC_FILES}
    assert weights.file("decoder").read_bytes() == b"decoder.onnx"
    assert CodecRunner(weights).encode(WAVE).shape == (8, 91)
    with pytest.raises(ModelError, match="trained for other codebooks"):
        export(make_codec(seed=4), None, tmp_path, ExportOptions())
    manifest = json.loads((tmp_path / "model.json").read_text())
    manifest["sizes"]["hop_length"] = 320
    (tmp_path / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="trained for hop_length 320, but this codec has 640"):
        export(make_codec(), None, tmp_path, ExportOptions())


def test_the_shipped_codec_keeps_a_chord():
    weights = find_weights("mini")
    runner = CodecRunner(weights)
    time = np.arange(3 * runner.sample_rate) / runner.sample_rate
    decay = np.exp(-1.5 * (time % 1))
    wave = sum(0.1 * np.sin(2 * np.pi * pitch * time) for pitch in (220, 277.18, 329.63)) * decay
    codes = runner.encode(wave.astype(np.float32))
    assert codes.shape == (runner.n_codebooks, -(-len(wave) // runner.hop_length))
    decoded = runner.decode(codes)[: len(wave)]
    assert np.square(wave).sum() / np.square(wave - decoded).sum() > 1.25  # 1 dB; noise has -3
    strengths = [np.abs(np.fft.rfft(w)) for w in (wave, decoded)]
    assert np.corrcoef(strengths[0][300:1500], strengths[1][300:1500])[0, 1] > 0.9
    total = sum(weights.file(role).stat().st_size for role in CODEC_FILES)
    assert total < 25e6
    assert runner.codebooks_sha256 == hashlib.sha256(weights.file("codebooks").read_bytes()).hexdigest()
