"""`python -m openvmas.studio.queue.worker FOLDER [--spare]`: takes jobs and does them, with the model loaded.

Any number may run on one folder, on one machine. A worker goes on when its server is killed, and leaves when it has
nothing to do and no server was heard of for a while. A spare one watches no videos, and leaves when it has nothing to
do.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from openvmas.errors import InputError, OpenVMASError
from openvmas.generate import scorer
from openvmas.generate.piece import Composer
from openvmas.planning.schema import ScorePlan
from openvmas.planning.voices import choose_voice
from openvmas.settings import FIRST_MODEL, Options, OutputOptions
from openvmas.studio.queue import jobs
from openvmas.studio.queue.jobs import StoppedError
from openvmas.studio.storage import projects
from openvmas.studio.storage.database import Database
from openvmas.studio.storage.folders import ProjectFolder, new_id, read_speech
from openvmas.studio.storage.sounds import MODEL, with_names
from openvmas.studio.tasks.compose import TakeRequest, compose
from openvmas.studio.tasks.sandbox import SPARE_BYTES, Sandbox, limits_for, make_limits
from openvmas.studio.tasks.sketch import sketch

INTERVAL_S = 0.25  # between heartbeats
STOP_TIMEOUT_S = 1.2  # that work may go on after the signal to stop
STUCK = 70  # exit code of a worker that had to end itself
POLL_S = 0.02  # between looks into an empty queue; somebody waits for sound
IDLE_EXIT_S = 20.0  # without a server, after which an idle worker leaves
COMPOSE_SHARE = 0.8  # of the work on a take; the rest is mixing and measuring
INSPECT_SHARES = {"watch": (0.0, 0.8), "listen": (0.8, 0.15), "plan": (0.95, 0.05)}
MAX_MODELS = 2  # that are kept in memory


class Heartbeat:
    """A thread that renews the lease of a worker's job, hands on progress and stops the work when asked to.

    The work runs in the main thread, inside `leasing`, and is stopped by a signal there, whatever it is doing; if that
    does not help in time, the whole process ends and its supervisor starts another.
    """

    def __init__(self, database: Database, worker: str) -> None:
        self._database, self._worker = database, worker
        self._lock = threading.Lock()
        self._claim: jobs.Claim | None = None
        self._reason = ""
        self._stopped_at = self._recorded_at = 0.0
        self.progress = jobs.Progress()
        self.kind = "starting"  # until the model is there
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Install the handlers of signals and begin."""
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, self._interrupt)
        self.record()
        self._thread.start()

    def record(self) -> None:
        """Note in the database that this process runs."""
        jobs.record_heartbeat(self._database, self._worker, self.kind, os.getpid())

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    @contextlib.contextmanager
    def leasing(self, claim: jobs.Claim) -> Iterator[None]:
        """Keep the lease of a job. Raises StoppedError in the block where the work must stop."""
        with self._lock:
            self._claim, self._reason, self.progress = claim, "", jobs.Progress()
        try:
            yield
        finally:
            with self._lock:
                self._claim = None

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            raise jobs.StoppedError("leave")
        if self._reason and self._claim is not None:
            raise jobs.StoppedError(self._reason)

    def _run(self) -> None:
        while not self._is_over.wait(INTERVAL_S):
            # A database that is busy for long costs one heartbeat, not the thread.
            with contextlib.suppress(sqlite3.OperationalError):
                self._beat(time.monotonic())

    def _beat(self, now: float) -> None:
        if now - self._recorded_at > jobs.ALIVE_S / 4:
            self.record()
            self._recorded_at = now
        with self._lock:
            claim, progress = self._claim, self.progress
        if claim is None:
            return
        if not self._reason:
            answer = jobs.renew_lease(self._database, claim, progress)
            # Sketches are written while nobody waits; whoever comes goes first.
            if answer == "go" and claim.kind == "sketch" and jobs.is_waited_for(self._database, claim):
                answer = "yield"
            with self._lock:
                if answer == "go" or self._claim is not claim:
                    return
                self._reason, self._stopped_at = answer, now
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        elif now - self._stopped_at > STOP_TIMEOUT_S:
            if self._reason == "cancel":
                jobs.finish(self._database, claim, "cancelled")
            os._exit(STUCK)


class Worker:
    """A process that takes jobs from the queue of a folder until it is asked to leave or nobody needs it."""

    def __init__(self, home: Path, is_spare: bool = False) -> None:
        self.id, self._is_spare = new_id(), is_spare
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
        self.open_model(FIRST_MODEL)
        self._heartbeat.kind = "spare" if self._is_spare else "worker"
        self._heartbeat.record()
        seen = time.monotonic()
        while time.monotonic() - seen < IDLE_EXIT_S:
            try:
                if self.step() or (not self._is_spare and jobs.running_pids(self.database, "server")):
                    seen = time.monotonic()
            except StoppedError as stopped:  # it came a moment too late to belong to a job
                if stopped.args[0] == "leave":
                    raise

    def step(self) -> bool:
        """Do one job, or wait a little; whether there was one."""
        jobs.requeue_abandoned(self.database)
        claim = jobs.claim(self.database, self.id, not self._is_spare)
        if claim is None:
            time.sleep(POLL_S)
            return False
        try:
            with self._heartbeat.leasing(claim):
                is_done = self.work(claim)
            if is_done:
                jobs.finish(self.database, claim, "done")
            else:
                jobs.release(self.database, claim)
        except StoppedError as stopped:
            if stopped.args[0] == "cancel":
                jobs.finish(self.database, claim, "cancelled")
            elif stopped.args[0] in ("leave", "yield"):
                jobs.release(self.database, claim)
                if stopped.args[0] == "leave":
                    raise
        except OpenVMASError as error:
            # Without paths: clients need not know where the studio's folder is.
            home = str(self.database.folder)
            message = str(error).replace(f"{home}{os.sep}", "").replace(home, "the studio")
            jobs.finish(self.database, claim, "failed", message)
        except Exception as error:  # one job's fault must not take the others' worker away
            traceback.print_exc()
            message = f"this is a fault of openvmas ({type(error).__name__}); report it with the server's output."
            jobs.finish(self.database, claim, "failed", message)
        return True

    def work(self, claim: jobs.Claim) -> bool:
        """Do a job; False where it was broken off for others and is to be gone on with.

        Raises StoppedError, and OpenVMASError where it cannot be done.
        """
        project = self.database.row("SELECT * FROM projects WHERE id = ?", (claim.project,))
        if project is None:
            raise StoppedError("lost")
        if claim.kind == "analyze":
            self.inspect(claim, project)
            return True
        if claim.kind == "sketch":
            return self.sketch(claim, project)
        takes = self.database.rows("SELECT * FROM takes WHERE job = ? ORDER BY number", (claim.id,))
        began = time.monotonic()
        for index, take in enumerate(takes):
            if take["state"] != "done":  # an earlier attempt may have finished some
                self.make_take(claim, project, take, (index / len(takes), 1 / len(takes)), began)
        return True

    def sketch(self, claim: jobs.Claim, project: dict[str, Any]) -> bool:
        """Write sketches of styles until all are there, or until somebody waits for something else."""
        _, plan = projects.current_plan(self.database, claim.project)
        name = json.loads(project["settings"]).get("model", OutputOptions().model)
        began, folder = time.monotonic(), ProjectFolder(self.database.folder, claim.project)
        speech = read_speech(folder)

        def voice_of(wished: ScorePlan) -> Composer:
            is_free = name == OutputOptions().model
            return self.open_model(choose_voice(wished, speech).model if is_free else name).composer

        return sketch(
            voice_of, name, plan, folder,
            lambda done: self.report_progress("sketch", done, began),
            lambda: not jobs.is_waited_for(self.database, claim),
        )  # fmt: skip

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

    def open_music(self, folder: ProjectFolder, options: dict[str, Any]) -> scorer.Scorer:
        """Open what fits a recording of the project, or one of those that come with the package. Raises InputError."""
        named = with_names(folder, options, has_paths=True)
        return scorer.load_for(Options.of(music=named["music"]))

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
        loading = time.monotonic()
        given = json.loads(take["options"])
        take = take | {"options": json.dumps(with_names(folder, given, has_paths=True))}
        model = self.open_music(folder, given) if take["model"] == MODEL else self.open_model(take["model"])
        loaded = round(time.monotonic() - loading, 3)

        def on_composed(done: float) -> None:
            self.report_progress("compose", start + length * COMPOSE_SHARE * done, began)

        made = compose(model, TakeRequest(claim.kind, take, files, base), folder, on_composed)
        made["seconds"]["load"] = loaded
        chosen = json.loads(take["found"])
        if "voice" in chosen:
            made["composed"]["voice"] = chosen["voice"]
        self.mark(claim, take, "finishing")
        duration, source_bytes = take["duration"], folder.source(project["suffix"]).stat().st_size
        request = self.request(project) | made
        request |= {"take": take["id"], "attempt": claim.attempt, "plan": take["plan"]}
        request |= {"options": {**with_names(folder, given, has_paths=False), "seed": take["seed"]}}
        request |= {"model": model.weights.describe()} | ({"earlier": str(base.path)} if base else {})

        def on_message(message: dict[str, Any]) -> None:
            done = COMPOSE_SHARE + (1 - COMPOSE_SHARE) * message["done"]
            self.report_progress("finish", start + length * done, began)

        found = Sandbox("finish", request, limits_for(duration, source_bytes)).run(on_message)
        self.mark(claim, take, "done", found=json.dumps(chosen | found))

    def mark(self, claim: jobs.Claim, take: dict[str, Any], state: str, **columns: Any) -> None:
        """Set the state of a take. Raises StoppedError if the job is another worker's by now."""
        names = "".join(f", {name} = ?" for name in columns)
        with jobs.owned(self.database, claim) as connection:
            sql = f"UPDATE takes SET state = ?{names} WHERE id = ?"
            connection.execute(sql, (state, *columns.values(), take["id"]))


def main(arguments: list[str]) -> int:
    """Run a worker on the folder that the first argument names."""
    Worker(Path(arguments[0]), jobs.SPARE in arguments[1:]).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
