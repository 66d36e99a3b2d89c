"""Several videos in one call: here with a word for each, in lists and on clusters with a table (`openvmas.batch`)."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openvmas.cli.options import Voice, flag
from openvmas.cli.terminal import Report, complain, overall
from openvmas.errors import OptionError
from openvmas.files import beside, sweep
from openvmas.settings import BatchOptions

if TYPE_CHECKING:
    from openvmas.batch.clip import BatchSettings, ClipResult
    from openvmas.batch.manifest import Clip, Manifest

ONE_VIDEO_ONLY = ("output", "audio_out", "midi_out", "stems_out", "joins_out", "sweeten_out", "plan")
RESULT = re.compile(r"\.scored(\.\d+)?$")  # the end of the name that a result has, without extension
JSON = ("score", "--json")  # arguments that ask for an answer in JSON
INTERRUPTED = "interrupted; finished work stays, and the same command goes on with it."


def distinct(videos: Sequence[str]) -> list[str]:
    """The videos without those given twice, and without results of others, which *.mp4 names the second time.

    Raises OptionError where two would be written to the same name.
    """
    found: dict[str, str] = {}
    for video in videos:
        path = Path(os.path.abspath(video))
        place = os.path.normcase(path.with_suffix(""))
        earlier = found.setdefault(place, video)
        if os.path.abspath(earlier) != os.path.abspath(video):
            raise OptionError(
                f"{earlier} and {video} would both be written as {path.stem}.scored; "
                "score them one by one and name the results with --output."
            )
    return [video for place, video in found.items() if RESULT.sub("", place) not in found or not RESULT.search(place)]


def score_several(videos: Sequence[str], chosen: dict[str, Any], batch: BatchOptions, voice: Voice) -> int:
    """Score a list, or videos that were named one by one, print the sum, and return the exit code.

    0 if all went well, 1 if any failed by a fault of ours, 130 after an interrupt, else 2. Raises OptionError.
    """
    from openvmas.batch import manifest, run
    from openvmas.batch.clip import FAILED, KEPT, SCORED, BatchSettings

    clips = list_clips(videos, batch)
    for name in ONE_VIDEO_ONLY:
        if name in chosen and len(videos) > 1:
            raise OptionError(f"{flag(name)} is for one video, but {len(videos)} were given; leave it out.")
    n = manifest.check(clips, chosen)
    table = Path(batch.table) if batch.table else table_of(batch.list)
    if table is not None:
        run.check_table(table)
    is_named, failed = batch.list is None, list[str]()
    settings = BatchSettings(chosen, bool(chosen.pop("overwrite", False)))
    with voice.progress(Path(batch.list or "videos").name) as progress:
        shares = Shares(n, progress)
        results = run.score_clips(
            clips, settings, workers=batch.workers or 1, ray=batch.ray, timeout=batch.timeout or run.TIMEOUT,
            tell=shares.tell,
        )  # fmt: skip

        def say(done: int, result: ClipResult) -> None:
            shares.finish(result.index)
            if result.status == FAILED:
                failed.extend([result.video] * is_named)
                complain_of(result, voice.is_json and is_named)
            elif isinstance(clips, list):
                answer_each(clips[result.index], result, settings, voice)

        try:
            found = run.score_to_table(results, table, say)
        except KeyboardInterrupt:
            for folder in {Path(video).parent for video in videos}:
                sweep(folder)
            return complain(INTERRUPTED, 130, JSON * voice.is_json)
    counts, n_failed = found.counts, found.counts[FAILED]
    code = 0 if not n_failed else 1 if found.n_faults else 2
    line = f"{counts[SCORED]} of {n} videos scored"
    line += f", {counts[KEPT]} were finished before" if counts[KEPT] else ""
    line += f", {n_failed} failed" if n_failed else ""
    line += f" ({', '.join(failed)})" if failed else ""
    line += f"; {found.duration:.0f} s of video took {found.processor_seconds:.0f} s of processor time"
    told = {"scored": counts[SCORED], "kept": counts[KEPT], "n_failed": n_failed} | (
        {"failed": failed} if is_named else {}
    )
    told |= {"processor_seconds": found.processor_seconds, "duration": found.duration}
    voice.answer(
        line + (f"; {table}" if table else ""), ok=not n_failed, exit_code=code, **told,
        table=None if table is None else str(table),
    )  # fmt: skip
    return code


def list_clips(videos: Sequence[str], batch: BatchOptions) -> Manifest | list[Clip]:
    """The clips of a list or of videos named one by one. Raises OptionError for both or neither, InputError."""
    from openvmas.batch import manifest

    if not videos and batch.list is None:
        raise OptionError("there is no video to score; give a path, or a table of them with --list.")
    if batch.list is None:
        # Nodes of a cluster have working folders of their own.
        named = [v if batch.ray is None or "://" in v else os.path.abspath(v) for v in distinct(videos)]
        return [manifest.Clip(index, video) for index, video in enumerate(named)]
    if videos:
        raise OptionError("give videos or --list, one of them.")
    found = manifest.Manifest(batch.list)
    manifest.check_columns(found)
    return found


class Shares:
    """Progress of all videos together, out of what the processes report of theirs."""

    def __init__(self, n: int, progress: Report) -> None:
        self._n, self._progress, self._lock = n, progress, threading.Lock()
        self._running: dict[int, float] = {}
        self._n_done, self._shown = 0, 0.0
        self._show()

    def tell(self, clip: Clip, message: tuple[str, float]) -> None:
        """A video is at a stage, of which this share is done."""
        with self._lock:
            self._running[clip.index] = overall(*message)
            self._show()

    def finish(self, index: int) -> None:
        """A video is done; what is printed next has a line of its own."""
        with self._lock:
            self._running.pop(index, None)
            self._n_done += 1
            self._show()
            getattr(self._progress, "clear", lambda: None)()

    def _show(self) -> None:
        self._shown = max(self._shown, (self._n_done + sum(self._running.values())) / self._n)
        self._progress("videos", self._shown)


def complain_of(result: ClipResult, has_answer: bool) -> None:
    """Print why a video failed, in words that name it. has_answer: as JSON too."""
    name = Path(result.video).name
    sentence = result.error if name in result.error else f"{result.video}: {result.error}"
    complain(sentence, 1 if result.is_fault else 2, JSON * has_answer)


def answer_each(clip: Clip, result: ClipResult, settings: BatchSettings, voice: Voice) -> None:
    """Print the line of each finished video of a clip on this machine, from its sidecar."""
    from openvmas.batch.clip import SCORED, SIDECAR, read_sidecar, stems_of
    from openvmas.batch.places import is_remote, split
    from openvmas.cli.main import say_result
    from openvmas.generate.scorer import ScoreResult

    for stem in [] if is_remote(clip.stem) else stems_of(clip, settings.options):
        report = read_sidecar(stem)
        if report is not None:
            video, sidecar = Path(split(stem)[0], report["batch"]["video"]), Path(f"{stem}{SIDECAR}")
            say_result(ScoreResult(video, sidecar, None, report), voice, is_new=result.status == SCORED)


def table_of(path: str | None) -> Path | None:
    """Where the table goes if it is not said: beside a list of this machine, with another list into this folder."""
    from openvmas.batch import places

    if path is None:
        return None
    if places.is_remote(path):
        return Path(f"{places.split(path)[1].rpartition('.')[0]}.scored.csv")
    return beside(places.local_path(path), ".scored.csv")
