"""The codec and Opus on held-out clips: every clip is measured once, and what was measured is kept.

A folder holds one NPZ file per system and clip, so that a run that was stopped goes on where it was, Opus is not
measured again for the next codec, and a second codec costs only itself.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from codec_measures import (
    Onsets,
    band_gains,
    chroma,
    chroma_correlation,
    find_onsets,
    fine_correlations,
    level_ratio,
    magnitudes,
    match_onsets,
    snr_db,
)
from fad import SILENCE, to_level
from opus import through_opus

from openvmas.codec.autoencoder import Codec, load_codec
from openvmas.hub.taggers import SAMPLE_RATE as EMBEDDER_RATE
from openvmas.hub.taggers import Musicnn, Yamnet, at_16k
from openvmas.train.codec.corpus import SAMPLE_RATE
from openvmas.train.codec.losses import SpectralLoss

Measured = dict[str, np.ndarray]
FEWER = (2, 4, 6)  # codebooks, beside all of them


@dataclass(frozen=True)
class Coded:
    """A wave after a system: wave [L], the bit rate that it took, the codes [K, T] if there are any."""

    wave: np.ndarray
    kbps: float
    codes: np.ndarray | None = None


class OpusSystem:
    """libopus at one bit rate."""

    def __init__(self, kbps: int) -> None:
        self.kbps, self.name, self.id = kbps, f"Opus {kbps}", f"opus{kbps}"

    def __call__(self, wave: np.ndarray) -> Coded:
        return Coded(*through_opus(wave, SAMPLE_RATE, self.kbps))


class CodecSystem:
    """A codec's checkpoint. Its folder of results is named after the file's content."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.id = "codec-" + hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        self.codec: Codec = load_codec(str(path)).eval()
        config = self.codec.config
        if config.sample_rate != SAMPLE_RATE:
            raise SystemExit(f"{path} is a codec of {config.sample_rate} Hz; this bench needs {SAMPLE_RATE} Hz.")
        self.kbps = config.n_codebooks * float(np.log2(config.codebook_size)) * float(config.frame_rate) / 1000

    @torch.no_grad()
    def encode(self, wave: np.ndarray) -> np.ndarray:
        """Codes [K, T] of a wave [L]; the last step is filled up with silence."""
        hop = self.codec.config.hop_length
        return self.codec.encode(torch.from_numpy(np.pad(wave, (0, -len(wave) % hop)))[None])[0].numpy()

    @torch.no_grad()
    def decode(self, codes: np.ndarray, length: int) -> np.ndarray:
        """Wave [length] of the first codebooks' codes [K, T]."""
        return self.codec.decode(torch.from_numpy(codes.astype(np.int64))[None])[0].float().numpy()[:length]

    def __call__(self, wave: np.ndarray) -> Coded:
        codes = self.encode(wave)
        return Coded(self.decode(codes, len(wave)), self.kbps, codes)


System = OpusSystem | CodecSystem


class Ears:
    """All that listens to waves; made once."""

    def __init__(self) -> None:
        self.loss = SpectralLoss(SAMPLE_RATE)
        self.embedders: dict[str, Yamnet | Musicnn] = {"yamnet": Yamnet(), "musicnn": Musicnn()}

    @torch.no_grad()
    def mels(self, wave: np.ndarray) -> list[torch.Tensor]:
        """log10 mel spectra of the five scales, shortest window first."""
        windows = [n for n, _ in self.loss.mel_scales]
        return self.loss.features(torch.from_numpy(wave)[None], windows, [])["mel"]

    def embed(self, wave: np.ndarray) -> Measured:
        """Embeddings by each network, [P, D] float16: at one level, without patches below -50 dB (as bench/fad.py)."""
        wave = to_level(at_16k(wave, SAMPLE_RATE, 0))
        power = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
        found = {}
        for name, embedder in self.embedders.items():
            heard = embedder.embed(wave, EMBEDDER_RATE)
            edges = np.stack([heard.times - heard.span / 2, heard.times + heard.span / 2])
            start, end = np.clip(np.rint(edges * EMBEDDER_RATE).astype(int), 0, len(wave))
            mean = (power[end] - power[start]) / np.maximum(end - start, 1)
            found[name] = heard.embeddings[10 * np.log10(mean + 1e-12) > SILENCE].astype(np.float16)
        return found


@dataclass(frozen=True)
class Heard:
    """What is known of a clip's original, computed once for all systems."""

    wave: np.ndarray
    mels: list[torch.Tensor]
    spectrum: np.ndarray
    chroma: np.ndarray
    onsets: Onsets

    @classmethod
    def of(cls, wave: np.ndarray, ears: Ears) -> Heard:
        return cls(wave, ears.mels(wave), magnitudes(wave), chroma(wave, SAMPLE_RATE), find_onsets(wave, SAMPLE_RATE))


def mel_distances(reference: list[torch.Tensor], estimated: list[torch.Tensor]) -> np.ndarray:
    """Mean absolute difference by scale: [5]."""
    return np.array([float((a - b).abs().mean()) for a, b in zip(reference, estimated, strict=True)])


def measure(reference: Heard, coded: Coded, ears: Ears) -> Measured:
    """All measures of one clip; each may be an array."""
    wave = coded.wave
    spectrum = magnitudes(wave)
    whole, audible = fine_correlations(reference.spectrum, spectrum, SAMPLE_RATE)
    match = match_onsets(reference.onsets, find_onsets(wave, SAMPLE_RATE))
    values = {
        "kbps": coded.kbps,
        "mel": mel_distances(reference.mels, ears.mels(wave)),
        "level": level_ratio(reference.wave, wave),
        "snr": snr_db(reference.wave, wave),
        "fine": whole,
        "audible": audible,
        "gains": band_gains(reference.spectrum, spectrum, SAMPLE_RATE),
        "chroma": chroma_correlation(reference.chroma, chroma(wave, SAMPLE_RATE)),
        "onsets": [match.n_strong, match.n_kept, match.n_heard, match.n_added],
        "shifts": match.shifts,
        **ears.embed(wave),
    }
    if coded.codes is not None:
        values["codes"] = coded.codes.astype(np.int16)
    return {name: np.asarray(value) for name, value in values.items()}


def measure_fewer(reference: Heard, system: CodecSystem, codes: np.ndarray, ears: Ears) -> Measured:
    """Mel distance and SNR with fewer codebooks: `fewer` [n, 3] of codebooks, mel, SNR in dB."""
    rows = []
    for n in FEWER:
        if n < len(codes):
            wave = system.decode(codes[:n], len(reference.wave))
            mel = mel_distances(reference.mels, ears.mels(wave)).mean()
            rows.append([n, mel, snr_db(reference.wave, wave)])
    return {"fewer": np.array(rows).reshape(-1, 3)}


def kept(path: Path, make: Callable[[], Measured]) -> Measured:
    """What is in the NPZ file, or what `make` makes, which is then kept there."""
    if path.exists():
        with np.load(path) as data:
            return dict(data)
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.part.npz")
    np.savez(partial, **made)
    os.replace(partial, path)
    return made


def measure_clip(
    wave: np.ndarray, systems: list[System], ears: Ears, folder: Path, key: str, waves_folder: Path | None = None
) -> dict[str, Measured]:
    """Everything about one clip by system's name; "real" is the clip itself (embeddings only).

    key: names the clip's files. waves_folder: where its waves are written for listening, if they are wanted.
    """
    originals: list[Heard] = []  # listened to only if something is missing

    def original() -> Heard:
        if not originals:
            originals.append(Heard.of(wave, ears))
        return originals[0]

    results = {"real": kept(folder / "real" / f"{key}.npz", lambda: ears.embed(wave))}
    if waves_folder:
        write_wave(waves_folder / "reference.wav", wave)
    for system in systems:

        def make(system: System = system) -> Measured:
            coded = system(wave)
            found = measure(original(), coded, ears)
            if isinstance(system, CodecSystem) and coded.codes is not None:
                found |= measure_fewer(original(), system, coded.codes, ears)
            return found

        if waves_folder:
            write_wave(waves_folder / f"{system.id}.wav", system(wave).wave)
        results[system.name] = kept(folder / system.id / f"{key}.npz", make)
    return results


def write_wave(path: Path, wave: np.ndarray) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, SAMPLE_RATE, subtype="FLOAT")
