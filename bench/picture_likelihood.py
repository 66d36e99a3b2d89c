"""Does the picture tell a decoder anything about its music? Likelihood of held-out pairs with and without it, paired.

    python bench/picture_likelihood.py RUN PACKED BANK [--pairs 40] [--steps 320]

RUN is the folder of a joint run, PACKED and BANK what it learned from. Held-out music with montages of held-out
pictures goes through the decoder under the condition that a plan of the picture would give: with no picture (off), with
its own (on), with another clip's (shuffled), and with one that is the same at every moment, the mean of features and
curves (mean). The table has the mean of nats per code and, for each variant, its difference from `off` and from `on`
over the pairs with the interval of 95 %. The same codes are judged each time, so this sees what composing anew cannot.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from openvmas.data.montage.bank import Bank
from openvmas.eval.metrics.statistics import bootstrap_interval
from openvmas.model.decoder import Decoder, load_decoder
from openvmas.model.video_encoder import VideoEncoder, load_video_encoder
from openvmas.train.decoder.examples import read_packed
from openvmas.train.joint.material import TEST_SEED
from openvmas.train.joint.pairs import MontagePairs, PairBatch, collate, draw_distinct, split_bank

CHUNK = 8


@torch.no_grad()
def nats(decoder: Decoder, encoder: VideoEncoder, batch: PairBatch, variant: str) -> np.ndarray:
    """Mean negative log-likelihood of each clip's codes, nats: [B]."""
    told = torch.ones(len(batch.tokens))
    condition = decoder.condition(batch.curves, batch.semantics, told, told)
    if variant != "off":
        features, curves = batch.features, batch.picture
        if variant == "shuffled":
            features, curves = features.roll(1, 0), curves.roll(1, 0)
        if variant == "mean":
            features, curves = (x.mean(1, keepdim=True).expand_as(x) for x in (features, curves))
        condition = condition + encoder(features, curves).steps
    likelihood = decoder.predict(decoder.hidden(batch.tokens, condition)).log_softmax(-1)
    is_there = batch.tokens != decoder.config.codebook_size
    chosen = likelihood.gather(-1, (batch.tokens * is_there)[..., None])[..., 0]
    return (-(chosen * is_there).sum((1, 2)) / is_there.sum((1, 2))).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("run", "packed", "bank"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--steps", type=int, default=320)
    given = parser.parse_args()
    torch.set_num_threads(1)
    decoder = load_decoder(str(given.run / "decoder.pt"))
    encoder = load_video_encoder(str(given.run / "video_encoder.pt"))
    held_out, bank = read_packed(given.packed)[1], split_bank(Bank.load(given.bank))[1]
    source = MontagePairs(held_out, bank, given.steps, encoder.config.fps, TEST_SEED, picture_events=1.0)
    clips = draw_distinct(source, given.pairs, given.steps, decoder.config, TEST_SEED)
    # As a plan: of what the music means, only what a picture shows may be known, and that is not what is asked here.
    clips = [replace(clip, condition=replace(clip.condition, semantics=np.full_like(clip.condition.semantics, np.nan)))
             for clip in clips]  # fmt: skip
    width = encoder.config.feature_width
    batches = [
        collate(clips[i : i + CHUNK], decoder.config, encoder.config.fps, width) for i in range(0, len(clips), CHUNK)
    ]
    found = {
        variant: np.concatenate([nats(decoder, encoder, batch, variant) for batch in batches])
        for variant in ("off", "on", "shuffled", "mean")
    }
    print(f"{len(clips)} pairs of {given.steps / 50:g} s\n\n| picture | nats | less off | less on |\n|---|---|---|---|")
    for variant, values in found.items():
        cells = []
        for base in ("off", "on"):
            apart = bootstrap_interval(values - found[base])
            cells.append(f"{apart.value:+.4f} ({apart.low:+.4f} to {apart.high:+.4f})" if base != variant else "")
        print(f"| {variant} | {values.mean():.4f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
