"""TensorBoard logs: numbers, plots of curves, and sound that the model composes, sampled in PyTorch as it trains."""

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
from openvmas.model.decoder import CachedDecoder, Decoder
from openvmas.settings import CONTROL_RATE

RATE = float(CONTROL_RATE)


class Board:
    """Writer of `RUN/tensorboard`. Steps after `step`, which a killed run wrote, are not shown (purge_step)."""

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

    def composed(self, step: int, decoder: Decoder, condition: Tensor, codec: str | None) -> None:
        """Log sound that the decoder samples under a condition [S, D]; without a codec.pt only flush the file."""
        if codec:
            network = load_codec(codec)
            wave = network.decode(torch.from_numpy(sample_codes(decoder, condition[None])))[0].clamp(-1, 1)
            self.writer.add_audio("written", wave[None], step, network.config.sample_rate)
        self.writer.flush()


def draw_curves(curves: Mapping[str, np.ndarray]) -> Any:
    """A figure: a row of axes for each curve [T] at CONTROL_RATE, on one clock in seconds."""
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
def show_pair(board: Board, step: int, model: Any, batch: Any, codec: str | None) -> None:
    """Log curves of the first of some held-out pairs and, with a codec.pt, sound that is composed for it.

    model: a `JointModel` of whole weights; batch: a `PairBatch`.
    """
    one = type(batch)(**{name: value[:1] for name, value in vars(batch).items()})
    model.eval()
    condition, _ = model.cond(one, torch.ones(3, 1, device=one.picture.device))
    onsets = model.onsets(model.decoder.hidden(one.tokens, condition)).sigmoid()
    curves = {
        "accents of the picture": one.picture[0, :, 0], "energy of the picture": one.picture[0, :, 1],
        "onsets of the music": one.onsets[0], "onsets that the decoder expects": onsets[0],
    }  # fmt: skip
    figure = draw_curves({name: curve.float().cpu().numpy() for name, curve in curves.items()})
    board.writer.add_figure("curves", figure, step)
    board.composed(step, model.decoder, condition[0], codec)
    model.train()


@torch.no_grad()
def sample_codes(
    decoder: Decoder, cond: Tensor, uncond: Tensor | None = None, guidance: float = 3.0, temperature: float = 1.0,
    top_k: int = 0, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Codes [B, K, T] int64 under conditions [B, S, D], S = T + K - 1.

    uncond [B, S, D]: conditions of the other branch of guidance (Ho and Salimans 2022); without it there is none.
    top_k: sample from so many of the most likely codes (0: all).
    """
    config, (batch, n_steps) = decoder.config, cond.shape[:2]
    conditions = cond if uncond is None else torch.cat([cond, uncond])
    n, device = len(conditions), cond.device
    cached, generator = CachedDecoder(decoder, n, device), torch.Generator().manual_seed(seed)
    tokens = torch.full((n, config.n_codebooks), config.codebook_size, device=device)
    delays = torch.arange(config.n_codebooks)
    sampled = []
    for position in range(n_steps):
        logits = cached.step(tokens, conditions[:, position]).float().cpu()
        if uncond is not None:
            logits = logits[batch:] + guidance * (logits[:batch] - logits[batch:])
        kept, order = (logits / temperature).topk(min(top_k or logits.shape[-1], logits.shape[-1]), dim=-1)
        drawn = torch.multinomial(kept.softmax(-1).flatten(0, 1), 1, generator=generator).view(batch, -1, 1)
        chosen = order.gather(-1, drawn)[..., 0]
        # Codebook k begins and ends k steps later (generate.pattern).
        is_outside = (delays > position) | (position - delays > n_steps - config.n_codebooks)
        chosen[:, is_outside] = config.codebook_size
        sampled.append(chosen)
        tokens = chosen.repeat(n // batch, 1).to(device)
    return np.stack([undelay(rows) for rows in torch.stack(sampled, dim=-1).numpy()])
