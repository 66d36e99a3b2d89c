"""Similarity of music and pictures, by the learned comparison or by an embedder, for every piece under every picture.

`LearnedSimilarity` is the learned comparison (`openvmas.similarity`), `EmbeddingSimilarity` any embedder that puts
pictures and sounds into one space, such as ImageBind. Vectors of pictures and pieces are computed once and kept by
content; a comparison is then a few products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from openvmas.codec.runtime import CodecRunner
from openvmas.eval.embedders.registry import weights_key
from openvmas.eval.metrics import retrieval
from openvmas.eval.metrics.distances import unit_rows
from openvmas.eval.suites.cache import Cache, Sound
from openvmas.generate.similarity import Aligner, Vectors
from openvmas.hub.taggers import Embedder, PictureEmbedder
from openvmas.media.audio import Audio
from openvmas.media.video import FrameRequest, probe, read_frames
from openvmas.pretrained import find_alignment, find_weights
from openvmas.settings import CONTROL_RATE
from openvmas.vision.analysis import VideoAnalysis

MODEL = "mini"  # whose codec and alignment judge
LONGEST = 60.0  # s of a picture that are compared
N_PICTURES = 5  # of a video, shown to an embedder
LONG_SIDE = 640  # px of such a picture: more than any embedder takes, and less than most videos have
PICTURES_VERSION = 1  # of what an embedder is shown: another number makes the cache forget
MANY = 5  # pieces, above which it says something that the own one is among the first five


class LearnedSimilarity:
    """The learned comparison, with a cache of what it has encoded. name: as pages call it; key: of its weights."""

    def __init__(self, cache: Cache) -> None:
        """Raises ModelError where the model has no alignment."""
        self._cache, self._model, self._weights = cache, find_weights(MODEL), find_alignment(MODEL)
        self.name = f"{self._weights.name} {self._weights.version}"
        self.key = self._weights.sha256[:12]

    @cached_property
    def aligner(self) -> Aligner:
        """Opened when something is encoded for the first time."""
        return Aligner(self._weights, CodecRunner(self._model, threads=1))

    def embed_picture(self, picture: VideoAnalysis) -> Vectors:
        """Vectors of a picture. Not kept: they take a few milliseconds."""
        n_steps = count_steps(picture)
        return self.aligner.embed_picture(picture, n_steps)

    def embed_music(self, key: str, open_sound: Callable[[], Audio], n_steps: int) -> Vectors:
        """Vectors of the first n_steps of a sound. key: of its content."""

        def make(place: Path) -> None:
            audio = open_sound()
            needed = round((n_steps / float(CONTROL_RATE) + 1) * audio.sample_rate)
            codes = self.aligner.encode(Audio(audio.wave[:, :needed], audio.sample_rate))
            save(self.aligner.embed_music(codes[:, :n_steps]), place)

        return load(self._cache.file(key, f"heard-{self.key}-{n_steps}.npz", make))

    def embed_track(self, key: str, path: Path, hop: int) -> Vectors:
        """Vectors of a whole track, from every `hop` steps on."""

        def make(place: Path) -> None:
            save(self.aligner.embed_music(self.aligner.encode(path), hop), place)

        return load(self._cache.file(key, f"places-{self.key}-{hop}.npz", make))

    def measure(self, pairs: Mapping[str, tuple[Vectors, Vectors]]) -> dict[str, dict[str, float]]:
        """Pictures and their own music, by name of the clip: similarities and ranks among all, by clip and measure.

        Nothing is said of music shorter than a second, and no ranks of a single clip.
        """
        kept = {name: (seen, heard) for name, (seen, heard) in pairs.items() if seen.places and heard.places}
        compare, found = self.aligner.compare_vectors, {}
        for name, pair in kept.items():
            own = compare(*pair)
            parts = {"similarity": own.combined, "similarity_meaning": own.meaning, "similarity_timing": own.timing}
            found[name] = parts
        if len(kept) > 1:
            every = [[compare(seen, heard).combined for _, heard in kept.values()] for seen, _ in kept.values()]
            rank(found, np.array(every))
        return found


class EmbeddingSimilarity:
    """An embedder that puts pictures and sounds into one space, so that a cosine says how well they fit.

    A video is five pictures, the middles of its fifths; a piece is all of its windows that sound, brought to one level,
    as `eval.benchmark.folder_measures.embed_file` takes them. Each is the mean of its unit vectors, of length 1.
    ImageBind's own code
    (Girdhar et al. 2023) means so over five clips of two frames in three crops, and over three windows of 2 s.
    """

    def __init__(self, name: str, cache: Cache, opened: Callable[[], Embedder]) -> None:
        """name: of the embedder, as the user gave it; opened: loads it, if it has not been."""
        self.name, self._cache, self._opened = name, cache, opened

    def embed_picture(self, key: str, find: Callable[[], Path]) -> np.ndarray:
        """Embedding of a video: [D] of length 1. key: of its content; find: gives the file. Raises InputError."""

        def make(place: Path) -> None:
            embedder = self._opened()
            assert isinstance(embedder, PictureEmbedder)
            with place.open("wb") as file:
                np.save(file, mean_direction(embedder.embed_pictures(sample_pictures(find()))))

        return np.load(self._cache.file(key, f"seen-{weights_key(self.name)}-{PICTURES_VERSION}.npy", make))

    def measure(self, pairs: Mapping[str, tuple[np.ndarray, Sound]]) -> dict[str, dict[str, float]]:
        """Figures of `LearnedSimilarity.measure`, each as MEASURE:EMBEDDER. Nothing is said of music that is silent."""
        names = [name for name, (_, heard) in pairs.items() if len(heard.embeddings)]
        if not names:
            return {}
        seen = np.stack([pairs[name][0] for name in names])
        heard = np.stack([mean_direction(pairs[name][1].embeddings) for name in names])
        table = retrieval.cosines(seen, heard)
        found = {name: {"similarity": float(own)} for name, own in zip(names, table.diagonal(), strict=True)}
        if len(names) > 1:
            rank(found, table)
        return {name: {f"{m}:{self.name}": value for m, value in values.items()} for name, values in found.items()}


def rank(found: dict[str, dict[str, float]], table: np.ndarray) -> None:
    """Add the measures of ranks to those of each clip, from similarities [N, N] of pictures and music, N at least 2."""
    ranked = retrieval.evaluate(table)
    if len(found) <= MANY:
        del ranked["retrieval_r5"]  # all of them are among the first five
    for i, measures in enumerate(found.values()):
        measures.update((measure, float(values[i])) for measure, values in ranked.items())


def mean_direction(embeddings: np.ndarray) -> np.ndarray:
    """The mean of the unit vectors of embeddings [P, D], P at least 1, brought to length 1: [D] float64."""
    mean = unit_rows(np.asarray(embeddings, np.float64)).mean(axis=0, keepdims=True)
    return unit_rows(mean)[0]


def sample_pictures(video: Path) -> np.ndarray:
    """The pictures of a video that an embedder is shown: [N_PICTURES, h, w, 3] uint8 RGB. Raises InputError."""
    info = probe(video)
    side = min(LONG_SIDE, max(info.width, info.height))
    # Two samples for each part, of which the second is its middle.
    request = FrameRequest(Fraction(2 * N_PICTURES) / info.duration, side)
    return np.concatenate([chunk.frames for chunk in read_frames(video, [request], info)])[1::2]


def count_steps(picture: VideoAnalysis) -> int:
    """Steps of a picture that are compared."""
    return min(len(picture.motion), round(LONGEST * float(CONTROL_RATE)))


def save(vectors: Vectors, path: Path) -> None:
    """Write an NPZ file; `load` gives back the same."""
    nothing = np.zeros((0, 1), np.float32)
    with path.open("wb") as file:
        np.savez(
            file,
            places=np.array(vectors.places, np.int64).reshape(-1, 2),
            embeddings=np.stack(vectors.embeddings) if vectors.places else nothing,
            moments=np.concatenate(vectors.moments) if vectors.places else nothing,
            counts=np.array([len(rows) for rows in vectors.moments], np.int64),
        )


def load(path: Path) -> Vectors:
    """Read what `save` wrote."""
    with np.load(path) as data:
        places = [(int(a), int(b)) for a, b in data["places"]]
        moments = np.split(data["moments"], np.cumsum(data["counts"])[:-1]) if places else []
        return Vectors(places, list(data["embeddings"]), moments)
