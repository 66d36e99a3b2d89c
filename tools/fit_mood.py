"""Make openvmas/fitting/weights/mood.npz: how the traits of a recording lead to its mood, by ridge regression.

    python tools/fit_mood.py CSV PACKAGES [--tracks 180]

CSV: the table free-music.csv with valence, energy, danceability and acousticness of free recordings (measured by an
outside tagger); PACKAGES: folder of the unpacked Debian packages that hold them. Only albums that no measurement of
bench/fitting.py uses are heard. A fifth of the recordings is kept back, and the correlation there is printed.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from openvmas.errors import OpenVMASError
from openvmas.files import write_npz
from openvmas.fitting import track
from openvmas.fitting.mood import WEIGHTS
from openvmas.media.audio import read_audio_blocks
from openvmas.music.analysis import to_lufs
from openvmas.music.onsets import ANALYSIS_RATE, moving_mean, pick_onsets

ALBUMS = (
    "ardentryst", "berusky2-data", "colobot-common-sounds", "davegnukem-data", "fillets-ng-data", "flare-game",
    "freedroidrpg-data", "hedgewars-data", "hyperrogue-music", "megaglest-data", "nexuiz-music", "redeclipse-data",
    "supertux-data", "unknown-horizons",
)  # fmt: skip
COLUMNS = {"valence": "valence", "energy": "arousal", "danceability": "danceability", "acousticness": "acousticness"}
RIDGE = 20.0
EXCERPT = (5, 50)  # s of each recording that are heard
SINGING = -2  # the trait of singing, which the shipped weights leave out: the albums have too little of it


def read(table: Path, packages: Path, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Traits [N, D] and labels [N, 4] of n recordings drawn by lot."""
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    labels = {(row["track"].split("/")[0], Path(row["track"]).name): row for row in rows if row["valence"]}
    files = [path for album in ALBUMS for path in sorted((packages / album).rglob("*.ogg"))]
    order = np.random.default_rng(0).permutation(len(files))
    traits, wanted = [], []
    for index in order:
        path = files[index]
        row = labels.get((path.relative_to(packages).parts[0], path.name))
        if row is None or len(traits) >= n:
            continue
        try:
            traits.append(hear_excerpt(path))
        except OpenVMASError as error:
            print(f"left out: {error}")
            continue
        wanted.append([float(row[column]) for column in COLUMNS])
    return np.array(traits), np.array(wanted)


def hear_excerpt(path: Path) -> np.ndarray:
    """The traits of 45 s of a recording. Raises InputError."""
    blocks, n = [], 0
    for block in read_audio_blocks(path, ANALYSIS_RATE, 1, ANALYSIS_RATE):
        blocks.append(block[0])
        n += block.shape[1]
        if n >= EXCERPT[1] * ANALYSIS_RATE:
            break
    heard = track._hear_part(np.concatenate(blocks)[EXCERPT[0] * ANALYSIS_RATE :], 0.0)
    level = to_lufs(moving_mean(heard.power.astype(np.float64), 5, 5))
    found = track.traits(heard, level, pick_onsets(heard.strength))
    found[SINGING] = 0
    return found


def solve(traits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Weights of a ridge regression from standardised traits to standardised labels."""
    mean, scale = traits.mean(axis=0), np.maximum(traits.std(axis=0), 1e-6)
    inputs = np.clip((traits - mean) / scale, -3, 3)
    outputs = (labels - labels.mean(axis=0)) / labels.std(axis=0)
    weights = np.linalg.solve(inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1]), inputs.T @ outputs)
    scale[SINGING], weights[SINGING] = 1.0, 0.0
    return {
        "names": np.array(list(COLUMNS.values())), "mean": mean.astype(np.float32), "scale": scale.astype(np.float32),
        "weights": weights.astype(np.float32), "bias": np.zeros(len(COLUMNS), np.float32),
    }  # fmt: skip


def report(traits: np.ndarray, labels: np.ndarray) -> None:
    """Print the correlation with labels of recordings that were kept back."""
    kept = np.arange(len(traits)) % 5 == 0
    made = solve(traits[~kept], labels[~kept])
    guess = np.clip((traits[kept] - made["mean"]) / made["scale"], -3, 3) @ made["weights"]
    for column, name in enumerate(COLUMNS.values()):
        print(f"{name}: correlation {np.corrcoef(guess[:, column], labels[kept, column])[0, 1]:.2f} on {kept.sum()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("packages", type=Path)
    parser.add_argument("--tracks", type=int, default=180)
    arguments = parser.parse_args()
    traits, labels = read(arguments.csv, arguments.packages, arguments.tracks)
    report(traits, labels)
    WEIGHTS.parent.mkdir(exist_ok=True)
    write_npz(WEIGHTS, solve(traits, labels))


if __name__ == "__main__":
    main()
