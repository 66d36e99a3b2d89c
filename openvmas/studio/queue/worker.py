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
from openvmas.studio.queue.heartbeat import Heartbeat
from openvmas.studio.queue.jobs import StoppedError
from openvmas.studio.storage.database import Database
from openvmas.studio.storage.folders import ProjectFolder, new_id
from openvmas.studio.tasks.compose import TakeRequest, compose
from openvmas.studio.tasks.sandbox import SPARE_BYTES, Sandbox, limits_for, make_limits

POLL_S = 0.02  # between looks into an empty queue; somebody waits for sound
IDLE_EXIT_S = 20.0  # without a server, after which an idle worker leaves
COMPOSE_SHARE = 0.8  # of the work on a take; the rest is mixing and measuring
INSPECT_SHARES = {"watch": (0.0, 0.8), "listen": (0.8, 0.15), "plan": (0.95, 0.05)}
MAX_MODELS = 2  # that are kept in memory


class Worker:
    """A process that takes jobs from the queue of a folder until it is asked to leave or nobody needs it."""

    def __init__(self, home: Path) -> None:
        self.id = new_id()
        self.database = Database(home)
        self._heartbeat = Heartbeat(self.database, self.id)
        self._scorers: dict[str, scorer.Scorer] = {}

    def run(self) -> None:
        """Work until asked to leave."""
        self._heartbeat.start()
        is_well = False
        try:
            with contextlib.suppress(StoppedError):
                self.wait_for_work()
            is_well = True
        finally:
            self._heartbeat.stop()
            if is_well:  # one that breaks down stays noted: its server reads how far it came
                jobs.forget_process(self.database, self.id)
            self.database.close()

    def wait_for_work(self) -> None:
        """Do jobs until there is no server any more. Raises StoppedError when asked to leave."""
        self.open_model(OutputOptions().model)
        self._heartbeat.kind = "worker"
        self._heartbeat.record()
        seen = time.monotonic()
        while time.monotonic() - seen < IDLE_EXIT_S:
            try:
                if self.step() or jobs.running_pids(self.database, "server"):
                    seen = time.monotonic()
            except StoppedError as stopped:  # it came a moment too late to belong to a job
                if stopped.args[0] == "leave":
                    raise

    def step(self) -> bool:
        """Do one job, or wait a little; whether there was one."""
        jobs.requeue_abandoned(self.database)
        claim = jobs.claim(self.database, self.id)
        if claim is None:
            time.sleep(POLL_S)
            return False
        try:
            with self._heartbeat.leasing(claim):
                self.work(claim)
            jobs.finish(self.database, claim, "done")
        except StoppedError as stopped:
            if stopped.args[0] == "cancel":
                jobs.finish(self.database, claim, "cancelled")
            elif stopped.args[0] == "leave":
                jobs.release(self.database, claim)
                raise
        except OpenVMASError as error:
            jobs.finish(self.database, claim, "failed", self.without_paths(str(error)))
        except Exception as error:  # one job's fault must not take the others' worker away
            traceback.print_exc()
            message = f"this is a fault of openvmas ({type(error).__name__}); report it with the server's output."
            jobs.finish(self.database, claim, "failed", message)
        return True

    def without_paths(self, message: str) -> str:
        """The message with every path relative to the studio's folder: clients need not know where that is."""
        return message.replace(f"{self.database.folder}{os.sep}", "").replace(str(self.database.folder), "the studio")

    def work(self, claim: jobs.Claim) -> None:
        """Do a job. Raises StoppedError, and OpenVMASError where it cannot be done."""
        project = self.database.row("SELECT * FROM projects WHERE id = ?", (claim.project,))
        if project is None:
            raise StoppedError("lost")
        if claim.kind == "analyze":
            self.inspect(claim, project)
            return
        takes = self.database.rows("SELECT * FROM takes WHERE job = ? ORDER BY number", (claim.id,))
        began = time.monotonic()
        for index, take in enumerate(takes):
            if take["state"] != "done":  # an earlier attempt may have finished some
                self.make_take(claim, project, take, (index / len(takes), 1 / len(takes)), began)

    def report_progress(self, stage: str, share: float, began: float) -> None:
        """Set the progress of the whole job, which the heartbeat hands on."""
        share = min(max(share, 0.0), 1.0)
        passed = time.monotonic() - began
        left = round(passed * (1 - share) / share, 1) if share > 0.03 and passed > 0.5 else None
        self._heartbeat.progress = jobs.Progress(stage, round(share, 4), left)

    def open_model(self, name: str) -> scorer.Scorer:
        """A model by name, loaded once and kept until MAX_MODELS others were asked for."""
        if name not in self._scorers:
            while len(self._scorers) >= MAX_MODELS:
                del self._scorers[next(iter(self._scorers))]
            self._scorers[name] = scorer.load(name)
        return self._scorers[name]

    def inspect(self, claim: jobs.Claim, project: dict[str, Any]) -> None:
        """Analyze a new video in a sandboxed process and make its first plan."""
        folder, began = ProjectFolder(self.database.folder, claim.project), time.monotonic()
        source = folder.source(project["suffix"])
        request = claim.arguments | self.request(project)
        child = Sandbox("look", request, make_limits(file_bytes=SPARE_BYTES + source.stat().st_size))

        def on_message(message: dict[str, Any]) -> None:
            if "video" in message:
                child.set_time(limits_for(message["video"]["duration"], 0).seconds)
                self.update_project(claim, "UPDATE projects SET video = ? WHERE id = ?", json.dumps(message["video"]))
            elif "filmstrip" in message:
                sql = "UPDATE projects SET video = json_set(video, '$.filmstrip.ready', ?) WHERE id = ?"
                self.update_project(claim, sql, message["filmstrip"])
            else:
                start, length = INSPECT_SHARES[message["stage"]]
                self.report_progress(message["stage"], start + length * message["done"], began)

        try:
            found = child.run(on_message)
        except InputError:
            source.unlink(missing_ok=True)  # it will never do; another may be uploaded
            self.update_project(claim, "UPDATE projects SET filename = NULL, size = NULL, video = ? WHERE id = ?", None)
            raise
        with jobs.owned(self.database, claim) as connection:
            values = (claim.project, time.time(), "planned", found["plan"])
            connection.execute("INSERT OR REPLACE INTO plans VALUES (?, 1, ?, ?, ?)", values)
            connection.execute(
                "UPDATE projects SET state = 'ready', error = NULL, plan_version = 1, "
                "video = json_set(video, '$.filmstrip.ready', ?) WHERE id = ?",
                (found["filmstrip"], claim.project),
            )

    def request(self, project: dict[str, Any]) -> dict[str, Any]:
        """The part of a sandboxed process's request that says where a project's files are."""
        home = self.database.folder
        source = ProjectFolder(home, project["id"]).source(project["suffix"])
        return {"home": str(home), "project": project["id"], "source": str(source), "name": project["filename"]}

    def update_project(self, claim: jobs.Claim, sql: str, value: Any) -> None:
        """Change the project's row. Raises StoppedError if the job is another worker's by now."""
        with jobs.owned(self.database, claim) as connection:
            connection.execute(sql, (value, claim.project))

    def make_take(
        self, claim: jobs.Claim, project: dict[str, Any], take: dict[str, Any], span: tuple[float, float], began: float
    ) -> None:
        """Compose and finish one take. span: start and length of its share of the job's progress."""
        start, length = span
        folder = ProjectFolder(self.database.folder, claim.project)
        self.mark(claim, take, "writing", attempt=claim.attempt)
        earlier = self.database.row("SELECT * FROM takes WHERE id = ?", (take["parent"],)) if take["parent"] else None
        files = folder.take(take["id"], claim.attempt)
        base = folder.take(earlier["id"], earlier["attempt"]) if earlier else None
        part = TakeRequest(claim.kind, take, files, base)
        loading = time.monotonic()
        model = self.open_model(take["model"])
        loaded = round(time.monotonic() - loading, 3)
        made = compose(
            model,
            part,
            folder,
            lambda done: self.report_progress("compose", start + length * COMPOSE_SHARE * done, began),
        )
        made["seconds"]["load"] = loaded
        self.mark(claim, take, "finishing")
        duration, source_bytes = take["duration"], folder.source(project["suffix"]).stat().st_size
        request = self.request(project) | made
        request |= {"take": take["id"], "attempt": claim.attempt, "plan": take["plan"]}
        request |= {"options": {**json.loads(take["options"]), "seed": take["seed"]}}
        request |= {"model": model.weights.describe()}

        def on_message(message: dict[str, Any]) -> None:
            done = COMPOSE_SHARE + (1 - COMPOSE_SHARE) * message["done"]
            self.report_progress("finish", start + length * done, began)

        found = Sandbox("finish", request, limits_for(duration, source_bytes)).run(on_message)
        self.mark(claim, take, "done", found=json.dumps(found))

    def mark(self, claim: jobs.Claim, take: dict[str, Any], state: str, **columns: Any) -> None:
        """Set the state of a take. Raises StoppedError if the job is another worker's by now."""
        names = "".join(f", {name} = ?" for name in columns)
        with jobs.owned(self.database, claim) as connection:
            sql = f"UPDATE takes SET state = ?{names} WHERE id = ?"
            connection.execute(sql, (state, *columns.values(), take["id"]))


def main(arguments: list[str]) -> int:
    """Run a worker on the folder that the one argument names."""
    Worker(Path(arguments[0])).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
