"""How well pieces fit pictures by the learned comparison (`openvmas.similarity`): every piece under every picture.

What a picture and a piece are is worked out once, what a piece is also kept by content; a comparison is then a few
products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from openvmas.conduct import picture_of
from openvmas.config import CONTROL_RATE
from openvmas.eval import meaning
from openvmas.eval.cache import Cache
from openvmas.generate.codec_runner import CodecRunner
from openvmas.generate.similarity import Aligner, Vectors
from openvmas.media.audio import Audio
from openvmas.pretrained import find_alignment, find_weights
from openvmas.vision.analysis import VideoAnalysis

MODEL = "mini"  # whose codec and alignment judge
LONGEST = 60.0  # s of a picture that are compared
MANY = 5  # pieces, above which it says something that the own one is among the first five


class Judge:
    """The learned comparison and what it heard before. name: as pages call it; key: of its weights."""

    def __init__(self, cache: Cache, model: str | Path = MODEL) -> None:
        """Raises ModelError where the model has no alignment."""
        self._cache, self._model, self._weights = cache, find_weights(model), find_alignment(model)
        self.name = f"{self._weights.name} {self._weights.version}"
        self.key = self._weights.sha256[:12]

    @cached_property
    def aligner(self) -> Aligner:
        """Opened when something is seen or heard for the first time."""
        return Aligner(self._weights, CodecRunner(self._model, threads=1))

    def see(self, picture: VideoAnalysis) -> Vectors:
        """What a picture is. Not kept: it takes a few milliseconds."""
        n_steps = count_steps(picture)
        return self.aligner.see(picture_of(picture, n_steps), n_steps)

    def hear(self, key: str, open_sound: Callable[[], Audio], n_steps: int) -> Vectors:
        """What the first n_steps of a sound are. key: of its content."""

        def make(place: Path) -> None:
            audio = open_sound()
            needed = round((n_steps / float(CONTROL_RATE) + 1) * audio.sample_rate)
            codes = self.aligner.encode(Audio(audio.wave[:, :needed], audio.sample_rate))
            save(self.aligner.hear(codes[:, :n_steps]), place)

        return load(self._cache.file(key, f"heard-{self.key}-{n_steps}.npz", make))

    def hear_places(self, key: str, path: Path, hop: int) -> Vectors:
        """What a whole track is from every `hop` steps on."""

        def make(place: Path) -> None:
            save(self.aligner.hear(self.aligner.encode(path), hop), place)

        return load(self._cache.file(key, f"places-{self.key}-{hop}.npz", make))

    def measure(self, pairs: Mapping[str, tuple[Vectors, Vectors]]) -> dict[str, dict[str, float]]:
        """Pictures and their own music, by name of the clip: similarities and ranks among all, by clip and measure.

        Nothing is said of music shorter than a second, and no ranks of a single clip.
        """
        names = [name for name, (seen, heard) in pairs.items() if seen.places and heard.places]
        seen, heard = ([pairs[name][side] for name in names] for side in (0, 1))
        found: dict[str, dict[str, float]] = {}
        for name in names:
            own = self.aligner.fit(*pairs[name])
            parts = {"meaning": own.meaning, "timing": own.timing}
            found[name] = {"similarity": own.combined} | {f"similarity_{part}": x for part, x in parts.items()}
        if len(names) > 1:
            table = meaning.similarities(seen, heard, lambda x, y: self.aligner.fit(x, y).combined)
            ranked = meaning.evaluate(table)
            if len(names) <= MANY:
                del ranked["retrieval_r5"]  # all of them are among the first five
            for measure, values in ranked.items():
                for name, value in zip(names, values, strict=True):
                    found[name][measure] = float(value)
        return found


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
