"""Real tracks under a picture: the one that fits best by a stated rule, or one drawn by lot.

How well a track fits is the mean of what can be said of:
- meaning: weighted cosine of the picture's axes (`vision.mood.describe`) and the track's (`scripts/tag_music.py`);
- tempo: 1 where the track's tempo, or its double or half, is that of the plan, 0 a quarter of an octave off, then
  below 0;
- energy: Pearson's r of both energy curves, with the track laid under the picture where it is greatest.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from openvmas.condition import AXES, FEELING_AXES, INSTRUMENT_AXES, MOOD_AXES, STYLE_AXES
from openvmas.config import CONTROL_RATE, SAMPLE_RATE_OUT, MixOptions
from openvmas.errors import InputError, OptionError
from openvmas.eval.cache import Cache
from openvmas.eval.composers import finished
from openvmas.eval.excerpt import fade_out
from openvmas.eval.folder import SOUND_SUFFIXES
from openvmas.eval.systems import Setting, System, Task
from openvmas.media.audio import Audio, read_audio
from openvmas.music.analysis import MusicAnalysis, listen
from openvmas.plan import make_plan
from openvmas.vision.analysis import VideoAnalysis
from openvmas.vision.mood import describe

VERSION = 1  # of what is kept of a track
RATE = 5  # per second, of energy curves that are compared
WEIGHTS = {MOOD_AXES: 1.0, FEELING_AXES: 0.8, STYLE_AXES: 0.6, INSTRUMENT_AXES: 0.3}  # as data.tags_map trusts them


@dataclass(frozen=True)
class Track:
    """One track of a library. axes: [A], NaN where it was never tagged."""

    path: Path
    music: MusicAnalysis
    axes: np.ndarray


def library_files(folder: Path | None) -> list[Path]:
    """The sounds anywhere below the folder. Raises OptionError or InputError."""
    if folder is None:
        raise OptionError("retrieval and random need a library of real tracks; name its folder with --library.")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SOUND_SUFFIXES) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder} holds no tracks; give --library a folder with files such as flac, ogg or mp3.")
    return files


def read_library(folder: Path | None, tags: Path | None, cache: Cache) -> list[Track]:
    """Every track, listened to once. tags: names tracks by their path below the folder. Raises InputError."""
    files = library_files(folder)
    assert folder is not None
    axes = read_tags(tags) if tags else {}
    tracks = []
    for path in files:
        kind = f"track-{VERSION}.npz"
        kept = cache.file(cache.key(path), kind, lambda place, path=path: hear(path).save(place))
        name = path.relative_to(folder).as_posix()
        tracks.append(Track(path, MusicAnalysis.load(kept), axes.get(name, np.full(len(AXES), np.nan))))
    return tracks


def hear(path: Path) -> MusicAnalysis:
    """What a track says."""
    audio = read_audio(path)
    return listen(audio.wave, audio.sample_rate)


def read_tags(path: Path) -> dict[str, np.ndarray]:
    """Mean axes [A] of every track in an NPZ of scripts/tag_music.py, by name. Raises InputError."""
    try:
        with np.load(path) as data:
            spans = zip(data["tracks"], data["start"][:-1], data["start"][1:], strict=True)
            axes = data["axes"].astype(np.float64)
            return {str(name): axes[a:b].mean(axis=0) for name, a, b in spans if b > a}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} holds no tags ({error}); make them with scripts/tag_music.py.") from error


@dataclass(frozen=True)
class Fit:
    """How well a track fits. total: mean of what is known; start: s in the track, where it is laid."""

    total: float
    meaning: float
    tempo: float
    energy: float
    start: float


def fit(track: Track, picture: VideoAnalysis, asked: np.ndarray, tempo: float) -> Fit:
    """asked: [A], the picture's axes; tempo: BPM of the plan, 0 for none."""
    weights = np.array([next(w for axes, w in WEIGHTS.items() if axis in axes) for axis in AXES])
    weights = weights * np.isfinite(track.axes)
    seen, heard = asked * weights, np.nan_to_num(track.axes) * weights
    lengths = float(np.linalg.norm(seen) * np.linalg.norm(heard))
    meaning = float(seen @ heard) / lengths if lengths > 0 else np.nan
    octaves = np.log2(track.music.tempo / tempo) if tempo > 0 and track.music.tempo > 0 else np.nan
    energy, start = lay(track.music, picture)
    terms = [meaning, 1 - 4 * abs(octaves - np.round(octaves)), energy]
    known = [float(term) for term in terms if np.isfinite(term)]
    return Fit(float(np.mean(known)) if known else 0.0, meaning, float(terms[1]), energy, start)


def lay(music: MusicAnalysis, picture: VideoAnalysis) -> tuple[float, float]:
    """The greatest r of both energy curves over all places, and the place, s. NaN and 0 where nothing varies."""
    step = round(float(CONTROL_RATE) / RATE)
    wanted, there = picture.events.energy[::step].astype(np.float64), music.events.energy[::step].astype(np.float64)
    n = min(len(wanted), len(there))
    if n < RATE or np.std(wanted[:n]) < 1e-6:
        return np.nan, 0.0
    windows = np.lib.stride_tricks.sliding_window_view(there, n)
    wanted = wanted[:n] - wanted[:n].mean()
    centred = windows - windows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1) * np.linalg.norm(wanted)
    r = np.where(lengths > 1e-9, centred @ wanted / np.maximum(lengths, 1e-9), -1.0)
    best = int(np.argmax(r))
    return float(r[best]), best / RATE


class RandomTrack(System):
    """A real track from anywhere in it, drawn by lot."""

    says = "a real track of the library drawn by lot, from a place drawn by lot, faded out"

    def __init__(self, spec: str, options: dict[str, str], setting: Setting) -> None:
        super().__init__(spec, options, setting)
        self._files = library_files(setting.library)
        self._cache = Cache(setting.cache)

    def version(self) -> str:
        names = "\n".join(f"{path.name} {path.stat().st_size}" for path in self._files)
        tags = self._cache.key(self.setting.tags) if self.setting.tags else ""
        return f"{super().version()} {VERSION} {hashlib.sha256(f'{names}{tags}'.encode()).hexdigest()}"

    def describe(self) -> str:
        return f"{self.says}; {len(self._files)} tracks"

    def make(self, task: Task) -> Audio:
        rng = np.random.default_rng(task.seed)
        audio = read_audio(self._files[int(rng.integers(len(self._files)))])
        room = max(0.0, float(audio.duration - task.excerpt.duration))
        return cut(audio, float(rng.uniform()) * room, task)


class Retrieval(RandomTrack):
    """The real track that fits best."""

    says = "the real track of the library that fits best in meaning, tempo and energy, cut to length and faded out"

    @functools.cached_property
    def _tracks(self) -> list[Track]:
        return read_library(self.setting.library, self.setting.tags, self._cache)

    def make(self, task: Task) -> Audio:
        picture = task.excerpt.picture
        said = describe(picture, 0.0, float(picture.duration))
        asked = np.array([said.get(axis, 0.0) for axis in AXES])
        tempo = make_plan(picture).tempo
        fits = [fit(track, picture, asked, tempo) for track in self._tracks]
        best = max(range(len(fits)), key=lambda i: fits[i].total)
        return cut(read_audio(self._tracks[best].path), fits[best].start, task)


def cut(audio: Audio, start: float, task: Task) -> Audio:
    """The track from `start` s on, as long as the picture, faded out, at the loudness of finished videos."""
    first = round(start * audio.sample_rate)
    wave = audio.wave[:, first : first + round(task.excerpt.duration * audio.sample_rate)]
    wave = fade_out(np.nan_to_num(wave), audio.sample_rate)
    if audio.sample_rate != SAMPLE_RATE_OUT:
        wave = soxr.resample(wave.T, audio.sample_rate, SAMPLE_RATE_OUT).T
    return finished(np.ascontiguousarray(wave, np.float32), task.excerpt.duration, MixOptions(), task.scratch)
