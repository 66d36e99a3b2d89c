"""Real tracks under a picture: the one that fits best by `openvmas.similarity`, or one drawn at random.

Every track is encoded once, in windows that begin every 3.2 s, and kept by its content; a picture is then compared with
every place at which it could be laid. The same similarity is a measure of `eval run`: what is chosen by it wins there
by construction, and pages say so.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np

from openvmas.errors import InputError, OptionError
from openvmas.eval.embedders.cross_modal_similarity import LearnedSimilarity
from openvmas.eval.suites.cache import Cache
from openvmas.eval.suites.excerpt import fade_out
from openvmas.eval.suites.media_files import SOUND_SUFFIXES
from openvmas.eval.systems.composers import finished
from openvmas.eval.systems.system import Setting, System, Task
from openvmas.generate.similarity import Aligner, Vectors
from openvmas.media.audio import Audio, read_audio, resample
from openvmas.settings import CONTROL_RATE, SAMPLE_RATE_OUT, MixOptions

HOP = 160  # codec steps from one place to the next: half of a window of the encoder


def library_files(folder: Path | None) -> list[Path]:
    """The sounds anywhere below the folder. Raises OptionError or InputError."""
    if folder is None:
        raise OptionError("retrieval and random need a library of real tracks; name its folder with --library.")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SOUND_SUFFIXES) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder} holds no tracks; give --library a folder with files such as flac, ogg or mp3.")
    return files


def from_step(track: Vectors, start: int) -> Vectors:
    """A track as it is when it is played from a step on."""
    kept = [i for i, (begin, _) in enumerate(track.places) if begin >= start]
    places = [(track.places[i][0] - start, track.places[i][1] - start) for i in kept]
    return Vectors(places, [track.embeddings[i] for i in kept], [track.moments[i] for i in kept])


def best_place(aligner: Aligner, seen: Vectors, track: Vectors) -> tuple[float, int]:
    """The greatest similarity of a picture and a track, and the step of the track at which the picture begins.

    A track shorter than the picture is laid under its beginning.
    """
    length = seen.places[-1][1]
    starts = [begin for begin, _ in track.places if begin + length <= track.places[-1][1]] or [0]
    fits = [aligner.compare_vectors(seen, from_step(track, start)).combined for start in starts]
    best = int(np.argmax(fits))
    return fits[best], starts[best]


class RandomTrack(System):
    """A real track and a place in it, both drawn at random."""

    says = "a real track of the library drawn by lot, from a place drawn by lot, faded out"

    def __init__(self, spec: str, options: dict[str, str], setting: Setting) -> None:
        super().__init__(spec, options, setting)
        self._files = library_files(setting.library)

    def version(self) -> str:
        names = "\n".join(f"{path.name} {path.stat().st_size}" for path in self._files)
        return f"{super().version()} {hashlib.sha256(names.encode()).hexdigest()}"

    def describe(self) -> str:
        return f"{self.says}; {len(self._files)} tracks"

    def make(self, task: Task) -> Audio:
        rng = np.random.default_rng(task.seed)
        audio = read_audio(self._files[int(rng.integers(len(self._files)))])
        room = max(0.0, float(audio.duration - task.excerpt.duration))
        return cut(audio, float(rng.uniform()) * room, task)


class RetrievedTrack(RandomTrack):
    """The real track that fits best."""

    says = (
        "the real track of the library, and the place in it, that `openvmas.similarity` finds nearest to the picture, "
        "cut to length and faded out"
    )
    is_random = False
    selects_by_similarity = True

    def __init__(self, spec: str, options: dict[str, str], setting: Setting) -> None:
        super().__init__(spec, options, setting)
        self._cache = Cache(setting.cache)
        self._judge = LearnedSimilarity(self._cache)

    def version(self) -> str:
        return f"{super().version()} {self._judge.key} {HOP}"

    @functools.cached_property
    def _tracks(self) -> list[tuple[Path, Vectors]]:
        """Every track that lasts a second, with what it is at every place."""
        heard = [(path, self._judge.embed_track(self._cache.key(path), path, HOP)) for path in self._files]
        return [(path, track) for path, track in heard if track.places]

    def make(self, task: Task) -> Audio:
        seen = self._judge.embed_picture(task.excerpt.picture)
        if not seen.places or not self._tracks:
            raise InputError(f"{task.excerpt.clip.name} or the library is shorter than 1 s; give longer ones.")
        fits = [best_place(self._judge.aligner, seen, track) for _, track in self._tracks]
        best = max(range(len(fits)), key=lambda i: fits[i][0])
        return cut(read_audio(self._tracks[best][0]), fits[best][1] / float(CONTROL_RATE), task)


def cut(audio: Audio, start: float, task: Task) -> Audio:
    """The track from `start` s on, as long as the picture, faded out, at the loudness of finished videos."""
    first = round(start * audio.sample_rate)
    wave = audio.wave[:, first : first + round(task.excerpt.duration * audio.sample_rate)]
    faded = Audio(fade_out(np.nan_to_num(wave), audio.sample_rate), audio.sample_rate)
    return finished(resample(faded, SAMPLE_RATE_OUT).wave, task.excerpt.duration, MixOptions(), task.scratch)
