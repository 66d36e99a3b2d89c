"""How far generated music lies from real music: Fréchet and kernel distance on YAMNet embeddings.

    python bench/fad.py REFERENCE [NAME=]FOLDER ... [--anchors CLIPS] [--patches 400] [--json out.json]

REFERENCE and each FOLDER hold audio files (wav, flac, ogg, mp3; searched below). --anchors names a folder of real clips
from which the yardsticks are made: the clips themselves, Opus at 12 and 16 kbps, and noise shaped to their spectrum.

The reference's embeddings are kept in an NPZ file beside the folder, which may be given instead of it later.
Every file is brought to -20 dB RMS first (a flag keeps levels), patches of 0.96 s below -50 dB are dropped, and every
row is measured with the same number of patches (drawn ten times; mean and deviation are printed), because the Fréchet
distance falls as the sample grows. Figures of two runs compare only with the same reference and number of patches.
Needs the extra `eval` and `python tools/fetch_eval_weights.py`.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from reference_cloud import Reference

from openvmas.eval.metrics.distances import kernel_inception_distance
from openvmas.hub.taggers import HOP, PATCH, PATCH_HOP, SAMPLE_RATE, Yamnet

SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
LEVEL, SILENCE = -20.0, -50.0  # dB below full scale, RMS
OPUS_RATE = 48_000  # Hz
DRAWS = 10


@dataclass(frozen=True)
class Row:
    """One line of the table. frechet, kernel: distance to the reference, with deviation over draws."""

    name: str
    n_files: int
    n_patches: int
    frechet: float
    frechet_std: float
    kernel: float
    music: float


def read_mono(path: Path, max_seconds: float) -> tuple[np.ndarray, int]:
    """The middle of a file, at most max_seconds: mono wave [L] and sample_rate."""
    with soundfile.SoundFile(path) as file:
        length = int(max_seconds * file.samplerate)
        file.seek(max(0, (file.frames - length) // 2))
        wave = file.read(length, dtype="float32", always_2d=True).mean(axis=1)
        return wave, file.samplerate


def to_level(wave: np.ndarray) -> np.ndarray:
    """The same wave at LEVEL; silence stays silence."""
    rms = np.sqrt(np.mean(np.square(wave, dtype=np.float64)))
    return wave if rms < 1e-5 else (wave * (10 ** (LEVEL / 20) / rms)).astype(np.float32)


def through_opus(wave: np.ndarray, sample_rate: int, kbps: int) -> tuple[np.ndarray, int]:
    """A mono wave [L] encoded by libopus at kbps and decoded again, at 48 kHz."""
    wave = soxr.resample(wave, sample_rate, OPUS_RATE).astype(np.float32)
    stored = io.BytesIO()
    with av.open(stored, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=OPUS_RATE, layout="mono", options={"application": "audio"})
        stream.bit_rate = kbps * 1000
        for start in range(0, len(wave), OPUS_RATE):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + OPUS_RATE], format="flt", layout="mono")
            frame.sample_rate, frame.pts = OPUS_RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    stored.seek(0)
    with av.open(stored) as container:
        parts = [frame.to_ndarray().mean(axis=0) for frame in container.decode(audio=0)]
    return np.concatenate(parts).astype(np.float32), OPUS_RATE


def shaped_noise(wave: np.ndarray, sample_rate: int, seed: int = 0) -> tuple[np.ndarray, int]:
    """Noise with the average spectrum of the wave [L] and nothing else of it."""
    size, hop = 2048, 512
    window = np.hanning(size + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, (0, size)), size)[::hop]
    shape = np.sqrt(np.mean(np.abs(np.fft.rfft(frames * window)) ** 2, axis=0))
    noise = np.random.default_rng(seed).normal(size=len(frames) * hop + size)
    output = np.zeros_like(noise)
    for start in range(0, len(noise) - size, hop):
        spectrum = np.fft.rfft(noise[start : start + size] * window) * shape
        output[start : start + size] += np.fft.irfft(spectrum) * window
    return output[: len(wave)].astype(np.float32), sample_rate


def embed_files(
    files: Iterable[Path],
    embedder: Yamnet,
    max_seconds: float,
    keep_level: bool = False,
    change: Callable[[np.ndarray, int], tuple[np.ndarray, int]] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [P, 1024] and logits [P, 521] of all patches that sound."""
    embeddings, logits = [], []
    for path in files:
        try:
            wave, sample_rate = read_mono(path, max_seconds)
        except soundfile.LibsndfileError as error:
            print(f"left out: {error}")
            continue
        if change is not None:
            wave, sample_rate = change(wave, sample_rate)
        wave = soxr.resample(wave, sample_rate, SAMPLE_RATE).astype(np.float32)
        if not keep_level:
            wave = to_level(wave)
        if len(wave) < PATCH * HOP:
            continue
        found = embedder.embed(wave, SAMPLE_RATE)
        starts = np.arange(len(found.times)) * PATCH_HOP * HOP
        power = [np.mean(np.square(wave[s : s + PATCH * HOP], dtype=np.float64)) for s in starts]
        sounds = 10 * np.log10(np.array(power) + 1e-12) > SILENCE
        embeddings.append(found.embeddings[sounds])
        logits.append(found.logits[sounds])
    if not embeddings:
        raise SystemExit("A folder holds no audio of a second or more; give folders of wav, flac, ogg or mp3 files.")
    return np.concatenate(embeddings), np.concatenate(logits)


def measure(name: str, n_files: int, reference: Reference, cloud, n_patches: int, music: int) -> Row:
    """One row from a cloud (embeddings, logits): distances over DRAWS draws of n_patches."""
    embeddings, logits = cloud
    if len(embeddings) < n_patches:
        raise SystemExit(f"{name} has {len(embeddings)} patches that sound, under {n_patches}; lower --patches.")
    generator = np.random.default_rng(0)
    frechet, kernel = [], []
    for _ in range(DRAWS):
        chosen = embeddings[generator.choice(len(embeddings), n_patches, replace=False)]
        frechet.append(reference.frechet(chosen))
        kernel.append(kernel_inception_distance(reference.embeddings, chosen))
    share = float(np.mean(1 / (1 + np.exp(-logits[:, music]))))
    return Row(name, n_files, n_patches, *map(float, (np.mean(frechet), np.std(frechet), np.mean(kernel))), share)


def audio_files(folder: Path, limit: int) -> list[Path]:
    """At most `limit` audio files below a folder, evenly spread over their names."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return files if len(files) <= limit else [files[i * len(files) // limit] for i in range(limit)]


def read_reference(folder: Path, n_files: int, settings: str, embed: Callable) -> np.ndarray:
    """At most 4,000 embeddings of a folder of real music, or those in an NPZ file; a folder's are kept beside it."""
    kept = folder if folder.suffix == ".npz" else folder.with_name(f"{folder.name}.{settings}.npz")
    if not kept.exists():
        files = audio_files(folder, n_files)
        found, _ = embed(files)
        if len(found) > 4000:
            found = found[np.random.default_rng(1).choice(len(found), 4000, replace=False)]
        np.savez_compressed(kept, embeddings=found.astype(np.float16), n_files=len(files))
    with np.load(kept) as data:
        print(f"reference: {int(data['n_files'])} files, {len(data['embeddings'])} patches ({kept})")
        return data["embeddings"].astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("folders", nargs="*", help="folders to measure, NAME=FOLDER or FOLDER")
    parser.add_argument("--anchors", type=Path, help="real clips from which the yardsticks are made")
    parser.add_argument("--patches", type=int, default=400, help="patches per row (default 400)")
    parser.add_argument("--seconds", type=float, default=30.0, help="longest part taken from a file (default 30)")
    parser.add_argument("--files", type=int, default=200, help="most files taken from a folder (default 200)")
    parser.add_argument("--keep-level", action="store_true", help="do not bring files to one level")
    parser.add_argument("--json", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    embedder = Yamnet()
    music = embedder.classes.index("Music")

    def embed(files: list[Path], change=None):
        return embed_files(files, embedder, arguments.seconds, arguments.keep_level, change)

    settings = f"{arguments.files}x{arguments.seconds:g}s" + "-levels" * arguments.keep_level
    reference = Reference(read_reference(arguments.reference, arguments.files, settings, embed))
    todo: list[tuple[str, list[Path], Callable | None]] = []
    if arguments.anchors:
        clips = audio_files(arguments.anchors, arguments.files)
        todo.append(("real clips", clips, None))
        for kbps in (16, 12):
            todo.append((f"Opus {kbps} kbps", clips, lambda wave, rate, kbps=kbps: through_opus(wave, rate, kbps)))
        todo.append(("shaped noise", clips, shaped_noise))
    for item in arguments.folders:
        name, _, folder = item.rpartition("=")
        todo.append((name or Path(folder).name, audio_files(Path(folder), arguments.files), None))
    rows = []
    print(f"{'':24} files patches  Fréchet   ±      kernel   music")
    for name, files, change in todo:
        row = measure(name, len(files), reference, embed(files, change), arguments.patches, music)
        rows.append(row)
        print(
            f"{row.name:24} {row.n_files:5d} {row.n_patches:7d} {row.frechet:8.3f} {row.frechet_std:6.3f} "
            f"{row.kernel:8.4f} {row.music:7.2f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
