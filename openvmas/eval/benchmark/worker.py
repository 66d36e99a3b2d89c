"""The work of `eval run` in its worker processes: prepare a clip, make and measure one result, measure a set."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from openvmas.errors import InputError
from openvmas.eval.benchmark import folder_measures, set_measures, small_samples
from openvmas.eval.benchmark.folder_measures import MeasuredFile, MeasuredFolder
from openvmas.eval.embedders.cross_modal_similarity import EmbeddingSimilarity, LearnedSimilarity, count_steps
from openvmas.eval.embedders.registry import open_embedder, sees_pictures, weights_key
from openvmas.eval.metrics.statistics import Interval
from openvmas.eval.suites.cache import Cache, Sound
from openvmas.eval.suites.excerpt import Excerpt, prepare
from openvmas.eval.suites.suite import Clip
from openvmas.eval.systems.system import Setting, Task, file_name, open_system
from openvmas.files import atomic_path, write_text
from openvmas.generate.similarity import Vectors
from openvmas.media.audio import Audio, read_audio
from openvmas.processes.threads import processor_seconds

VERSION = 4  # of what is measured here: another number makes the cache forget
SET_VERSION = 3  # the same of whole sets
ENDING = ".flac"
SCRATCH = ".making-"  # how folders of unfinished work begin; then the process that asked for it
FULL_SCALE = 2**15


@dataclass(frozen=True)
class WorkerSettings:
    """Settings that all jobs share. results: folder of finished sounds and records; seed: of the run."""

    results: Path
    systems: Setting
    embedders: tuple[str, ...]
    seed: int = 0


@dataclass(frozen=True)
class Made:
    """One result on record: key of what it was made from, cost in s, what was measured, by name; sound: its key.

    is_new: made in this run.
    """

    key: str
    wall: float
    cpu: float
    duration: float
    sound: str
    values: dict[str, float]
    is_new: bool


@dataclass(frozen=True)
class PreparedClip:
    """The answer to a clip, which is cut and analyzed. duration: s; key: of the picture's content."""

    duration: float
    key: str


@dataclass(frozen=True)
class Make:
    """A system's music for a clip. take: 0 is what is measured, others are by other seeds and are only embedded."""

    spec: str
    clip: Clip
    take: int = 0

    @property
    def name(self) -> str:
        """Name of the files that keep it."""
        return f"{self.clip.name}.{self.take}" if self.take else self.clip.name


@dataclass(frozen=True)
class Compare:
    """All music of a system, by the keys of its sounds, against the true music. The answer is a `Compared`."""

    spec: str
    embedder: str
    made: tuple[tuple[str, str], ...]  # name of the clip, key of the sound
    reference: tuple[tuple[str, str], ...]
    takes: tuple[tuple[str, ...], ...] = ()  # keys of the sounds of one video, one a seed


@dataclass(frozen=True)
class Compared:
    """sets: of all music, by measure. clips: by name of the clip and measure. patches: counted, and all."""

    sets: dict[str, Interval]
    clips: dict[str, dict[str, float]]
    patches: tuple[int, int]


@dataclass(frozen=True)
class Match:
    """All music of a system against all pictures; figures by name of the clip.

    judge: an embedder that knows pictures, or none for the learned comparison.
    """

    spec: str
    clips: tuple[Clip, ...]
    pictures: tuple[str, ...]  # keys
    sounds: tuple[str, ...]
    judge: str | None = None


Job = Clip | Make | Compare | Match


def seed_of(job: Make, seed: int) -> int:
    """A seed of its own for every clip and take, whatever else is in the suite."""
    return (seed + zlib.crc32(job.name.encode())) % 2**32


def start(setting: WorkerSettings, send: Callable[[Any], None]) -> Callable[[Job], Any]:
    """The work of one process; nothing is sent on the way."""
    return Worker(setting).do


class Worker:
    """Keeps open what several jobs need: systems and embedders."""

    def __init__(self, setting: WorkerSettings) -> None:
        self._setting = setting
        self._cache = Cache(setting.systems.cache)
        self._system = cache(partial(open_system, setting=setting.systems))
        self._embedder = cache(open_embedder)
        self._excerpt = lru_cache(maxsize=1)(partial(prepare, cache=self._cache))  # jobs come clip by clip
        self._judge = LearnedSimilarity(self._cache)
        self._others = {
            name: EmbeddingSimilarity(name, self._cache, partial(self._embedder, name))
            for name in setting.embedders
            if sees_pictures(name)
        }

    def do(self, job: Job) -> Any:
        """The answer to a job. Raises OpenVMASError and whatever a system raises."""
        if isinstance(job, Clip):
            return self._prepare(job)
        if isinstance(job, Match):
            return self._match_in_space(job, self._others[job.judge]) if job.judge else self._match(job)
        return self._make(job) if isinstance(job, Make) else self._compare(job)

    def _prepare(self, clip: Clip) -> PreparedClip:
        excerpt = self._excerpt(clip)
        _ = excerpt.picture, excerpt.reference_music
        for judge in self._others.values():
            judge.embed_picture(excerpt.key, lambda: excerpt.video)
        return PreparedClip(float(excerpt.duration), excerpt.key)

    def _make(self, job: Make) -> Made:
        excerpt = self._excerpt(job.clip)
        system = self._system(job.spec)
        place = self._place(job.spec, job.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        record = place.with_name(f"{job.name}.json")
        scratch = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getppid()}-", dir=place.parent))
        try:
            task = Task(excerpt, seed_of(job, self._setting.seed), scratch)
            key = system.key(task)
            kept = read_record(record, key) if place.exists() else None
            if kept is None:
                _ = excerpt.picture, excerpt.reference  # shared by all systems: not part of what this one costs
                began, cpu = time.perf_counter(), processor_seconds()
                audio = system.make(task)
                cost = time.perf_counter() - began, processor_seconds() - cpu
                with atomic_path(place) as hidden:
                    write_flac(hidden, audio)
                kept = {"key": key, "wall": cost[0], "cpu": cost[1], "duration": float(audio.duration)}
                write_text(record, json.dumps(kept) + "\n")
                kept["is_new"] = True
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        sound = self._cache.key(place)
        values: dict[str, float] = {}
        if not job.take:
            values = self._measure(place, sound, excerpt)
            self._hear(place, sound, excerpt)
        for name in self._setting.embedders:
            self._sound(name, sound, place)
        return Made(key, kept["wall"], kept["cpu"], kept["duration"], sound, values, kept.get("is_new", False))

    def _measure(self, place: Path, sound: str, excerpt: Excerpt) -> dict[str, float]:
        def measure() -> dict[str, float]:
            audio = read_audio(place)
            reference = excerpt.reference_music
            return folder_measures.measure_sound(audio.wave, audio.sample_rate, excerpt.picture, reference)

        both = hashlib.sha256(f"{sound} {excerpt.key}".encode()).hexdigest()
        return self._cache.values(both, f"run-{VERSION}-{folder_measures.VERSION}", measure)

    def _hear(self, place: Path, sound: str, excerpt: Excerpt) -> Vectors:
        """Vectors of a finished sound for the learned comparison."""
        return self._judge.embed_music(sound, lambda: read_audio(place), count_steps(excerpt.picture))

    def _match(self, job: Match) -> dict[str, dict[str, float]]:
        def describe() -> dict[str, Any]:
            pairs = {}
            for clip, sound in zip(job.clips, job.sounds, strict=True):
                excerpt = self._excerpt(clip)
                place = self._place(job.spec, clip.name)
                pairs[clip.name] = self._judge.embed_picture(excerpt.picture), self._hear(place, sound, excerpt)
            return self._judge.measure(pairs)

        parts = json.dumps([[clip.name for clip in job.clips], job.pictures, job.sounds])
        key = hashlib.sha256(parts.encode()).hexdigest()
        found: dict[str, Any] = self._cache.values(key, f"match-{self._judge.key}-{VERSION}", describe)
        return found

    def _match_in_space(self, job: Match, judge: EmbeddingSimilarity) -> dict[str, dict[str, float]]:
        pairs = {}
        for clip, picture, sound in zip(job.clips, job.pictures, job.sounds, strict=True):
            seen = judge.embed_picture(picture, lambda clip=clip: self._excerpt(clip).video)
            pairs[clip.name] = seen, self._sound(judge.name, sound, self._place(job.spec, clip.name))
        return judge.measure(pairs)

    def _place(self, spec: str, name: str) -> Path:
        """Where a finished sound is kept."""
        return self._setting.results / file_name(spec) / f"{name}{ENDING}"

    def _sound(self, embedder: str, sound: str, place: Path | None) -> Sound:
        """Embeddings of a finished sound. place: may be None where they are in the cache."""

        def embed() -> Sound:
            if place is None:
                raise InputError("what was heard before has gone from the cache; run again.")
            return folder_measures.embed_file(place, self._embedder(embedder))

        return self._cache.sound(sound, f"{weights_key(embedder)}-{folder_measures.EMBEDDING_VERSION}", embed)

    def _compare(self, job: Compare) -> Compared:
        def gather(name: str, parts: tuple[tuple[str, str], ...]) -> MeasuredFolder:
            files = [MeasuredFile(clip, {}, self._sound(job.embedder, key, None)) for clip, key in parts]
            return MeasuredFolder(Path(name), tuple(files), {})

        def describe() -> dict[str, Any]:
            reference = gather("reference", job.reference) if job.reference else None
            made, classes = gather(job.spec, job.made), tuple(self._embedder(job.embedder).classes)
            takes = [[self._sound(job.embedder, key, None) for key in video] for video in job.takes]
            sets = set_measures.evaluate(reference, made, classes, takes)
            clips = set_measures.agreement(reference, made, classes) if reference else {}
            if reference is None and (own := small_samples.halves(made)):
                sets["frechet_halves"] = own
            patches = small_samples.count_patches(made)
            return {"sets": {n: asdict(item) for n, item in sets.items()}, "clips": clips, "patches": patches}

        parts = json.dumps([job.made, job.reference, job.takes])
        kind = f"set-{weights_key(job.embedder)}-{SET_VERSION}-{folder_measures.EMBEDDING_VERSION}"
        found: dict[str, Any] = self._cache.values(hashlib.sha256(parts.encode()).hexdigest(), kind, describe)
        sets = {name: Interval(**item) for name, item in found["sets"].items()}
        return Compared(sets, found["clips"], (found["patches"][0], found["patches"][1]))


def read_record(path: Path, key: str) -> dict[str, Any] | None:
    """The record at `path`, if it was made from the same key."""
    with contextlib.suppress(OSError, ValueError):
        data = json.loads(path.read_text(encoding="utf-8"))
        return data if isinstance(data, dict) and data.get("key") == key else None
    return None


def write_flac(path: Path, audio: Audio) -> None:
    """A wave [C, L], C 1 or 2, as 16-bit FLAC; what is above full scale is cut off, as every player does."""
    wave = np.nan_to_num(np.asarray(audio.wave, np.float32), nan=0.0)
    samples = np.clip(np.rint(wave * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    soundfile.write(path, samples.T, audio.sample_rate, format="FLAC", subtype="PCM_16")
