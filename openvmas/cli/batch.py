"""Several videos in one call: each in a process of its own, so that whatever happens to one does not stop the rest.

Lists of them, and clusters, go to `openvmas.batch`, whose processes are used for one video after the other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

import click

from openvmas.cli.options import Voice, as_arguments, flag
from openvmas.errors import OptionError
from openvmas.files import beside
from openvmas.processes.pools import ProcessPool
from openvmas.processes.threads import share_of_cores
from openvmas.settings import BatchOptions

if TYPE_CHECKING:
    from openvmas.batch.clip import ClipResult
    from openvmas.batch.manifest import Clip, Manifest

PROGRAM = (sys.executable, "-m", "openvmas")
ONE_VIDEO_ONLY = ("output", "audio_out", "midi_out", "stems_out", "joins_out", "sweeten_out", "plan")
LIST_ONLY = ("table", "timeout")


class CommandPool(ProcessPool[subprocess.Popen[str]]):
    """At most `n` commands at a time; their lines are passed on whole."""

    def __init__(self, n: int) -> None:
        super().__init__(n, subprocess.Popen.terminate)
        self._environment = {**share_of_cores(n), "PYTHONIOENCODING": "utf-8:backslashreplace"}
        self._writing = threading.Lock()

    def run(self, commands: Sequence[Sequence[str]]) -> list[int]:
        """Run all commands and return their exit codes."""
        codes = dict(self.as_completed(lambda index: self._run_one(commands[index]), range(len(commands))))
        return [codes[index] for index in range(len(commands))]

    def _run_one(self, command: Sequence[str]) -> int:
        child = self._add(
            lambda: subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                encoding="utf-8", errors="replace", env=self._environment,
            )
        )  # fmt: skip
        assert child.stdout and child.stderr
        errors = threading.Thread(target=self._pass_on, args=(child.stderr, sys.stderr))
        errors.start()
        self._pass_on(child.stdout, sys.stdout)
        errors.join()
        return child.wait()

    def _pass_on(self, source: IO[str], target: TextIO) -> None:
        with source:
            for line in source:
                with self._writing:
                    target.write(line)
                    target.flush()


def distinct(videos: Sequence[str]) -> list[str]:
    """The videos without those given twice. Raises OptionError where two would be written to the same name."""
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
    return list(found.values())


def score_several(videos: Sequence[str], chosen: dict[str, Any], batch: BatchOptions, voice: Voice) -> int:
    """Score a list, or videos that were named one by one; returns the exit code. Raises OptionError."""
    if batch.list is not None or batch.ray is not None or any("://" in video for video in videos):
        return score_list(videos, chosen, batch, voice)
    if not videos:
        raise OptionError("there is no video to score; give a path, or a table of them with --list.")
    for name in LIST_ONLY:
        if getattr(batch, name) is not None:
            raise OptionError(f"{flag(name)} is for lists of videos; give --list or --ray too.")
    for name in ONE_VIDEO_ONLY:
        if name in chosen:
            raise OptionError(f"{flag(name)} is for one video, but {len(videos)} were given; leave it out.")
    return score_many(videos, as_arguments(chosen), batch.workers or 1, voice)


def score_many(videos: Sequence[str], arguments: Sequence[str], n_workers: int, voice: Voice) -> int:
    """Score every video with the same arguments, print a summary, and return the exit code of the whole.

    0 if all went well, 1 if any failed by a fault of ours, else 2.
    """
    videos = distinct(videos)
    # `--` ends the options, so that a file called -x.mp4 stays a file.
    commands = [[*PROGRAM, "score", *arguments, *voice.arguments(), "--", video] for video in videos]
    with CommandPool(n_workers) as pool:
        codes = pool.run(commands)
    failed = [video for video, code in zip(videos, codes, strict=True) if code]
    code = 0 if not failed else 2 if all(code in (0, 2) for code in codes) else 1
    line = f"{len(videos) - len(failed)} of {len(videos)} videos scored"
    told = {"ok": not failed, "exit_code": code, "scored": len(videos) - len(failed), "failed": failed}
    voice.answer(line + (f"; failed: {', '.join(failed)}" if failed else ""), **told)
    return code


def score_list(videos: Sequence[str], chosen: dict[str, Any], batch: BatchOptions, voice: Voice) -> int:
    """Score all, print the sum, and return the exit code: 0 if all went well, 1 if any failed by our fault, else 2."""
    from openvmas.batch import manifest, run
    from openvmas.batch.clip import FAILED, KEPT, SCORED, BatchSettings

    clips = list_clips(videos, batch.list)
    n = manifest.check(clips, chosen)
    table = Path(batch.table) if batch.table else table_of(batch.list)
    if table is not None:
        run.check_table(table)
    overwrite = bool(chosen.pop("overwrite", False))
    results = run.score_clips(
        clips, BatchSettings(chosen, overwrite), workers=batch.workers or 1, ray=batch.ray,
        timeout=batch.timeout or run.TIMEOUT,
    )  # fmt: skip
    with voice.progress(Path(batch.list or "videos").name) as progress:

        def say(done: int, result: ClipResult) -> None:
            progress("videos", done / n)
            if result.status == FAILED:
                click.echo(f"{result.video}: {result.error}", err=True)

        progress("videos", 0.0)
        found = run.score_to_table(results, table, say)
    counts, n_failed = found.counts, found.counts[FAILED]
    code = 0 if not n_failed else 1 if found.n_faults else 2
    line = f"{counts[SCORED]} of {n} videos scored"
    line += f", {counts[KEPT]} were finished before" if counts[KEPT] else ""
    line += f", {n_failed} failed" if n_failed else ""
    line += f"; {found.duration:.0f} s of video took {found.processor_seconds:.0f} s of processor time"
    told = {"scored": counts[SCORED], "kept": counts[KEPT], "n_failed": n_failed}
    told |= {"processor_seconds": found.processor_seconds, "duration": found.duration}
    voice.answer(
        line + (f"; {table}" if table else ""), ok=not n_failed, exit_code=code, **told,
        table=None if table is None else str(table),
    )  # fmt: skip
    return code


def list_clips(videos: Sequence[str], path: str | None) -> Manifest | list[Clip]:
    """The clips of a list or of videos named one by one. Raises OptionError for both or neither, InputError."""
    from openvmas.batch import manifest

    if (path is None) == (not videos):
        raise OptionError("give videos or --list, one of them.")
    if path is None:
        return manifest.of_videos(list(dict.fromkeys(videos)))
    found = manifest.Manifest(path)
    manifest.check_columns(found)
    return found


def table_of(path: str | None) -> Path | None:
    """Where the table goes if it is not said: beside a list of this machine, with another list into this folder."""
    from openvmas.batch import places

    if path is None:
        return None
    if places.is_remote(path):
        return Path(f"{places.split(path)[1].rpartition('.')[0]}.scored.csv")
    return beside(places.local_path(path), ".scored.csv")
