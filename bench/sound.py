"""How the symbolic composer's sound lies beside recordings: treble, bass, crest, sides, and Fréchet distance by YAMNet.

    python bench/sound.py REFERENCE [NAME=FOLDER ...] [--seconds 10] [--json out.json]
    python bench/sound.py --make FOLDER [--pieces 36]
    python bench/sound.py REFERENCE --styles FOLDER [--pieces 2]

REFERENCE and the folders hold audio files; of each file the middle seconds count. --make writes pieces of 12 s by
`--model symbolic`, each for other words, energies and seed. For every measure the quartiles of the reference are
printed and, of each folder, the median and the share of files within them. The Fréchet distance has two parts, of the
means and of the covariances; variance: between the pieces' mean embeddings, against that of the reference (1: as
much). --styles writes so many pieces of every style at its own tempo, those that FOLDER lacks, and prints a table of
them, with an arrow where a style lies beyond the quartiles and two where it lies farther out than these are apart;
distance: of its mean embedding from that of the recordings, over how far these lie from it on average. Figures compare
only with the same reference, seconds and number of pieces. Needs the extra `eval`.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from fad import audio_files, to_level

import openvmas
from openvmas.eval.metrics.distances import Gaussian, principal_axes
from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.schema import Hit, ScorePlan, Section
from openvmas.symbolic.styles import read_styles

WORDS = (
    "calm piano", "ambient, spacious", "epic orchestral trailer", "funny, playful, kids", "house", "happy pop",
    "hard rock", "lo-fi, calm", "acoustic folk", "swing jazz", "chiptune", "horror, dark, scary", "techno",
    "drum and bass", "synthwave", "funk, disco", "soul", "reggae", "bossa nova", "blues", "country",
    "singer-songwriter, sad", "indie rock", "metal, angry", "punk", "adventure score", "documentary piano, tender",
    "minimalism", "new age, peaceful", "corporate, motivational", "Celtic", "Latin", "waltz, romantic", "trap",
    "boom bap, hip hop", "electronic, sad",
)  # fmt: skip
ENERGIES = ((0.7,), (0.45, 0.8), (0.9, 0.6))
TEMPI = (84.0, 100.0, 118.0, 128.0, 92.0)
TREBLE_HZ, BASS_HZ = 6000.0, 120.0


def treble(wave: np.ndarray, rate: int) -> float:
    """Share of energy above 6 kHz, percent."""
    return 100 * _share(wave, rate, lambda hertz: hertz > TREBLE_HZ)


def bass(wave: np.ndarray, rate: int) -> float:
    """Share of energy below 120 Hz, percent."""
    return 100 * _share(wave, rate, lambda hertz: hertz < BASS_HZ)


def crest(wave: np.ndarray, rate: int) -> float:
    """Peak over RMS, dB."""
    return float(20 * np.log10(np.abs(wave).max() / np.sqrt((wave**2).mean() + 1e-20) + 1e-9))


def sides(wave: np.ndarray, rate: int) -> float:
    """Sides over middle, dB."""
    middle, side = wave.mean(axis=0), 0.5 * (wave[0] - wave[1])
    return float(10 * np.log10(((side**2).mean() + 1e-12) / ((middle**2).mean() + 1e-12)))


def bass_sides(wave: np.ndarray, rate: int) -> float:
    """Sides over middle below 120 Hz, dB."""
    low = np.fft.rfft(wave)[:, : int(BASS_HZ * wave.shape[1] / rate)]
    power = [np.sum(np.abs(part) ** 2) for part in (low[0] - low[1], low[0] + low[1])]
    return float(10 * np.log10((power[0] + 1e-9) / (power[1] + 1e-9)))


MEASURES: dict[str, Callable[[np.ndarray, int], float]] = {
    "treble %": treble, "bass %": bass, "crest dB": crest, "sides dB": sides, "bass sides dB": bass_sides,
}  # fmt: skip


def _share(wave: np.ndarray, rate: int, chosen: Callable[[np.ndarray], np.ndarray]) -> float:
    power = (np.abs(np.fft.rfft(wave)) ** 2).sum(axis=0)
    return float(power[chosen(np.fft.rfftfreq(wave.shape[1], 1 / rate))].sum() / (power.sum() + 1e-12))


def read_middle(path: Path, seconds: float) -> tuple[np.ndarray, int]:
    """The middle of a file: stereo wave [2, L] and its rate."""
    with soundfile.SoundFile(path) as file:
        length = int(seconds * file.samplerate)
        file.seek(max(0, (file.frames - length) // 2))
        wave = file.read(length, dtype="float32", always_2d=True).T
        return (wave if len(wave) == 2 else np.repeat(wave[:1], 2, axis=0)), file.samplerate


def measure(files: list[Path], seconds: float) -> dict[str, np.ndarray]:
    """Every measure of every file."""
    waves = [read_middle(path, seconds) for path in files]
    return {name: np.array([of(wave, rate) for wave, rate in waves]) for name, of in MEASURES.items()}


def embed(files: list[Path], seconds: float) -> list[np.ndarray]:
    """The patches' embeddings [P, D] of every file, at one level."""
    from openvmas.hub.taggers import SAMPLE_RATE, Yamnet

    yamnet = Yamnet()
    found = []
    for path in files:
        wave, rate = read_middle(path, seconds)
        mono = soxr.resample(wave.mean(axis=0), rate, SAMPLE_RATE).astype(np.float32)
        found.append(yamnet.embed(to_level(mono), SAMPLE_RATE).embeddings)
    return found


def distance(reference: list[np.ndarray], pieces: list[np.ndarray]) -> dict[str, float]:
    """The Fréchet distance with its parts, and the variance between pieces against that of the reference."""
    axes = principal_axes(np.concatenate(reference))
    a, b = (Gaussian.fit(axes.project(np.concatenate(cloud).astype(float))) for cloud in (reference, pieces))
    whole, mean = a.distance(b), float(np.sum((a.mean - b.mean) ** 2))
    between = [
        float(axes.project(np.stack([piece.mean(axis=0) for piece in cloud]).astype(float)).var(axis=0).sum())
        for cloud in (reference, pieces)
    ]
    return {"Fréchet": whole, "mean": mean, "covariance": whole - mean, "variance": between[1] / between[0]}


def halves(reference: list[np.ndarray], pieces: list[np.ndarray], n_draws: int = 6) -> dict[str, dict[str, float]]:
    """The mean distances, over draws, from one half of the reference to the other and to as many pieces."""
    rng = np.random.default_rng(0)
    found: dict[str, list[dict[str, float]]] = {"the other half": [], "as many pieces": []}
    n = len(reference) // 2
    for _ in range(n_draws):
        order = rng.permutation(len(reference))
        first, second = ([reference[k] for k in part] for part in (order[: len(order) - n], order[len(order) - n :]))
        found["the other half"].append(distance(first, second))
        found["as many pieces"].append(distance(first, [pieces[k] for k in rng.permutation(len(pieces))[:n]]))
    return {name: {k: float(np.mean([row[k] for row in rows])) for k in rows[0]} for name, rows in found.items()}


def make(folder: Path, n_pieces: int) -> None:
    """Write pieces by the symbolic composer."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n_pieces):
        words, energies = WORDS[number % len(WORDS)], ENERGIES[number % len(ENERGIES)]
        name = f"{number:02d}-{words.replace(', ', '-').replace(' ', '-')}.wav"
        write_piece(folder / name, words, energies, TEMPI[number % len(TEMPI)], number)


@functools.cache
def composer() -> openvmas.Scorer:
    return openvmas.load("symbolic")


def write_piece(path: Path, words: str, energies: tuple[float, ...], tempo: float, seed: int, metre: int = 4) -> None:
    """Write a piece of 12 s with an accent in its middle, at full scale."""
    edges = np.linspace(0, 12.0, len(energies) + 1)
    sections = tuple(Section(float(a), float(b), e) for a, b, e in zip(edges, edges[1:], energies, strict=False))
    plan = ScorePlan(Fraction(12), sections, (TempoMark(0.3, tempo, 1),), metre, (Hit(6.0, 0.9, "user"),), text=words)
    wave = np.concatenate(list(composer().compose(plan, seed=seed)), axis=1)
    soundfile.write(path, np.clip(0.9 * wave / np.abs(wave).max(), -1, 1).T, 48_000)


def make_styles(folder: Path, n_pieces: int) -> None:
    """Write pieces of every style, those that are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for style in read_styles().styles:
        for number in range(n_pieces):
            path = folder / f"{style.name.replace(' ', '_')}-{number}.wav"
            if not path.exists():
                tempo = float(np.sqrt(style.tempo[0] * style.tempo[1]))
                energies = ENERGIES[number % len(ENERGIES)]
                write_piece(path, style.words[0], energies, tempo, number, style.metre)


def print_styles(folder: Path, quartiles: dict[str, np.ndarray], cloud: list[np.ndarray], seconds: float) -> None:
    """Print the table of styles: the mean of each measure over a style's pieces."""
    axes = principal_axes(np.concatenate(cloud))
    centres = axes.project(np.stack([one.mean(axis=0) for one in cloud]).astype(float))
    middle = centres.mean(axis=0)
    usual = float(np.mean(np.linalg.norm(centres - middle, axis=1)))
    columns = [name for name in quartiles if name != "bass sides dB"]
    print("| style | " + " | ".join(columns) + " | distance |\n|---|" + "---|" * (len(columns) + 1))
    print(
        "| recordings, quartiles | "
        + " | ".join(f"{quartiles[c][0]:.1f} to {quartiles[c][2]:.1f}" for c in columns)
        + " | 1 |"
    )
    for style in read_styles().styles:
        files = sorted(folder.glob(f"{style.name.replace(' ', '_')}-*.wav"))
        values = {name: float(np.mean(found)) for name, found in measure(files, seconds).items()}
        heard = axes.project(np.stack([one.mean(axis=0) for one in embed(files, seconds)]).astype(float))
        away = float(np.mean(np.linalg.norm(heard - middle, axis=1))) / usual
        cells = [f"{values[name]:.1f}{arrow(values[name], quartiles[name])}" for name in columns]
        print(f"| {style.name} | " + " | ".join(cells) + f" | {away:.2f} |", flush=True)


def arrow(value: float, quartiles: np.ndarray) -> str:
    """Signs of where a value lies against quartiles: none within, two farther out than these are apart."""
    low, _, high = quartiles
    sign = "↓" if value < low else "↑"
    out = max(low - value, value - high)
    return "" if out <= 0 else f" {sign}" if out <= high - low else f" {sign}{sign}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path, nargs="?")
    parser.add_argument("folders", nargs="*", help="folders to measure, NAME=FOLDER or FOLDER")
    parser.add_argument("--make", type=Path, help="write pieces here")
    parser.add_argument("--styles", type=Path, help="table of styles, with their pieces in this folder")
    parser.add_argument("--pieces", type=int, help="how many (default 36), or of each style (default 2)")
    parser.add_argument("--seconds", type=float, default=10.0, help="middle of each file that counts (default 10)")
    parser.add_argument("--halves", action="store_true", help="also from half of the reference to the other half")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.make, arguments.pieces or 36)
    if arguments.styles:
        make_styles(arguments.styles, arguments.pieces or 2)
    if arguments.reference is None:
        return
    files = audio_files(arguments.reference, 400)
    real, cloud = measure(files, arguments.seconds), embed(files, arguments.seconds)
    quartiles = {name: np.percentile(values, [25, 50, 75]) for name, values in real.items()}
    print(
        f"{'reference':14}" + "".join(f"{name}: {q[0]:.1f} {q[1]:.1f} {q[2]:.1f}   " for name, q in quartiles.items())
    )
    report: dict[str, Any] = {"reference": {name: list(q) for name, q in quartiles.items()}}
    for item in arguments.folders:
        name, _, folder = item.rpartition("=")
        name, pieces = name or Path(folder).name, audio_files(Path(folder), 400)
        values = measure(pieces, arguments.seconds)
        inside = {k: float(np.mean((v >= quartiles[k][0]) & (v <= quartiles[k][2]))) for k, v in values.items()}
        embeddings = embed(pieces, arguments.seconds)
        found = distance(cloud, embeddings)
        report[name] = {k: [float(np.median(v)), inside[k]] for k, v in values.items()} | found
        print(f"{name:14}" + "".join(f"{k}: {np.median(v):.1f} ({inside[k]:.0%})   " for k, v in values.items()))
        print(" " * 14 + "   ".join(f"{k} {v:.3f}" for k, v in found.items()))
        if arguments.halves:
            for label, row in halves(cloud, embeddings).items():
                print(f"{'':14}half to {label}: " + "   ".join(f"{k} {v:.3f}" for k, v in row.items()))
    if arguments.styles:
        print_styles(arguments.styles, quartiles, cloud, arguments.seconds)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
