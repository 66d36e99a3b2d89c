"""What the style cards of a video cost in the studio: `python bench/studio_sketches.py VIDEO [MODEL]`.

Goes through the tasks of the worker in this process: the video is watched, then each card's six seconds are written
with the voice that fits (or MODEL). Prints processor time, s, of each; the first one opens what is not open yet.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from openvmas.generate import scorer
from openvmas.generate.piece import Composer
from openvmas.planning.plan_yaml import read_plan
from openvmas.planning.schema import ScorePlan
from openvmas.planning.voices import choose_voice
from openvmas.studio.storage.folders import ProjectFolder, read_speech
from openvmas.studio.storage.styles import StyleFolder
from openvmas.studio.tasks import inspect, sketch


def main(video: str, model: str = "auto") -> None:
    """Print a line for each card."""
    source = Path(video).resolve()
    with tempfile.TemporaryDirectory() as home:
        project = ProjectFolder(Path(home), "a" * 32)
        project.path.mkdir(parents=True)
        request = {"home": home, "project": "a" * 32, "source": str(source), "name": source.name}
        limits = {"max_minutes": 60, "max_pixels": 10**8, "threads": 1}
        plan = read_plan(inspect.look(request | limits, lambda message: None)["plan"])
        speech, opened, taken = read_speech(project), dict[str, Composer](), list[str]()

        def voice_of(wished: ScorePlan) -> Composer:
            name = choose_voice(wished, speech).model if model == "auto" else model
            taken.append(name)
            if name not in opened:
                opened[name] = scorer.load(name).composer
            return opened[name]

        times: list[float] = []
        sketch.sketch(voice_of, model, plan, project, lambda done: times.append(time.process_time()), lambda: True)
        times.append(time.process_time())
        _, _, styles = StyleFolder(project).load() or (0.0, "", [])
        for style, name, began, ended in zip(styles, taken, times[:-1], times[1:], strict=True):
            print(f"{style.name:24} {name:10} {ended - began:6.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
