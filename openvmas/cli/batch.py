"""Several videos in one call: each in a process of its own, so that whatever happens to one does not stop the rest."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TextIO

from openvmas.processes import share_of_cores

PROGRAM = (sys.executable, "-m", "openvmas")
INTERRUPTED = 130


class Pool:
    """At most `n_workers` child processes at a time; their lines are passed on whole."""

    def __init__(self, n_workers: int) -> None:
        self._threads = ThreadPoolExecutor(n_workers)
        self._environment = share_of_cores(n_workers)
        self._children: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._is_stopped = False

    def run(self, commands: Sequence[Sequence[str]]) -> list[int]:
        """Run all commands and return their exit codes; an interrupt ends the children, waits and goes on upwards."""
        futures = [self._threads.submit(self._run_one, command) for command in commands]
        try:
            return [future.result() for future in futures]
        except BaseException:
            with self._lock:
                self._is_stopped = True
                for child in self._children:
                    child.terminate()
            raise
        finally:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def _run_one(self, command: Sequence[str]) -> int:
        with self._lock:
            if self._is_stopped:
                return INTERRUPTED
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=self._environment,
            )
            self._children.add(child)
        assert child.stdout and child.stderr
        errors = threading.Thread(target=self._pass_on, args=(child.stderr, sys.stderr))
        errors.start()
        self._pass_on(child.stdout, sys.stdout)
        errors.join()
        code = child.wait()
        with self._lock:
            self._children.discard(child)
        return code

    def _pass_on(self, source: IO[str], target: TextIO) -> None:
        with source:
            for line in source:
                with self._lock:
                    target.write(line)
                    target.flush()


def score_many(videos: Sequence[str], arguments: Sequence[str], n_workers: int) -> int:
    """Score every video with the same arguments, print a summary, and return the exit code of the whole.

    0 if all went well, 1 if any failed by a fault of ours, else 2.
    """
    videos = list(dict.fromkeys(videos))
    # `--` ends the options, so that a file called -x.mp4 stays a file.
    commands = [[*PROGRAM, "score", *arguments, "--", video] for video in videos]
    codes = Pool(n_workers).run(commands)
    failed = [video for video, code in zip(videos, codes, strict=True) if code]
    print(f"{len(videos) - len(failed)} of {len(videos)} videos scored", end="")
    print(f"; failed: {', '.join(failed)}" if failed else "")
    if not failed:
        return 0
    return 2 if all(code in (0, 2) for code in codes) else 1
