"""The work on one video of many, in a process that keeps its models: scored, or known to be finished from before.

A result is finished if the sidecar beside it holds the key of the same video, settings and version, and the video that
it names is there in full. The key is a hash of content, so that touching, moving or renaming files changes nothing, and
another picture under an old name is scored again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from openvmas import __version__
from openvmas.batch import places
from openvmas.batch.manifest import Clip
from openvmas.errors import InputError, OutputError
from openvmas.files import hidden_name, sweep
from openvmas.generate import scorer
from openvmas.generate.deliver import plain
from openvmas.media.containers import FORMATS, choose_extension
from openvmas.media.probe import probe
from openvmas.pretrained import find_weights, hash_file, is_weights
from openvmas.processes.kept import Kept
from openvmas.processes.threads import processor_seconds
from openvmas.settings import GROUPS, Options

SCORED, KEPT, FAILED = "scored", "kept", "failed"
SIDECAR = ".json"
SECONDS_BETWEEN_REPORTS = 0.2
ABOUT_PLACES = frozenset({"output", "overwrite", "variations"})  # options that the music does not depend on


@dataclass(frozen=True)
class ClipResult:
    """One row of the table. status: scored, kept (finished before) or failed; output: place of the finished video;
    seconds, processor_seconds: spent on it now; duration: of the video, s; sha256: of the video's bytes; error: why it
    failed, is_fault: whether that was ours."""

    index: int
    video: str
    status: str
    output: str = ""
    seconds: float = 0.0
    processor_seconds: float = 0.0
    duration: float | None = None
    model: str = ""
    licence: str = ""
    sha256: str = ""
    error: str = ""
    is_fault: bool = False


@dataclass(frozen=True)
class BatchSettings:
    """Settings that all clips share. options: those that were given, by name; overwrite: replace other results."""

    options: Mapping[str, Any] = field(default_factory=dict)
    overwrite: bool = False


def start(settings: BatchSettings, send: Callable[[Any], None]) -> Callable[[Clip], ClipResult]:
    """The work of one process (`processes.child`); it reports (stage, share of it that is done)."""
    return ClipWork(settings, send)


class ClipWork:
    """Scores clip after clip with models that are loaded once. send: is told stage and share now and then."""

    def __init__(self, settings: BatchSettings, send: Callable[[Any], None] = lambda message: None) -> None:
        self._settings, self._send, self._sent = settings, send, 0.0
        self._scorers: Kept[scorer.Scorer] = Kept()
        self._swept: set[str] = set()

    def __call__(self, clip: Clip) -> ClipResult:
        """Score a clip, or find it finished. Raises OpenVMASError."""
        began, used = time.monotonic(), processor_seconds()
        result = self._do(clip)
        spent = {"seconds": time.monotonic() - began, "processor_seconds": processor_seconds() - used}
        return ClipResult(clip.index, clip.video, **{**result, **{k: round(v, 3) for k, v in spent.items()}})

    def _do(self, clip: Clip) -> dict[str, Any]:
        chosen = {**self._settings.options, **clip.options}
        options = Options.of(**chosen)
        wanted = settings_key(options)
        mark = places.content_mark(clip.video)
        stems = stems_of(clip, self._settings.options)
        before = {stem: found for stem in stems if (found := read_sidecar(stem)) is not None}
        alike = {stem: found for stem, found in before.items() if found["batch"]["settings"] == wanted}
        whole = [found for stem, found in alike.items() if is_whole(stem, found)]

        def are_all(name: str, value: str) -> bool:
            """Whether all results are there in full, and note this value under a name."""
            return len(whole) == len(stems) and all(found["batch"].get(name) == value for found in whole)

        if mark is not None and are_all("mark", mark):
            return finished(stems[0], whole[0], KEPT)  # the store vouches for the content, so nothing is fetched
        with self._scratch(clip) as scratch:
            video = places.fetch(clip.video, scratch)
            if not video.is_file():
                raise InputError(f"{clip.video} is not there; correct the path.")
            sha256 = hash_file(video)
            if are_all("sha256", sha256):
                return finished(stems[0], whole[0], KEPT)
            for stem in stems:
                is_own = stem in alike and alike[stem]["batch"]["sha256"] == sha256
                if not is_own and not self._settings.overwrite:
                    refuse_taken(stem)
            noted = {"sha256": sha256, "settings": wanted, "mark": mark}
            return finished(stems[0], self._score(clip, video, chosen, noted, scratch), SCORED)

    def _score(
        self, clip: Clip, video: Path, chosen: dict[str, Any], noted: dict[str, Any], scratch: Path
    ) -> dict[str, Any]:
        """Score into the scratch folder, then move everything to its place, the videos last; returns the first sidecar.

        noted: what the sidecars are to say of where they come from.
        """
        folder, name = places.split(clip.stem)
        made = scratch / "made"
        made.mkdir()
        extension = choose_extension(probe(video))[0]
        given = {key: value for key, value in chosen.items() if key not in ABOUT_PLACES}
        asked = {**given, "output": str(made / f"{name}{extension}"), "variations": chosen.get("variations", 1)}
        results = self.open(given).score_variations(video, self._report, **asked)
        for found in results:
            report = found.report
            report["options"] |= {"output": places.join(folder, found.path.name)}
            report["input"]["path"] = places.split(clip.video)[1]
            report["batch"] = {**noted, "version": __version__, "video": found.path.name}
            report["batch"]["n_bytes"] = found.path.stat().st_size
            words = json.dumps(plain(report), indent=2, ensure_ascii=False) + "\n"
            found.sidecar.write_text(words, encoding="utf-8", errors="backslashreplace")
        last = [path for found in results for path in (found.sidecar, found.path)]
        for path in [*sorted(set(made.iterdir()) - set(last)), *last]:
            places.put(path, places.join(folder, path.name))
        return results[0].report

    def _report(self, stage: str, done: float) -> None:
        now = time.monotonic()
        if now - self._sent > SECONDS_BETWEEN_REPORTS:
            self._sent = now
            self._send((stage, done))

    def open(self, chosen: Mapping[str, Any]) -> scorer.Scorer:
        """The scorer of these options, loaded once and kept."""
        options = Options.of(**chosen)
        key = (scorer.model_for(options), options.output.plan, options.music)
        return self._scorers(key, lambda: scorer.load_for(options))

    @contextlib.contextmanager
    def _scratch(self, clip: Clip) -> Iterator[Path]:
        """A folder for unfinished work: hidden beside the results, or with their address in the system's own."""
        folder = places.split(clip.stem)[0]
        try:
            if places.is_remote(folder):
                scratch = tempfile.TemporaryDirectory(prefix="openvmas-batch-", ignore_cleanup_errors=True)
            else:
                home = places.local_path(folder)
                if folder not in self._swept:  # once, since in a folder of 100,000 videos it takes a while
                    self._swept.add(folder)
                    sweep(home)
                home.mkdir(parents=True, exist_ok=True)
                # What Windows still holds open stays, and is swept by a later run.
                scratch = tempfile.TemporaryDirectory(prefix=hidden_name("-"), dir=home, ignore_cleanup_errors=True)
        except OSError as error:
            raise OutputError(f"{folder} cannot be written to ({error.strerror}); choose other outputs.") from error
        with scratch as name:
            yield Path(name)


def settings_key(options: Options) -> str:
    """Hash of all that the result depends on beside the video: options, files that they name, model and version."""
    values = {name: value for name, value in options.flat().items() if name not in ABOUT_PLACES}
    for item in (item for group in GROUPS.values() for item in fields(group)):
        if item.name in values and (item.metadata.get("is_local") or item.name == "plan"):
            value = values[item.name]
            values[item.name] = [_content(one) for one in value] if isinstance(value, tuple) else _content(value)
    text = json.dumps([values, __version__, _model_of(options.output.model)], sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _content(value: Any) -> Any:
    """The value of an option with the hash of the file that it names, if it names one (also as PART=FILE#PRESET)."""
    if not isinstance(value, str):
        return value
    rest = value.partition("=")[2]
    names = (value, rest, value.rpartition("#")[0], rest.rpartition("#")[0])
    path = next((name for name in names if name and Path(name).is_file()), None)
    return value if path is None else [value.replace(path, ""), _hash_of(path, Path(path).stat().st_mtime_ns)]


@functools.cache
def _hash_of(path: str, changed: int) -> str:
    return hash_file(Path(path))


@functools.cache
def _model_of(name: str) -> str:
    return find_weights(name).sha256 if is_weights(name) else name  # presets of `auto` come with the version


def stems_of(clip: Clip, options: Mapping[str, Any]) -> list[str]:
    """The places of a clip's results without extension, one for each variation. options: those of all clips."""
    n = {**options, **clip.options}.get("variations", 1)
    return [clip.stem] if n == 1 else [f"{clip.stem}.{index}" for index in range(1, n + 1)]


def read_sidecar(stem: str) -> dict[str, Any] | None:
    """The sidecar of an earlier run's result; None where there is none, or none that a run of many wrote."""
    data = places.read_bytes(f"{stem}{SIDECAR}")
    try:
        found = json.loads(data) if data is not None else None
        return found if found and {"sha256", "settings", "video", "n_bytes"} <= set(found["batch"]) else None
    except (ValueError, KeyError, TypeError):
        return None


def is_whole(stem: str, sidecar: Mapping[str, Any]) -> bool:
    """Whether the video that a sidecar describes is there with all its bytes."""
    batch = sidecar["batch"]
    return places.n_bytes(places.join(places.split(stem)[0], batch["video"])) == batch["n_bytes"]


def refuse_taken(stem: str) -> None:
    """Raises OutputError if results of something else lie there."""
    for ending in (SIDECAR, *FORMATS):
        if places.is_there(f"{stem}{ending}"):
            raise OutputError(
                f"{stem}{ending} exists already, and no sidecar says that it was made of this video with these "
                "settings; give --overwrite to replace it."
            )


def finished(stem: str, sidecar: Mapping[str, Any], status: str) -> dict[str, Any]:
    """The part of a row that a sidecar tells."""
    return {
        "status": status, "output": places.join(places.split(stem)[0], sidecar["batch"]["video"]),
        "duration": sidecar["duration"], "model": sidecar["model"]["name"],
        "licence": sidecar["model"]["licence"],
        "sha256": sidecar["batch"]["sha256"],
    }  # fmt: skip
