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
from pathlib import Path
from typing import Any

import av
import numpy as np

from openvmas.errors import InputError
from openvmas.eval import folder, metrics
from openvmas.eval.adapters.names import open_embedder, weights_key
from openvmas.eval.cache import Cache, Sound
from openvmas.eval.embedders import Embedder
from openvmas.eval.excerpt import Excerpt, prepare
from openvmas.eval.folder import MeasuredFile, MeasuredFolder
from openvmas.eval.statistics import Interval
from openvmas.eval.suite import Clip
from openvmas.eval.systems import Setting, System, Task, file_name, open_system
from openvmas.media.audio import Audio, read_audio
from openvmas.music.analysis import listen

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
    """A clip to be cut, looked at and listened to."""

    clip: Clip


@dataclass(frozen=True)
class Make:
    """A system's music for a clip."""

    spec: str
    clip: Clip


@dataclass(frozen=True)
class Compare:
    """All music of a system, by the keys of its sounds, against the true music."""

    spec: str
    embedder: str
    made: tuple[tuple[str, str], ...]  # name of the clip, key of the sound
    reference: tuple[tuple[str, str], ...]


Job = Prepare | Make | Compare


def seed_of(clip: Clip, seed: int) -> int:
    """A seed of its own for every clip, whatever else is in the suite."""
    return (seed + zlib.crc32(clip.name.encode())) % 2**32


def start(setting: BenchSetting) -> Callable[[Job], Any]:
    """The work of one process."""
    return Bench(setting).do


class Bench:
    """Keeps open what several jobs need: systems and embedders."""

    def __init__(self, setting: BenchSetting) -> None:
        self._setting = setting
        self._cache = Cache(setting.systems.cache)
        self._systems: dict[str, System] = {}
        self._embedders: dict[str, Embedder] = {}

    def do(self, job: Job) -> Any:
        """The answer to a job. Raises OpenVMASError and whatever a system raises."""
        if isinstance(job, Prepare):
            return self._prepare(job.clip)
        return self._make(job) if isinstance(job, Make) else self._compare(job)

    def _prepare(self, clip: Clip) -> float:
        excerpt = prepare(clip, self._cache)
        _ = excerpt.picture, excerpt.reference_music
        return float(excerpt.duration)

    def system(self, spec: str) -> System:
        """Opened when it is first needed."""
        if spec not in self._systems:
            self._systems[spec] = open_system(spec, self._setting.systems)
        return self._systems[spec]

    def _make(self, job: Make) -> Made:
        excerpt = prepare(job.clip, self._cache)
        system = self.system(job.spec)
        place = self._setting.results / file_name(job.spec) / f"{job.clip.name}{ENDING}"
        place.parent.mkdir(parents=True, exist_ok=True)
        record = place.with_suffix(".json")
        scratch = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getppid()}-", dir=place.parent))
        try:
            task = Task(excerpt, seed_of(job.clip, self._setting.seed), scratch)
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
        values = self._measure(place, sound, excerpt)
        for name in self._setting.embedders:
            self._sound(name, sound, place)
        return Made(key, kept["wall"], kept["cpu"], kept["duration"], sound, values, kept.get("is_new", False))

    def _measure(self, place: Path, sound: str, excerpt: Excerpt) -> dict[str, float]:
        def hear() -> dict[str, float]:
            audio = read_audio(place)
            music = listen(audio.wave, audio.sample_rate)
            return metrics.measure(
                metrics.Heard(audio.wave, audio.sample_rate, music, excerpt.picture, excerpt.reference_music)
            )

        both = hashlib.sha256(f"{sound} {excerpt.key}".encode()).hexdigest()
        return self._cache.values(both, f"run-{metrics.VERSION}-{folder.VERSION}", hear)

    def _sound(self, embedder: str, sound: str, place: Path | None) -> Sound:
        """What an embedder hears in a finished sound. place: may be None for what was heard before."""

        def hear() -> Sound:
            if place is None:
                raise InputError("what was heard before has gone from the cache; run again.")
            if embedder not in self._embedders:
                self._embedders[embedder] = open_embedder(embedder)
            return folder.embed_file(place, self._embedders[embedder])

        return self._cache.sound(sound, f"{weights_key(embedder)}-{folder.VERSION}", hear)

    def _compare(self, job: Compare) -> dict[str, Interval]:
        def gather(name: str, parts: tuple[tuple[str, str], ...]) -> MeasuredFolder:
            files = [MeasuredFile(clip + ENDING, {}, self._sound(job.embedder, key, None)) for clip, key in parts]
            return MeasuredFolder(Path(name), tuple(files), {})

        def describe() -> dict[str, Any]:
            reference = gather("reference", job.reference) if job.reference else None
            found: dict[str, Interval] = {}
            for metric in metrics.SET_METRICS:
                found |= metric(reference, gather(job.spec, job.made))
            return {name: asdict(interval) for name, interval in found.items()}

        parts = json.dumps([job.made, job.reference])
        kind = f"set-{weights_key(job.embedder)}-{metrics.VERSION}-{folder.VERSION}"
        found: dict[str, Any] = self._cache.values(hashlib.sha256(parts.encode()).hexdigest(), kind, describe)
        return {name: Interval(**interval) for name, interval in found.items()}


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
