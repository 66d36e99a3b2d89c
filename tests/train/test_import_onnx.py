"""What ships comes back as checkpoints: within the steps of its 8 bits, and the same again when exported again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from openvmas.cli.main import main
from openvmas.codec.autoencoder import CODEC_PRESETS, Codec, load_codec
from openvmas.codec.runtime import CodecRunner
from openvmas.errors import ModelError
from openvmas.model.decoder import DECODER_PRESETS, Decoder, load_decoder
from openvmas.pretrained import find_weights, write_manifest
from openvmas.train.export.export_model import ExportOptions, export
from openvmas.train.export.import_onnx import import_decoder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Codec, Decoder, Path]:
    torch.manual_seed(0)
    codec, decoder = Codec(CODEC_PRESETS["debug"]).eval(), Decoder(DECODER_PRESETS["debug"]).eval()
    for parameter in decoder.parameters():  # layers begin as identities
        torch.nn.init.normal_(parameter, std=0.2)
    codec.quantizer.codebooks.normal_()
    folder = tmp_path_factory.mktemp("model")
    export(codec, decoder, folder, ExportOptions("debug", "0"))
    return codec, decoder, folder


def test_weights_come_back_within_a_step(made: tuple[Codec, Decoder, Path], tmp_path: Path) -> None:
    codec, decoder, folder = made
    assert main(["train", "import", str(folder), str(tmp_path)]) == 0
    for before, after in ((codec, load_codec(str(tmp_path / "codec.pt"))),
                          (decoder, load_decoder(str(tmp_path / "decoder.pt")))):  # fmt: skip
        assert after.config == before.config
        for (name, a), b in zip(before.named_parameters(), after.parameters(), strict=True):
            # A block of 8-bit values has 255 steps; fp16 tables are much finer.
            assert (a - b).abs().max() <= (a.max() - a.min()) / 255 + 1e-3, name


def test_what_is_recovered_is_what_runs(made: tuple[Codec, Decoder, Path], tmp_path: Path) -> None:
    assert main(["train", "import", str(made[2]), str(tmp_path)]) == 0
    codec, runner = load_codec(str(tmp_path / "codec.pt")), CodecRunner(find_weights(made[2]), threads=1)
    wave = np.random.default_rng(0).normal(0, 0.1, 640 * 60).astype(np.float32)
    with torch.no_grad():
        codes = codec.encode(torch.from_numpy(wave[None]))[0].numpy()
        assert (codes == runner.encode(wave)).mean() > 0.99  # ties apart
        np.testing.assert_allclose(
            codec.decode(torch.from_numpy(codes[None]))[0].numpy(), runner.decode(codes), atol=1e-4
        )


def test_four_bits_are_refused(made: tuple[Codec, Decoder, Path], tmp_path: Path) -> None:
    codec, decoder, _ = made
    export(codec, decoder, tmp_path, ExportOptions("debug", "0", 4))
    with pytest.raises(ModelError, match="4 bits"):
        import_decoder(find_weights(tmp_path))


def test_a_graph_of_someone_else_is_refused(made: tuple[Codec, Decoder, Path], tmp_path: Path) -> None:
    codec, decoder, _ = made
    export(codec, decoder, tmp_path, ExportOptions("debug", "0"))
    weights = find_weights(tmp_path)
    model = onnx.load(str(tmp_path / "condition.onnx"))
    kept = [tensor for tensor in model.graph.initializer if tensor.name != "mix.bias"]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, numpy_helper.from_array(np.zeros(32, np.float32), "other.bias")])
    (tmp_path / "condition.onnx").write_bytes(model.SerializeToString())
    files = {role: path.name for role, path in weights.files.items()}
    write_manifest(tmp_path, name="debug", version="0", licence="", files=files, sizes=weights.sizes)
    with pytest.raises(ModelError, match=r"mix\.bias is not in the file"):
        import_decoder(find_weights(tmp_path))
