"""TensorBoard: numbers, pictures of curves, and sound of what the model writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openvmas.codec.autoencoder import load_codec
from openvmas.errors import InputError
from openvmas.generate.pattern import undelay
from openvmas.model.decoder import Decoder, DecoderStep
from openvmas.settings import CONTROL_RATE

RATE = float(CONTROL_RATE)


class Board:
    """Writes `RUN/tensorboard`. Steps after `step` that a killed run wrote are not shown (purge_step)."""

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError("--tensorboard needs tensorboard; run `pip install 'openvmas[train]'`.") from error
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def numbers(self, step: int, group: str, values: Mapping[str, float]) -> None:
        """One curve for each name."""
        for name, value in values.items():
            if name not in ("step", "seconds"):
                self.writer.add_scalar(f"{group}/{name}", value, step)

    def curves(self, step: int, name: str, curves: Mapping[str, np.ndarray]) -> None:
        """A picture of curves [T] at CONTROL_RATE, one below the other."""
        self.writer.add_figure(name, draw_curves(curves), step)

    def sound(self, step: int, name: str, wave: np.ndarray, sample_rate: int) -> None:
        """wave [L] in [-1, 1]."""
        self.writer.add_audio(name, torch.from_numpy(np.ascontiguousarray(wave))[None], step, sample_rate)

    def written(self, step: int, decoder: Decoder, condition: Tensor, codec: str | None) -> None:
        """Sound of what the decoder writes under a condition [S, D]; nothing without a codec.pt."""
        if codec:
            network = load_codec(codec)
            wave = network.decode(torch.from_numpy(write_codes(decoder, condition))[None])[0].clamp(-1, 1)
            self.sound(step, "written", wave.numpy(), network.config.sample_rate)
        self.writer.flush()

    def close(self) -> None:
        """Write what waits."""
        self.writer.close()


def draw_curves(curves: Mapping[str, np.ndarray]) -> Any:
    """A figure: a row of axes for each curve [T], on one clock in seconds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # needs no screen
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 * len(curves)), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(len(curves), sharex=True, squeeze=False)[:, 0]
    for axis, (name, curve) in zip(axes, curves.items(), strict=True):
        axis.plot(np.arange(len(curve)) / RATE, curve, linewidth=0.8)
        axis.set_title(name, fontsize=8, loc="left")
    axes[-1].set_xlabel("s")
    return figure


@torch.no_grad()
def write_codes(decoder: Decoder, condition: Tensor, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
    """Codes [K, T] that the decoder writes alone under a condition [S, D], S = T + K - 1; by sampling, with a cache."""
    config, n_steps = decoder.config, len(condition)
    step, generator = DecoderStep(decoder), torch.Generator().manual_seed(seed)
    n_wide = len(config.wide_layers)
    device = condition.device
    cache: dict[str, Tensor] = {}
    for name, count, window in (("narrow", config.n_layers - n_wide, config.narrow), ("wide", n_wide, config.wide)):
        shape = (count, 1, config.n_groups)
        cache[f"{name}_keys"] = torch.zeros(*shape, config.head_width, window - 1, device=device)
        cache[f"{name}_values"] = torch.zeros(*shape, window - 1, config.head_width, device=device)
        cache[f"{name}_mask"] = torch.full((window - 1,), -1e9, device=device)
    is_wide = torch.tensor([i in config.wide_layers for i in range(config.n_layers)])
    tokens = torch.full((1, config.n_codebooks), config.codebook_size, device=device)
    written = []
    for s in range(n_steps):
        cosine, sine = decoder.positions(torch.tensor(s, device=device))
        logits, keys, values = step(tokens, condition[None, s], cosine, sine, **cache)
        for name, layers in (("narrow", ~is_wide), ("wide", is_wide)):
            slot = s % len(cache[f"{name}_mask"])
            cache[f"{name}_keys"][..., slot] = keys[layers]
            cache[f"{name}_values"][..., slot, :] = values[layers]
            cache[f"{name}_mask"][slot] = 0
        chances = (logits[0].float().cpu() / temperature).softmax(-1)
        tokens = torch.multinomial(chances, 1, generator=generator)[:, 0].to(device)[None]
        waits = torch.arange(config.n_codebooks, device=device)
        tokens = torch.where((waits > s) | (s - waits > n_steps - config.n_codebooks), config.codebook_size, tokens)
        written.append(tokens[0].cpu().numpy())
    return undelay(np.stack(written, axis=1))


@torch.no_grad()
def show(board: Board, step: int, measures: Mapping[str, float], model: Any, batch: Any, codec: str | None) -> None:
    """What was measured on held-out pairs; for the first of them curves and, with a codec.pt, what is written for it.

    model: a `JointModel` of whole weights; batch: a `PairBatch`.
    """
    board.numbers(step, "held_out", measures)
    one = type(batch)(**{name: value[:1] for name, value in vars(batch).items()})
    model.eval()
    condition, _ = model.told(one, torch.ones(3, 1, device=one.picture.device))
    onsets = model.onsets(model.decoder.hidden(one.tokens, condition)).sigmoid()
    curves = {
        "accents of the picture": one.picture[0, :, 0], "energy of the picture": one.picture[0, :, 1],
        "onsets of the music": one.onsets[0], "onsets that the decoder expects": onsets[0],
    }  # fmt: skip
    board.curves(step, "curves", {name: curve.float().cpu().numpy() for name, curve in curves.items()})
    board.written(step, model.decoder, condition[0], codec)
    model.train()
