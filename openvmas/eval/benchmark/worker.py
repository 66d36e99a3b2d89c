"""The work of `eval run` in its worker processes: prepare a clip, make and measure one result, measure a set."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from openvmas.errors import InputError
from openvmas.eval.benchmark import folder_measures, measures
from openvmas.eval.benchmark.cache import Cache, Sound
from openvmas.eval.benchmark.excerpt import Excerpt, prepare
from openvmas.eval.benchmark.folder_measures import MeasuredFile, MeasuredFolder
from openvmas.eval.benchmark.suite import Clip
from openvmas.eval.embedders.registry import open_embedder, sees_pictures, weights_key
from openvmas.eval.metrics.cross_modal_similarity import Judge, SpaceJudge, count_steps
from openvmas.eval.metrics.statistics import Interval
from openvmas.eval.systems.system import Setting, System, Task, file_name, open_system
from openvmas.generate.similarity import Vectors
from openvmas.hub.taggers import Embedder
from openvmas.media.audio import Audio, read_audio
from openvmas.music.analysis import analyze_music

ENDING = ".flac"
SCRATCH = ".making-"  # how folders of unfinished work begin; then the process that asked for it
FULL_SCALE = 2**15


@dataclass(frozen=True)
class BenchSetting:
    """What all jobs share. results: folder of finished sounds and records; seed: of the run."""

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
class Prepare:
    """A clip to be cut, looked at and listened to. The answer is a `Prepared`."""

    clip: Clip


@dataclass(frozen=True)
class Prepared:
    """duration: s; key: of the picture's content."""

    duration: float
    key: str


@dataclass(frozen=True)
class Make:
    """A system's music for a clip. take: 0 is what is measured, others are by other seeds and are only heard."""

    spec: str
    clip: Clip
    take: int = 0

    @property
    def name(self) -> str:
        """Of the files that keep it."""
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
    """sets: of all music, by measure. clips: by name of the clip and measure."""

    sets: dict[str, Interval]
    clips: dict[str, dict[str, float]]


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


Job = Prepare | Make | Compare | Match


def seed_of(job: Make, seed: int) -> int:
    """A seed of its own for every clip and take, whatever else is in the suite."""
    return (seed + zlib.crc32(job.name.encode())) % 2**32


def start(setting: BenchSetting, send: Callable[[Any], None]) -> Callable[[Job], Any]:
    """The work of one process; nothing is sent on the way."""
    return Bench(setting).do


class Bench:
    """Keeps open what several jobs need: systems and embedders."""

    def __init__(self, setting: BenchSetting) -> None:
        self._setting = setting
        self._cache = Cache(setting.systems.cache)
        self._systems: dict[str, System] = {}
        self._embedders: dict[str, Embedder] = {}
        self._judge = Judge(self._cache)
        self._others = {
            name: SpaceJudge(name, self._cache, partial(self._embedder, name))
            for name in setting.embedders
            if sees_pictures(name)
        }
        self._last: Excerpt | None = None

    def do(self, job: Job) -> Any:
        """The answer to a job. Raises OpenVMASError and whatever a system raises."""
        if isinstance(job, Prepare):
            return self._prepare(job.clip)
        if isinstance(job, Match):
            return self._match_in_space(job, self._others[job.judge]) if job.judge else self._match(job)
        return self._make(job) if isinstance(job, Make) else self._compare(job)

    def _excerpt(self, clip: Clip) -> Excerpt:
        """The last one is remembered: jobs come clip by clip."""
        if self._last is None or self._last.clip != clip:
            self._last = prepare(clip, self._cache)
        return self._last

    def _prepare(self, clip: Clip) -> Prepared:
        excerpt = self._excerpt(clip)
        _ = excerpt.picture, excerpt.reference_music
        for judge in self._others.values():
            judge.see(excerpt.key, lambda: excerpt.video)
        return Prepared(float(excerpt.duration), excerpt.key)

    def system(self, spec: str) -> System:
        """Opened when it is first needed."""
        if spec not in self._systems:
            self._systems[spec] = open_system(spec, self._setting.systems)
        return self._systems[spec]

    def _make(self, job: Make) -> Made:
        excerpt = self._excerpt(job.clip)
        system = self.system(job.spec)
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
                write_flac(scratch / place.name, audio)
                os.replace(scratch / place.name, place)
                kept = {"key": key, "wall": cost[0], "cpu": cost[1], "duration": float(audio.duration)}
                (scratch / record.name).write_text(json.dumps(kept) + "\n", encoding="utf-8")
                os.replace(scratch / record.name, record)
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
        def hear() -> dict[str, float]:
            audio = read_audio(place)
            music = analyze_music(audio.wave, audio.sample_rate)
            return measures.measure(
                measures.Heard(audio.wave, audio.sample_rate, music, excerpt.picture, excerpt.reference_music)
            )

        both = hashlib.sha256(f"{sound} {excerpt.key}".encode()).hexdigest()
        return self._cache.values(both, f"run-{measures.VERSION}-{folder_measures.VERSION}", hear)

    def _hear(self, place: Path, sound: str, excerpt: Excerpt) -> Vectors:
        """What the learned comparison hears in a finished sound."""
        return self._judge.hear(sound, lambda: read_audio(place), count_steps(excerpt.picture))

    def _match(self, job: Match) -> dict[str, dict[str, float]]:
        def describe() -> dict[str, Any]:
            pairs = {}
            for clip, sound in zip(job.clips, job.sounds, strict=True):
                excerpt = self._excerpt(clip)
                place = self._place(job.spec, clip.name)
                pairs[clip.name] = self._judge.see(excerpt.picture), self._hear(place, sound, excerpt)
            return self._judge.measure(pairs)

        parts = json.dumps([[clip.name for clip in job.clips], job.pictures, job.sounds])
        key = hashlib.sha256(parts.encode()).hexdigest()
        found: dict[str, Any] = self._cache.values(key, f"match-{self._judge.key}-{measures.VERSION}", describe)
        return found

    def _match_in_space(self, job: Match, judge: SpaceJudge) -> dict[str, dict[str, float]]:
        pairs = {}
        for clip, picture, sound in zip(job.clips, job.pictures, job.sounds, strict=True):
            seen = judge.see(picture, lambda clip=clip: self._excerpt(clip).video)
            pairs[clip.name] = seen, self._sound(judge.name, sound, self._place(job.spec, clip.name))
        return judge.measure(pairs)

    def _place(self, spec: str, name: str) -> Path:
        """Where a finished sound is kept."""
        return self._setting.results / file_name(spec) / f"{name}{ENDING}"

    def _embedder(self, name: str) -> Embedder:
        """Opened when it is first needed."""
        if name not in self._embedders:
            self._embedders[name] = open_embedder(name)
        return self._embedders[name]

    def _sound(self, embedder: str, sound: str, place: Path | None) -> Sound:
        """What an embedder hears in a finished sound. place: may be None for what was heard before."""

        def hear() -> Sound:
            if place is None:
                raise InputError("what was heard before has gone from the cache; run again.")
            return folder_measures.embed_file(place, self._embedder(embedder))

        return self._cache.sound(sound, f"{weights_key(embedder)}-{folder_measures.HEARD_VERSION}", hear)

    def _compare(self, job: Compare) -> Compared:
        def gather(name: str, parts: tuple[tuple[str, str], ...]) -> MeasuredFolder:
            files = [MeasuredFile(clip + ENDING, {}, self._sound(job.embedder, key, None)) for clip, key in parts]
            return MeasuredFolder(Path(name), tuple(files), {})

        def describe() -> dict[str, Any]:
            all_music = measures.Collected(
                gather("reference", job.reference) if job.reference else None,
                gather(job.spec, job.made),
                tuple(self._embedder(job.embedder).classes),
                tuple(tuple(self._sound(job.embedder, key, None) for key in video) for video in job.takes),
            )
            sets: dict[str, Interval] = {}
            clips: dict[str, dict[str, float]] = {}
            for metric in measures.SET_METRICS:
                sets |= metric(all_music)
            for metric in measures.CONTEXT_METRICS:
                for name, values in metric(all_music).items():
                    clips.setdefault(name.removesuffix(ENDING), {}).update(values)
            return {"sets": {name: asdict(interval) for name, interval in sets.items()}, "clips": clips}

        parts = json.dumps([job.made, job.reference, job.takes])
        kind = f"set-{weights_key(job.embedder)}-{measures.VERSION}-{folder_measures.HEARD_VERSION}"
        found: dict[str, Any] = self._cache.values(hashlib.sha256(parts.encode()).hexdigest(), kind, describe)
        return Compared({name: Interval(**item) for name, item in found["sets"].items()}, found["clips"])


def processor_seconds() -> float:
    """Of this process and of all that it started and that has ended."""
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def read_record(path: Path, key: str) -> dict[str, Any] | None:
    """What is on record, if it was made from the same."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and data.get("key") == key else None


def write_flac(path: Path, audio: Audio) -> None:
    """A wave [C, L], C 1 or 2, as 16-bit FLAC; what is above full scale is cut off, as every player does."""
    wave = np.nan_to_num(np.asarray(audio.wave, np.float32), nan=0.0)
    samples = np.clip(np.rint(wave * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    with av.open(str(path), "w", format="flac") as container:
        layout = "stereo" if len(samples) == 2 else "mono"
        stream: Any = container.add_stream("flac", rate=audio.sample_rate, layout=layout)
        for begin in range(0, samples.shape[1], 4096):
            block = np.ascontiguousarray(samples[:, begin : begin + 4096].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = audio.sample_rate, begin, Fraction(1, audio.sample_rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
