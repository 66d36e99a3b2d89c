"""Tags of music over time, on the semantic axes of `condition.AXES`: weak labels for training and for measuring.

Style, feeling and instrument axes are evidence for AudioSet classes (YAMNet); mood axes are a ridge regression fitted
to labels of whole tracks; both are directions in the space of YAMNet embeddings at unit length. Brightness and density
are measured from the sound itself. All are standardised over the windows of the training music: a value is in standard
deviations.

The embedder is an argument (anything with `classes` and `embed_log_mel`, see hub.taggers).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvmas.condition import AXES

WINDOW, HOP = 10.0, 5.0  # s
# Mood axis → column of the listing it is fitted to.
FITTED_AXES = {
    "valence": "valence",
    "arousal": "energy",
    "danceability": "danceability",
    "acousticness": "acousticness",
}

# Axis → AudioSet classes (names as in the YAMNet class map); they count equally.
CLASSES: dict[str, tuple[str, ...]] = {
    "ambient": ("Ambient music", "New-age music"),
    "classical": ("Classical music", "Orchestra", "Opera"),
    "electronic": (
        "Electronic music", "House music", "Techno", "Electronica", "Electronic dance music", "Trance music",
        "Dubstep", "Drum and bass",
    ),
    "folk": ("Folk music", "Traditional music", "Country", "Bluegrass"),
    "jazz": ("Jazz", "Swing music", "Blues"),
    "pop": ("Pop music", "Disco", "Rhythm and blues", "Soul music"),
    "rock": ("Rock music", "Punk rock", "Grunge", "Progressive rock", "Rock and roll", "Psychedelic rock"),
    "metal": ("Heavy metal",),
    "hip_hop": ("Hip hop music", "Beatboxing", "Rapping"),
    "game": ("Video game music",),
    "soundtrack": ("Soundtrack music", "Theme music"),
    "happy": ("Happy music",),
    "funny": ("Music for children", "Jingle (music)"),
    "sad": ("Sad music",),
    "tender": ("Tender music", "Lullaby"),
    "exciting": ("Exciting music",),
    "angry": ("Angry music",),
    "scary": ("Scary music",),
    "piano": ("Piano", "Electric piano"),
    "guitar": ("Guitar", "Electric guitar", "Acoustic guitar", "Strum"),
    "strings": ("Bowed string instrument", "String section", "Violin, fiddle", "Cello"),
    "brass": ("Brass instrument", "French horn", "Trumpet", "Trombone"),
    "flute": ("Flute", "Wind instrument, woodwind instrument", "Clarinet"),
    "bells": ("Bell", "Tubular bells", "Glockenspiel", "Chime", "Mallet percussion", "Marimba, xylophone"),
    "choir": ("Choir", "Vocal music", "Chant"),
    "synthesizer": ("Synthesizer", "Sampler"),
    "organ": ("Organ", "Electronic organ", "Hammond organ"),
    "drums": ("Drum kit", "Drum", "Snare drum", "Bass drum", "Hi-hat", "Cymbal", "Percussion", "Drum machine"),
    "bass": ("Bass guitar", "Double bass"),
}  # fmt: skip
LEARNED_AXES = (*FITTED_AXES, *CLASSES)  # linear in the embedding


@dataclass(frozen=True)
class RawWindows:
    """Measurements of one track, a row per window of 10 s every 5 s (one row if it is shorter).

    times: [N] s, middle of each window; embeddings: [N, 1024] mean; logits: [N, n_classes] mean;
    brightness: [N] log2 Hz; density: [N] onsets per second; level_db: [N] dB below full scale (RMS).
    """

    times: np.ndarray
    embeddings: np.ndarray
    logits: np.ndarray
    brightness: np.ndarray
    density: np.ndarray
    level_db: np.ndarray

    def save(self, path: str | Path) -> None:
        """Write an NPZ file (half precision: these are weak labels)."""
        np.savez(
            path,
            times=self.times,
            embeddings=self.embeddings.astype(np.float16),
            logits=self.logits.astype(np.float16),
            brightness=self.brightness.astype(np.float16),
            density=self.density.astype(np.float16),
            level_db=self.level_db.astype(np.float16),
        )

    @classmethod
    def load(cls, path: str | Path) -> RawWindows:
        """Read what `save` wrote."""
        with np.load(path) as data:
            return cls(**{name: data[name].astype(np.float32) for name in data.files})


def measure(wave: np.ndarray, embedder, log_mel) -> RawWindows:
    """Measure a mono wave [L] at 16 kHz with an embedder and its log_mel function (hub.taggers)."""
    frames = log_mel(wave)
    found = embedder.embed_log_mel(frames)
    onsets = _onset_times(frames)
    centroids = np.log2(_centroid(np.exp(frames)))
    duration = len(wave) / 16_000
    starts = np.arange(0, max(duration - WINDOW, 0) + 1e-6, HOP)
    rows = []
    for start in starts:
        end = start + min(WINDOW, duration)
        patches = (found.times >= start) & (found.times < end)
        part = slice(int(start * 100), int(end * 100))
        levels = wave[int(start * 16_000) : int(end * 16_000)]
        loud = np.exp(frames[part]).sum(1)
        rows.append(
            (
                (start + end) / 2,
                found.embeddings[patches].mean(0),
                found.logits[patches].mean(0),
                np.average(centroids[part], weights=loud),
                np.count_nonzero((onsets >= start) & (onsets < end)) / (end - start),
                10 * np.log10(np.mean(np.square(levels, dtype=np.float64)) + 1e-10),
            )
        )
    return RawWindows(*(np.array(column, dtype=np.float32) for column in zip(*rows, strict=True)))


def _centroid(magnitudes: np.ndarray) -> np.ndarray:
    """Centre of gravity, Hz, of mel magnitudes [n_frames, n_bands] (bands even on the mel scale, 125 to 7500 Hz)."""
    n = magnitudes.shape[1]
    low, high = (1127 * np.log1p(edge / 700) for edge in (125.0, 7500.0))
    centres = 700 * np.expm1((low + (np.arange(n) + 1) * (high - low) / (n + 1)) / 1127)
    return magnitudes @ centres / magnitudes.sum(1)


def _onset_times(frames: np.ndarray) -> np.ndarray:
    """Onsets, s, from log-mel frames [n, 64] at 100 a second: peaks of half-wave rectified flux over its local mean."""
    flux = np.maximum(frames[3:] - frames[:-3], 0).mean(1)
    local = np.convolve(flux, np.full(61, 1 / 61), mode="same")
    excess = flux - 1.25 * local - 0.06
    best = np.lib.stride_tricks.sliding_window_view(np.pad(flux, 4, constant_values=-1), 9).max(1)
    return (np.flatnonzero((excess > 0) & (flux >= best)) + 2) / 100


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings [N, D] at length 1: their length says how loud and dense a sound is, and swamps every class."""
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)


def evidence_directions(embeddings: np.ndarray, logits: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """For each axis of CLASSES a direction in the space of unit embeddings: [D, len(CLASSES)].

    embeddings: [N, D]; logits: [N, n_classes], linear in them. What all music classes share (their first principal
    component; 98 % of the variance of raw logits is nothing else) is taken out, then an axis' classes count equally.
    """
    index = {name: i for i, name in enumerate(classes)}
    music = list(range(index["Music"] + 1, index["Scary music"] + 1))
    others = [index[name] for names in CLASSES.values() for name in names if index[name] not in music]
    columns = music + others
    design = np.concatenate([embeddings, np.ones((len(embeddings), 1))], axis=1)
    weights = np.linalg.lstsq(design, logits[:, columns], rcond=1e-6)[0][:-1]  # the classifier without its bias
    inputs = unit(embeddings)
    spread = (inputs @ weights).std(0)
    weights = weights / spread
    values = inputs @ weights
    _, vectors = np.linalg.eigh(np.cov(values[:, : len(music)].T))
    common = np.zeros(len(columns))
    common[: len(music)] = vectors[:, -1]
    weights = weights - np.outer(weights @ common, common)
    weights = weights / (inputs @ weights).std(0)
    place = {column: i for i, column in enumerate(columns)}
    return np.stack([weights[:, [place[index[name]] for name in names]].mean(1) for names in CLASSES.values()], axis=1)


@dataclass(frozen=True)
class Ridge:
    """Linear regression with a penalty: value = (x - centre) @ weights + offset; weights [n_inputs, n_outputs]."""

    centre: np.ndarray
    weights: np.ndarray
    offset: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        return (x - self.centre) @ self.weights + self.offset


def fit_ridge(x: np.ndarray, y: np.ndarray, n_components: int = 64, penalty: float = 10.0) -> Ridge:
    """Fit y [N, n_outputs] to the first principal axes (each scaled to variance 1) of x [N, n_inputs]."""
    centre, offset = x.mean(0), y.mean(0)
    _, scales, axes = np.linalg.svd(x - centre, full_matrices=False)
    keep = min(n_components, int(np.sum(scales > 1e-6 * scales[0])))
    projection = axes[:keep].T / (scales[:keep] / np.sqrt(len(x)))
    inputs = (x - centre) @ projection
    weights = np.linalg.solve(inputs.T @ inputs + penalty * np.eye(keep), inputs.T @ (y - offset))
    return Ridge(centre, projection @ weights, offset)


def cross_validate(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, n_folds: int = 8, penalty: float = 10.0
) -> np.ndarray:
    """Correlation r per column of y [N, n_outputs] where no group (album) is in both training and test."""
    names = sorted(set(groups))
    fold_of = {name: i % n_folds for i, name in enumerate(np.random.default_rng(0).permutation(names))}
    folds = np.array([fold_of[name] for name in groups])
    predicted = np.empty_like(y)
    for fold in range(n_folds):
        test = folds == fold
        predicted[test] = fit_ridge(x[~test], y[~test], penalty=penalty).predict(x[test])
    return np.array([np.corrcoef(predicted[:, i], y[:, i])[0, 1] for i in range(y.shape[1])])


@dataclass(frozen=True)
class Tagger:
    """From raw measurements to standardised axes.

    weights: [D, len(LEARNED_AXES)] from unit embeddings; means, stds: [len(AXES)] over the training music.
    """

    weights: np.ndarray
    means: np.ndarray
    stds: np.ndarray

    def raw_axes(self, windows: RawWindows) -> np.ndarray:
        """[N, len(AXES)] in each axis' own unit."""
        values = unit(windows.embeddings) @ self.weights
        found = {axis: values[:, i] for i, axis in enumerate(LEARNED_AXES)}
        found["brightness"], found["density"] = windows.brightness, windows.density
        return np.stack([found[axis] for axis in AXES], axis=1).astype(np.float32)

    def axes(self, windows: RawWindows) -> np.ndarray:
        """[N, len(AXES)] in standard deviations over the training music."""
        return (self.raw_axes(windows) - self.means) / self.stds

    def save(self, folder: str | Path) -> None:
        """Write axes.json (what each axis is made of, its mean and deviation) and axes.npz (the weights)."""
        folder = Path(folder)
        np.savez_compressed(folder / "axes.npz", weights=self.weights.astype(np.float32))
        table = {
            axis: {
                "mean": round(float(mean), 6),
                "std": round(float(std), 6),
                "from": list(CLASSES.get(axis, ())) or ("regression" if axis in FITTED_AXES else "signal"),
            }
            for axis, mean, std in zip(AXES, self.means, self.stds, strict=True)
        }
        (folder / "axes.json").write_text(json.dumps(table, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Tagger:
        """Read what `save` wrote."""
        folder = Path(folder)
        table = json.loads((folder / "axes.json").read_text())
        with np.load(folder / "axes.npz") as data:
            weights = data["weights"]
        means, stds = (np.array([table[axis][key] for axis in AXES]) for key in ("mean", "std"))
        return cls(weights, means, stds)


def fit_tagger(tracks: list[RawWindows], mood: Ridge, classes: tuple[str, ...]) -> Tagger:
    """Directions, means and deviations over all windows that sound (louder than -60 dB).

    mood: the regression from unit embeddings to FITTED_AXES.
    """
    loud = [windows.level_db > -60 for windows in tracks]
    embeddings, logits = (
        np.concatenate([getattr(windows, name)[keep] for windows, keep in zip(tracks, loud, strict=True)])
        for name in ("embeddings", "logits")
    )
    weights = np.concatenate([mood.weights, evidence_directions(embeddings, logits, classes)], axis=1)
    n = len(AXES)
    plain = Tagger(weights, np.zeros(n), np.ones(n))
    values = np.concatenate([plain.raw_axes(windows)[keep] for windows, keep in zip(tracks, loud, strict=True)])
    return Tagger(weights, values.mean(0), values.std(0) + 1e-6)
