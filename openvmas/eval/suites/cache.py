"""Results of measuring, kept by content, so that each is computed once whatever a file is called."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvmas.errors import InputError
from openvmas.files import atomic_path, cache_folder, explain_write_errors, write_npz, write_text
from openvmas.vision.analysis import VideoAnalysis, analyze

PICTURE_VERSION = 4  # of what is kept of a video


@dataclass(frozen=True)
class Sound:
    """Output of an embedder for one sound: embeddings [P, D], logits [P, n_classes], of the patches that sound."""

    embeddings: np.ndarray
    logits: np.ndarray


class Cache:
    """Kept results, one file per content and kind, in a folder that may be deleted at any time."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_folder() / "measured"

    def key(self, path: Path) -> str:
        """sha256 of a file's content. Raises InputError if it cannot be read."""
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions or copy it.") from error

    def values(self, key: str, kind: str, make: Callable[[], dict[str, float]]) -> dict[str, float]:
        """The kept figures, or new ones."""
        place = self._folder / f"{key}.{kind}.json"
        with contextlib.suppress(OSError, ValueError):
            return json.loads(place.read_text(encoding="utf-8"))
        found = make()
        with self._keeping():
            write_text(place, json.dumps(found))
        return found

    def sound(self, key: str, kind: str, make: Callable[[], Sound]) -> Sound:
        """The kept embeddings, or new ones."""
        place = self._folder / f"{key}.{kind}.npz"
        with contextlib.suppress(OSError, ValueError, KeyError), np.load(place) as data:
            return Sound(data["embeddings"], data["logits"])
        found = make()
        with self._keeping():
            write_npz(place, {"embeddings": found.embeddings, "logits": found.logits})
        return found

    def file(self, key: str, kind: str, make: Callable[[Path], object]) -> Path:
        """A kept file, made by `make` at the path that it is given. Raises OutputError if nothing can be kept."""
        place = self._folder / f"{key}.{kind}"
        if not place.exists():
            with explain_write_errors(self._folder):
                place.parent.mkdir(parents=True, exist_ok=True)
                with atomic_path(place, place.suffix) as hidden:
                    make(hidden)
        return place

    def picture(self, key: str, path: Path) -> VideoAnalysis:
        """Analysis of a video. key: of its content and span. Raises InputError."""
        place = self.file(key, f"picture-{PICTURE_VERSION}.npz", lambda hidden: analyze(path).save(hidden))
        return VideoAnalysis.load(place)

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[None]:
        """A cache that cannot be written costs time, not the result."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            yield
