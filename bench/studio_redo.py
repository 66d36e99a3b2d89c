"""What writing 4 s of a take again costs in the studio: `python bench/studio_redo.py VIDEO [START] [MODEL]`.

Goes through the tasks of the worker in this process: watch, score, write START to START + 4 s again; once with only the
changed part played and mixed, and once with the whole, as if nothing were known of the take before. Prints processor
time and time by the clock, s.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openvmas.generate import scorer
from openvmas.studio.storage.folders import ProjectFolder, TakeFolder
from openvmas.studio.tasks import compose, inspect, render

SECONDS = 4.0


def timed(name: str, work: Callable[[], Any]) -> Any:
    """Print what some work takes."""
    cpu, clock = time.process_time(), time.perf_counter()
    found = work()
    print(f"{name:26} {time.process_time() - cpu:7.2f} {time.perf_counter() - clock:7.2f}")
    return found


def main(video: str, start: str = "20", name: str = "mini") -> None:
    """Print the table."""
    source, model = Path(video).resolve(), scorer.load(name)
    with tempfile.TemporaryDirectory() as folder:
        home, ids = Path(folder), {"home": folder, "project": "a" * 32, "source": str(source), "name": source.name}
        project = ProjectFolder(home, ids["project"])
        project.path.mkdir(parents=True)
        limits = {"max_minutes": 60, "max_pixels": 10**8, "threads": 2}
        plan = inspect.look(ids | limits, lambda message: None)["plan"]
        print(f"{'':26} {'cpu, s':>7} {'clock':>7}")

        def take(
            letter: str, kind: str, part: Any = None, before: TakeFolder | None = None, is_whole: bool = False
        ) -> TakeFolder:
            row = {"plan": plan, "options": "{}", "seed": ord(letter), "part": json.dumps(part)}
            folder = project.take(letter * 32, 1)
            request = compose.TakeRequest(kind, row, folder, before)
            if is_whole:
                model.composer.render_part = lambda *_: None  # type: ignore[method-assign]
            made = timed(
                f"{kind} {letter}: compose", lambda: compose.compose(model, request, project, lambda done: None)
            )
            told = ids | made | {"take": letter * 32, "attempt": 1, "plan": plan, "options": {"seed": 0}}
            told |= {"model": model.weights.describe()} | ({"earlier": str(before.path)} if before else {})
            timed(f"{kind} {letter}: mix, measure", lambda: render.finish(told, lambda message: None))
            return folder

        first, begin = take("b", "score"), float(start)
        part = {"start": begin, "end": begin + SECONDS, "spans": [[begin, begin + SECONDS]]}
        take("c", "redo", part, first)
        take("d", "redo", part, first, is_whole=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
