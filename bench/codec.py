"""What the codec keeps, beside Opus at 12 and 16 kbps, on held-out music.

    python bench/codec.py WAVES CODEC.pt --out DIR [--clips 40] [--seconds 10]

Clips come from tracks and albums that nothing was trained on (train.corpus). Prints mel distance (log10, mean of five
scales), level ratio, SNR, correlation of the fine spectrum by band and codebook use; the waves go to DIR/reference,
DIR/codec, DIR/opus12 and DIR/opus16, for bench/fad.py. Opus is brought back to 32 kHz before it is measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from fad import through_opus

from openvmas.codec.autoencoder import load_codec
from openvmas.train.codec import SpectralLoss, compare, held_out_clips
from openvmas.train.corpus import SAMPLE_RATE


def opus(clips: torch.Tensor, kbps: int) -> torch.Tensor:
    """Clips [N, L] at 32 kHz through Opus, with the encoder's delay taken off by cross-correlation."""
    found = []
    for clip in clips.numpy():
        wave, rate = through_opus(clip, SAMPLE_RATE, kbps)
        wave = soxr.resample(wave, rate, SAMPLE_RATE)
        n = len(clip)
        lags = np.fft.irfft(np.fft.rfft(wave, 4 * n) * np.fft.rfft(clip, 4 * n).conj())
        lag = int(np.argmax(lags[:4000]))
        found.append(np.pad(wave[lag : lag + n], (0, max(0, n - len(wave[lag : lag + n])))))
    return torch.from_numpy(np.stack(found).astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("waves", type=Path)
    parser.add_argument("codec")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    codec = load_codec(arguments.codec)
    clips = held_out_clips(arguments.waves, arguments.clips, arguments.seconds)
    with torch.no_grad():
        codes = torch.cat([codec.encode(clip[None]) for clip in clips])
        systems = {
            "codec": torch.cat([codec.decode(c[None]) for c in codes]),
            "codec, 4 of 8 codebooks": torch.cat([codec.decode(c[None, :4]) for c in codes]),
            "opus12": opus(clips, 12),
            "opus16": opus(clips, 16),
        }
    loss = SpectralLoss(SAMPLE_RATE)
    for name, waves in {"reference": clips, **systems}.items():
        folder = arguments.out / name.split(",")[0].replace(" ", "_")
        if "," not in name:
            folder.mkdir(parents=True, exist_ok=True)
            for i, wave in enumerate(waves.numpy()):
                soundfile.write(folder / f"{i:03}.wav", wave, SAMPLE_RATE, subtype="FLOAT")
        if name != "reference":
            print(f"{name:24}", " ".join(f"{k} {v:.3f}" for k, v in compare(clips, waves, loss).items()))
    for level, row in enumerate(codes.unbind(1)):
        share = torch.bincount(row.flatten(), minlength=codec.config.codebook_size) / row.numel()
        perplexity = float(torch.exp(-(share * (share + 1e-12).log()).sum()))
        print(f"codebook {level}: {int((share > 0).sum())} entries used, perplexity {perplexity:.0f}")


if __name__ == "__main__":
    main()
