"""What more codebooks would give, and where the loss comes from: eight levels, twelve, and no quantiser at all.

    python bench/codec_levels.py WAVES CODEC.pt

Four further levels are fitted by k-means to what the codec's own leave over on training music (400 places of 2 s); the
decoder is as it is. Measured on 24 held-out clips of 4 s.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from openvmas.codec.autoencoder import load_codec
from openvmas.codec.quantizer import ResidualQuantizer
from openvmas.train.codec.codec_trainer import compare, held_out_clips
from openvmas.train.codec.corpus import SAMPLE_RATE, Crops
from openvmas.train.codec.losses import SpectralLoss

MORE, PLACES = 4, 400


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("waves", type=Path)
    parser.add_argument("codec", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    codec, crops = load_codec(str(arguments.codec)), Crops(arguments.waves)
    quantizer, generator = codec.quantizer, np.random.default_rng(5)
    left = []
    for _ in range(PLACES):
        wave = torch.from_numpy(crops.crop(generator, 2 * SAMPLE_RATE))
        latent = codec.encode_latent(wave[None])
        left.append((latent - quantizer.decode(quantizer.encode(latent)))[0])
    more = ResidualQuantizer(MORE, quantizer.codebook_size, codec.config.latent_width)
    more.initialize(torch.cat(left))
    clips, loss = held_out_clips(arguments.waves, 24, 4.0), SpectralLoss(SAMPLE_RATE)
    latent = codec.encode_latent(clips)
    coded = quantizer.decode(quantizer.encode(latent))
    finer = coded + more.decode(more.encode(latent - coded))
    levels = quantizer.n_codebooks
    for name, given in (
        (f"{levels} codebooks", coded),
        (f"{levels + MORE} codebooks", finer),
        ("no quantiser", latent),
    ):
        print(name, compare(clips, codec.decode_latent(given), loss), flush=True)


if __name__ == "__main__":
    main()
