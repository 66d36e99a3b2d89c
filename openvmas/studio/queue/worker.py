"""`python -m openvmas.studio.queue.worker FOLDER`: takes jobs from the queue and does them, with the model loaded.

Any number may run on one folder, on one machine. A worker goes on when its server is killed, and leaves when it has
nothing to do and no server was heard of for a while.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from openvmas.errors import InputError, OpenVMASError
from openvmas.generate import scorer
from openvmas.settings import OutputOptions
from openvmas.studio.queue import jobs
from openvmas.studio.queue.heartbeat import Heart, StoppedError
from openvmas.studio.storage.database import Database
from openvmas.studio.storage.folders import ProjectFolder, new_id
from openvmas.studio.tasks.compose import Part, compose
from openvmas.studio.tasks.sandbox import SPARE_BYTES, Sandbox, limits_for, make_limits

IDLE = 0.02  # s between looks into an empty queue; somebody waits for sound
LONELY = 20.0  # s without a server after which an idle worker leaves
COMPOSE_SHARE = 0.8  # of the work on a take; the rest is mixing and measuring
LOOK_SHARES = {"watch": (0.0, 0.8), "listen": (0.8, 0.15), "plan": (0.95, 0.05)}
MAX_MODELS = 2  # that are kept in memory


class Worker:
    """One worker process."""

    def __init__(self, home: Path) -> None:
        self.id = new_id()
        self.database = Database(home)
        self._heart = Heart(self.database, self.id)
        self._scorers: dict[str, scorer.Scorer] = {}

    def run(self) -> None:
        """Work until told to leave."""
        self._heart.start()
        is_well = False
        try:
            with contextlib.suppress(StoppedError):
                self.wait_for_work()
            is_well = True
        finally:
            self._heart.stop()
            if is_well:  # one that breaks down stays noted: its server reads how far it came
                jobs.say_gone(self.database, self.id)
            self.database.close()

    def wait_for_work(self) -> None:
        """Do jobs until there is no server any more. Raises StoppedError when told to leave."""
        self.open_model(OutputOptions().model)
        self._heart.kind = "worker"
        self._heart.say_alive()
        seen = time.monotonic()
        while time.monotonic() - seen < LONELY:
            try:
                if self.step() or jobs.alive(self.database, "server"):
                    seen = time.monotonic()
            except StoppedError as stopped:  # it came a moment too late to belong to a job
                if stopped.args[0] == "leave":
                    raise

    def step(self) -> bool:
        """Do one job, or wait a little; whether there was one."""
        jobs.sweep(self.database)
        claim = jobs.claim(self.database, self.id)
        if claim is None:
            time.sleep(IDLE)
            return False
        try:
            with self._heart.beating(claim):
                self.work(claim)
            jobs.finish(self.database, claim, "done")
        except StoppedError as stopped:
            if stopped.args[0] == "cancel":
                jobs.finish(self.database, claim, "cancelled")
            elif stopped.args[0] == "leave":
                jobs.give_back(self.database, claim)
                raise
        except OpenVMASError as error:
            jobs.finish(self.database, claim, "failed", self.in_words(str(error)))
        except Exception as error:  # one job's fault must not take the others' worker away
            traceback.print_exc()
            said = f"this is a fault of openvmas ({type(error).__name__}); report it with the server's output."
            jobs.finish(self.database, claim, "failed", said)
        return True

    def in_words(self, message: str) -> str:
        """A message without the place where things lie on this machine."""
        return message.replace(f"{self.database.folder}{os.sep}", "").replace(str(self.database.folder), "the studio")

    def work(self, claim: jobs.Claim) -> None:
        project = self.database.row("SELECT * FROM projects WHERE id = ?", (claim.project,))
        if project is None:
            raise StoppedError("lost")
        if claim.kind == "analyze":
            self.look(claim, project)
            return
        takes = self.database.rows("SELECT * FROM takes WHERE job = ? ORDER BY number", (claim.id,))
        began = time.monotonic()
        for index, take in enumerate(takes):
            if take["state"] != "done":  # an earlier attempt may have finished some
                self.make_take(claim, project, take, (index / len(takes), 1 / len(takes)), began)

    def tell(self, stage: str, share: float, began: float) -> None:
        """Progress of the whole job, for the heart to hand on."""
        share = min(max(share, 0.0), 1.0)
        passed = time.monotonic() - began
        left = round(passed * (1 - share) / share, 1) if share > 0.03 and passed > 0.5 else None
        self._heart.progress = jobs.Progress(stage, round(share, 4), left)

    def open_model(self, name: str) -> scorer.Scorer:
        if name not in self._scorers:
            while len(self._scorers) >= MAX_MODELS:
                del self._scorers[next(iter(self._scorers))]
            self._scorers[name] = scorer.load(name)
        return self._scorers[name]

    def look(self, claim: jobs.Claim, project: dict[str, Any]) -> None:
        """Watch a new video in a confined process."""
        folder, began = ProjectFolder(self.database.folder, claim.project), time.monotonic()
        source = folder.source(project["suffix"])
        request = claim.arguments | self.request(project)
        child = Sandbox("look", request, make_limits(file_bytes=SPARE_BYTES + source.stat().st_size))

        def hear(message: dict[str, Any]) -> None:
            if "video" in message:
                child.set_time(limits_for(message["video"]["duration"], 0).seconds)
                self.note(claim, "UPDATE projects SET video = ? WHERE id = ?", json.dumps(message["video"]))
            elif "filmstrip" in message:
                sql = "UPDATE projects SET video = json_set(video, '$.filmstrip.ready', ?) WHERE id = ?"
                self.note(claim, sql, message["filmstrip"])
            else:
                start, length = LOOK_SHARES[message["stage"]]
                self.tell(message["stage"], start + length * message["done"], began)

        try:
            found = child.run(hear)
        except InputError:
            source.unlink(missing_ok=True)  # it will never do; another may be uploaded
            self.note(claim, "UPDATE projects SET filename = NULL, size = NULL, video = ? WHERE id = ?", None)
            raise
        with self.database.write() as connection:
            if not jobs.is_owned(connection, claim):
                raise StoppedError("lost")
            values = (claim.project, time.time(), "planned", found["plan"])
            connection.execute("INSERT OR REPLACE INTO plans VALUES (?, 1, ?, ?, ?)", values)
            connection.execute(
                "UPDATE projects SET state = 'ready', error = NULL, plan_version = 1, "
                "video = json_set(video, '$.filmstrip.ready', ?) WHERE id = ?",
                (found["filmstrip"], claim.project),
            )

    def request(self, project: dict[str, Any]) -> dict[str, Any]:
        """What a confined process must know of a project."""
        home = self.database.folder
        source = ProjectFolder(home, project["id"]).source(project["suffix"])
        return {"home": str(home), "project": project["id"], "source": str(source), "name": project["filename"]}

    def note(self, claim: jobs.Claim, sql: str, value: Any) -> None:
        """A change of the project's row, if the job is still ours."""
        with self.database.write() as connection:
            if not jobs.is_owned(connection, claim):
                raise StoppedError("lost")
            connection.execute(sql, (value, claim.project))

    def make_take(
        self,
        claim: jobs.Claim,
        project: dict[str, Any],
        take: dict[str, Any],
        share: tuple[float, float],
        began: float,
    ) -> None:
        """Compose and finish one take. share: where in the job's progress it begins, and how much of it it is."""
        start, length = share
        folder = ProjectFolder(self.database.folder, claim.project)
        self.mark(claim, take, "writing", attempt=claim.attempt)
        earlier = self.database.row("SELECT * FROM takes WHERE id = ?", (take["parent"],)) if take["parent"] else None
        files = folder.take(take["id"], claim.attempt)
        base = folder.take(earlier["id"], earlier["attempt"]) if earlier else None
        part = Part(claim.kind, take, files, base)
        loading = time.monotonic()
        model = self.open_model(take["model"])
        loaded = round(time.monotonic() - loading, 3)
        made = compose(
            model, part, folder, lambda done: self.tell("compose", start + length * COMPOSE_SHARE * done, began)
        )
        made["seconds"]["load"] = loaded
        self.mark(claim, take, "finishing")
        duration, source_bytes = take["duration"], folder.source(project["suffix"]).stat().st_size
        request = self.request(project) | made
        request |= {"take": take["id"], "attempt": claim.attempt, "plan": take["plan"]}
        request |= {"options": {**json.loads(take["options"]), "seed": take["seed"]}}
        request |= {"model": model.weights.describe()}

        def hear(message: dict[str, Any]) -> None:
            done = COMPOSE_SHARE + (1 - COMPOSE_SHARE) * message["done"]
            self.tell("finish", start + length * done, began)

        found = Sandbox("finish", request, limits_for(duration, source_bytes)).run(hear)
        self.mark(claim, take, "done", found=json.dumps(found))

    def mark(self, claim: jobs.Claim, take: dict[str, Any], state: str, **columns: Any) -> None:
        """The state of a take, if the job is still ours."""
        names = "".join(f", {name} = ?" for name in columns)
        with self.database.write() as connection:
            if not jobs.is_owned(connection, claim):
                raise StoppedError("lost")
            sql = f"UPDATE takes SET state = ?{names} WHERE id = ?"
            connection.execute(sql, (state, *columns.values(), take["id"]))


def main(arguments: list[str]) -> int:
    Worker(Path(arguments[0])).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
