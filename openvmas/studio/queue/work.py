"""The work on a job, wherever it is done: it reads and writes files of a project, and tells what it has come to.

It knows no database. News are small dictionaries, which the server applies in their order (`queue.lanes`): `progress`
(stage, share, seconds left), `take` with its new `state` and columns, and what an analysis has found so far.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openvmas.errors import InputError, OpenVMASError
from openvmas.processes.kept import Kept
from openvmas.processes.limited import ERROR, Failure
from openvmas.studio.storage.folders import ProjectFolder
from openvmas.studio.tasks.sandbox import SPARE_BYTES, Sandbox, limits_for, make_limits

Tell = Callable[[dict[str, Any]], None]
COMPOSE_SHARE = 0.8  # of the work on a take; the rest is mixing and measuring
INSPECT_SHARES = {"watch": (0.0, 0.8), "listen": (0.8, 0.15), "plan": (0.95, 0.05)}


@dataclass(frozen=True)
class JobRequest:
    """All that a worker has to know of a job. project, takes: rows; parents: rows of takes that others start from, by
    id; plan: of sketches, in YAML; model: theirs."""

    home: Path
    kind: str
    attempt: int
    arguments: dict[str, Any]
    project: dict[str, Any]
    takes: list[dict[str, Any]] = field(default_factory=list)
    parents: dict[str, dict[str, Any]] = field(default_factory=dict)
    plan: str = ""
    model: str = ""

    @property
    def folder(self) -> ProjectFolder:
        """Where the project's files lie."""
        return ProjectFolder(self.home, self.project["id"])

    @property
    def source(self) -> Path:
        """The uploaded video."""
        return self.folder.source(self.project["suffix"])

    def sandboxed(self) -> dict[str, Any]:
        """The part of a confined process's request that says where a project's files are."""
        return {
            "home": str(self.home), "project": self.project["id"], "source": str(self.source),
            "name": self.project["filename"],
        }  # fmt: skip


class Teller:
    """Tells the progress of a whole job."""

    def __init__(self, tell: Tell) -> None:
        self._tell, self._began = tell, time.monotonic()

    def __call__(self, stage: str, share: float) -> None:
        """share: of the whole, 0 to 1."""
        share = min(max(share, 0.0), 1.0)
        passed = time.monotonic() - self._began
        left = round(passed * (1 - share) / share, 1) if share > 0.03 and passed > 0.5 else None
        self._tell({"progress": (stage, round(share, 4), left)})


class Watcher:
    """Analyzes new videos in confined processes and makes their first plans (`lanes.Runner`); loads nothing itself."""

    def __init__(self) -> None:
        self._child: Sandbox | None = None

    def run(self, request: JobRequest, tell: Tell) -> dict[str, Any] | Failure:
        """The plan, and how much of the filmstrip there is."""
        progress, size = Teller(tell), request.source.stat().st_size
        limits = make_limits(file_bytes=SPARE_BYTES + size)
        child = self._child = Sandbox("look", request.arguments | request.sandboxed(), limits)

        def on_message(message: dict[str, Any]) -> None:
            if "stage" in message:
                start, length = INSPECT_SHARES[message["stage"]]
                return progress(message["stage"], start + length * message["done"])
            if "video" in message:
                child.set_time(limits_for(message["video"]["duration"], 0).seconds)
            return tell(message)

        try:
            return child.run(on_message)
        except InputError as error:  # anything else is ours, and the lane's to tell
            return Failure(without_paths(str(error), request.home), ERROR)

    def interrupt(self) -> None:
        """End the confined process, if there is one."""
        if self._child is not None:
            self._child.stop()

    close = interrupt


class Musician:
    """Does all other jobs, with models that stay loaded."""

    def __init__(self) -> None:
        self._scorers: Kept[Any] = Kept()

    def __call__(self, request: JobRequest, tell: Tell) -> None:
        """Do a job. Raises OpenVMASError where it cannot be done."""
        if request.kind == "sketch":
            self._sketch(request, Teller(tell))
            return
        progress = Teller(tell)
        for index, take in enumerate(request.takes):
            if take["state"] != "done":  # an earlier attempt may have finished some
                self._make_take(request, take, (index / len(request.takes), 1 / len(request.takes)), tell, progress)

    def _sketch(self, request: JobRequest, progress: Teller) -> None:
        from openvmas.generate.piece import Composer
        from openvmas.planning.plan_yaml import read_plan
        from openvmas.planning.schema import ScorePlan
        from openvmas.planning.voices import choose_voice
        from openvmas.settings import OutputOptions
        from openvmas.studio.storage.folders import read_speech
        from openvmas.studio.tasks.sketch import sketch

        speech, is_free = read_speech(request.folder), request.model == OutputOptions().model

        def voice_of(wished: ScorePlan) -> Composer:
            return self.open_model(choose_voice(wished, speech).model if is_free else request.model).composer

        sketch(
            voice_of, request.model, read_plan(request.plan), request.folder,
            lambda done: progress("sketch", done), lambda: True,
        )  # fmt: skip

    def open_model(self, name: str) -> Any:
        """A scorer by the name of its model, loaded once and kept."""
        from openvmas.generate import scorer

        return self._scorers(name, lambda: scorer.load(name))

    def _open_for(self, request: JobRequest, take: dict[str, Any], options: dict[str, Any]) -> Any:
        """The scorer of a take: a model, or one that fits a recording of the project or of the package."""
        from openvmas.generate import scorer
        from openvmas.settings import Options
        from openvmas.studio.storage.sounds import MODEL, with_names

        if take["model"] != MODEL:
            return self.open_model(take["model"])
        if request.kind == "arrange":  # the recording of the take before, also where it was chosen from many
            from openvmas.fitting.composer import FittingComposer
            from openvmas.planning.plan_yaml import read_plan
            from openvmas.studio.tasks.arrangement import open_recording

            recording = open_recording(request.folder, options, read_plan(take["plan"]))
            return scorer.Scorer(FittingComposer(recording, Options.of().music))
        return scorer.load_for(Options.of(music=with_names(request.folder, options, has_paths=True)["music"]))

    def _make_take(
        self, request: JobRequest, take: dict[str, Any], span: tuple[float, float], tell: Tell, progress: Teller
    ) -> None:
        """Compose and finish one take. span: start and length of its share of the job's progress."""
        from openvmas.planning.plan_yaml import read_plan, write_plan
        from openvmas.studio.storage.sounds import with_names
        from openvmas.studio.tasks.arrangement import in_plan
        from openvmas.studio.tasks.compose import TakeRequest, compose

        (start, length), folder = span, request.folder
        tell({"take": take["id"], "state": "writing", "attempt": request.attempt})
        earlier = request.parents.get(take["parent"]) if take["parent"] else None
        files = folder.take(take["id"], request.attempt)
        base = folder.take(earlier["id"], earlier["attempt"]) if earlier else None
        loading, given = time.monotonic(), json.loads(take["options"])
        take = take | {"options": json.dumps(with_names(folder, given, has_paths=True))}
        model = self._open_for(request, take, given)
        loaded = round(time.monotonic() - loading, 3)

        def on_composed(done: float) -> None:
            progress("compose", start + length * COMPOSE_SHARE * done)

        arranged = request.arguments.get("arranged")
        made = compose(model, TakeRequest(request.kind, take, files, base, arranged), folder, on_composed)
        made["seconds"]["load"] = loaded
        chosen = json.loads(take["found"])
        if "voice" in chosen:
            made["composed"]["voice"] = chosen["voice"]
        named = with_names(folder, given, has_paths=False)
        take["plan"] = write_plan(in_plan(read_plan(take["plan"]), made.pop("music"), named))
        tell({"take": take["id"], "state": "finishing", "plan": take["plan"]})
        asked = request.sandboxed() | made
        asked |= {"take": take["id"], "attempt": request.attempt, "plan": take["plan"]}
        asked |= {"options": {**named, "seed": take["seed"]}}
        asked |= {"model": model.weights.describe()} | ({"earlier": str(base.path)} if base else {})

        def on_message(message: dict[str, Any]) -> None:
            progress("finish", start + length * (COMPOSE_SHARE + (1 - COMPOSE_SHARE) * message["done"]))

        limits = limits_for(take["duration"], request.source.stat().st_size)
        found = Sandbox("finish", asked, limits).run(on_message)
        tell({"take": take["id"], "state": "done", "found": json.dumps(chosen | found)})


def start(model: str, send: Tell) -> Callable[[JobRequest], None]:
    """The work of a process that has a model and all that `auto` may take loaded before its first job, for whose sound
    somebody waits (`processes.child`)."""
    from openvmas.planning.voices import VOICES
    from openvmas.studio.tasks import compose, sketch  # noqa: F401 (here, so that no job waits for it)

    musician = Musician()
    for name in dict.fromkeys((*VOICES, model)):
        musician.open_model(name)

    def work(request: JobRequest) -> None:
        try:
            musician(request, send)
        except OpenVMASError as error:
            raise type(error)(without_paths(str(error), request.home)) from error

    return work


def without_paths(text: str, home: Path) -> str:
    """A message without the paths of this machine: clients need not know where the studio's folder is."""
    return text.replace(f"{home}{os.sep}", "").replace(str(home), "the studio")
