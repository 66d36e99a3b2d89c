"""A tiny codec with random weights, exported alone as a real one is."""

from pathlib import Path

import torch

from openvmas.codec.autoencoder import CODEC_PRESETS, Codec
from openvmas.pretrained import write_manifest
from openvmas.train.export.export_model import CODEC_FILES, export_codec


def make_codec(seed: int = 3) -> Codec:
    torch.manual_seed(seed)
    codec = Codec(CODEC_PRESETS["debug"]).eval()
    torch.nn.init.normal_(codec.quantizer.codebooks)
    codec.quantizer.codebooks.copy_(codec.quantizer.codebooks.half().float())  # as they are exported
    return codec


def export_debug_codec(folder: Path, seed: int = 3) -> Path:
    """Folder with an exported codec whose imagined decoder writes four codebooks."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {**export_codec(make_codec(seed), folder), "n_codebooks": 4}
    write_manifest(folder, name="debug", version="0", licence="none needed", files=CODEC_FILES, sizes=sizes)
    return folder
