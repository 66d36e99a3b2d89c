"""A tiny model with random weights, exported as a real one is."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from openvmas.codec.autoencoder import CODEC_PRESETS, Codec
from openvmas.condition import AXES, Condition
from openvmas.model.decoder import DECODER_PRESETS, Decoder
from openvmas.timeline import Events
from openvmas.train.export.export_model import ExportOptions, export


def make_models() -> tuple[Codec, Decoder]:
    torch.manual_seed(3)
    codec, decoder = Codec(CODEC_PRESETS["debug"]).eval(), Decoder(DECODER_PRESETS["debug"]).eval()
    torch.nn.init.normal_(codec.quantizer.codebooks)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return codec, decoder


def export_debug(folder: Path) -> Path:
    """Folder with an exported model of the debug preset."""
    export(*make_models(), folder, ExportOptions("debug", "0"))
    return folder


def make_condition(n_steps: int, ends: bool = True) -> Condition:
    """Accents every 0.8 s, 120 beats per minute, steady energy."""
    accents = np.zeros(n_steps, np.float32)
    accents[::40] = 1
    times = np.arange(n_steps) / 50
    left = n_steps / 50 - times if ends else np.full(n_steps, np.inf)
    steady = np.full(n_steps, 0.6, np.float32)
    events = Events(Fraction(50), accents, steady, np.zeros(n_steps, np.float32))
    nothing = np.full((n_steps, len(AXES)), np.nan, np.float32)
    return Condition(events, np.arange(0, times[-1], 0.5), np.arange(0, times[-1], 2.0), nothing, left, times)
