"""Fifty users at once on one studio: uploads, polls, jobs, cancels, broken connections, garbage; nothing may give way.

    python bench/studio_load.py [--users 50] [--seconds 300] [--sines]

Starts a studio of its own on this machine and prints what happened as JSON. Must hold: no answer of 500 or more, the
server's memory flat (it grows by less than 5 % in the second half), and every job in a final state at the end. --sines
puts a quick composer in place of the model, so that the load is the server's and not the model's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.clips import write_clip
from tests.studio.kit import UPLOAD, RunningStudio, make_project, running, worker_pids

FINAL = ("done", "failed", "cancelled", "interrupted")
MOST_GROWTH = 5.0  # percent of the server's memory, in the second half
SETTLE = 240.0  # s that the remaining jobs may take when the users have gone


def resident(pid: int) -> float:
    """Resident memory of a process, MB; 0 where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmRSS")), "VmRSS: 0")
    return int(line.split()[1]) / 1024


def course_of(memory: list[float]) -> dict[str, Any]:
    """Memory over time: growth_percent: of the mean of the last eighth over that of the eighth after the first half."""
    eighth, half = max(1, len(memory) // 8), len(memory) // 2
    middle = memory[half : half + eighth] or [1.0]
    last = memory[-eighth:] or [1.0]
    growth = 100 * ((sum(last) / len(last)) / max(sum(middle) / len(middle), 1e-9) - 1)
    return {"growth_percent": round(growth, 1), "course": [round(one) for one in memory[:: max(1, len(memory) // 12)]]}


class Load:
    """What all users do and what was seen. pieces: of the clip that they upload."""

    def __init__(self, studio: RunningStudio, clip: bytes, ready: str) -> None:
        self.studio, self.clip, self.ready = studio, clip, ready
        self.statuses: Counter[int] = Counter()
        self.broken = 0
        self.jobs: set[str] = set()
        self.slowest = 0.0
        self.memory: list[float] = []
        self.worker_memory: list[float] = []

    async def ask(self, client: httpx.AsyncClient, method: str, path: str, **more: Any) -> httpx.Response | None:
        """One request; a connection that breaks is counted and not an answer."""
        began = time.perf_counter()
        try:
            answer = await client.request(method, f"/api{path}", **more)
        except (httpx.TransportError, ConnectionResetError):
            self.broken += 1
            return None
        self.slowest = max(self.slowest, time.perf_counter() - began)
        self.statuses[answer.status_code] += 1
        return answer

    async def user(self, number: int, until: float) -> None:
        """One user, who does one thing after the other until the time is up."""
        chance = random.Random(number)
        habits = [
            self.look_around,
            self.upload,
            self.score_and_cancel,
            self.listen,
            self.leave_early,
            self.talk_nonsense,
        ]
        # Without certificates, which nobody here needs and which take long to load fifty times.
        async with httpx.AsyncClient(base_url=self.studio.url, timeout=60, verify=False) as client:
            while time.monotonic() < until:
                await chance.choices(habits, weights=[6, 1, 1, 3, 2, 3])[0](client, chance)
                await asyncio.sleep(chance.uniform(0.05, 0.6))

    async def look_around(self, client: httpx.AsyncClient, chance: random.Random) -> None:
        for path in ("/projects", f"/projects/{self.ready}", f"/projects/{self.ready}/plan", "/session"):
            await self.ask(client, "GET", path)

    async def upload(self, client: httpx.AsyncClient, chance: random.Random) -> None:
        """A small clip in pieces, now and then given up in the middle; then the project is deleted again."""
        made = await self.ask(client, "POST", "/projects", json={"name": f"load {chance.random()}"})
        if made is None or made.status_code != 201:
            return
        path = f"/projects/{made.json()['id']}"
        said = {"filename": "clip.mp4", "size": len(self.clip)}
        await self.ask(client, "POST", f"{path}/upload", json=said)
        half = len(self.clip) // 2
        await self.ask(
            client, "PATCH", f"{path}/upload", content=self.clip[:half], headers={**UPLOAD, "Upload-Offset": "0"}
        )
        if chance.random() < 0.1:  # few, because each of these is watched by a process of its own
            headers = {**UPLOAD, "Upload-Offset": str(half)}
            await self.ask(client, "PATCH", f"{path}/upload", content=self.clip[half:], headers=headers)
            found = await self.ask(client, "GET", path)
            if found is not None and found.status_code == 200 and found.json()["analysis_job"]:
                await asyncio.sleep(chance.uniform(0, 3))
        await self.ask(client, "DELETE", path)

    async def score_and_cancel(self, client: httpx.AsyncClient, chance: random.Random) -> None:
        asked = {"kind": "score", "options": {"candidates": 1, "seed": chance.randrange(1000)}}
        made = await self.ask(client, "POST", f"/projects/{self.ready}/jobs", json=asked)
        if made is None or made.status_code != 201:
            return
        job = made.json()["id"]
        self.jobs.add(job)
        await asyncio.sleep(chance.uniform(0, 2))
        if chance.random() < 0.9:
            await self.ask(client, "POST", f"/jobs/{job}/cancel")

    async def listen(self, client: httpx.AsyncClient, chance: random.Random) -> None:
        found = await self.ask(client, "GET", f"/projects/{self.ready}")
        takes = found.json()["takes"] if found is not None and found.status_code == 200 else []
        if takes:
            take = chance.choice(takes)["id"]
            await self.ask(client, "GET", f"/takes/{take}/blocks/0", params={"wait": 1})
            await self.ask(client, "GET", f"/takes/{take}/peaks")
            await self.ask(client, "GET", f"/takes/{take}/video", headers={"Range": "bytes=0-9999"})

    async def leave_early(self, client: httpx.AsyncClient, chance: random.Random) -> None:
        """Streams that are opened and dropped."""
        paths = [f"/jobs/{job}/events" for job in list(self.jobs)[-3:]] + [f"/projects/{self.ready}/video"]
        try:
            async with client.stream("GET", f"/api{chance.choice(paths)}") as answer:
                self.statuses[answer.status_code] += 1
                async for _ in answer.aiter_bytes():
                    break
        except httpx.TransportError:
            self.broken += 1

    async def talk_nonsense(self, client: httpx.AsyncClient, chance: random.Random) -> None:
        noise = chance.randbytes(chance.randrange(1, 3000))
        method, path = chance.choice(("GET", "POST", "PUT", "PATCH", "DELETE")), chance.choice(
            ("/projects", f"/projects/{'f' * 32}", f"/projects/{self.ready}/plan", f"/projects/{self.ready}/jobs",
             "/takes/x/blocks/-1", "/jobs/../..", f"/projects/{self.ready}/upload", "/session", "/%ff%00")
        )  # fmt: skip
        if (method, path) == ("DELETE", "/session"):
            return
        headers = chance.choice(
            ({}, {"Content-Type": "application/json"}, {"Upload-Offset": "x"}, {"Range": "bytes=9-1"})
        )
        await self.ask(client, method, path, content=noise, headers=headers)

    async def watch_memory(self, until: float) -> None:
        """Resident memory of the server, and of its workers together, MB, once a second."""
        assert self.studio.process is not None
        while time.monotonic() < until and self.studio.process.poll() is None:
            self.memory.append(resident(self.studio.process.pid))
            self.worker_memory.append(max(map(resident, worker_pids(self.studio.folder)), default=0.0))
            await asyncio.sleep(1)

    async def run(self, users: int, seconds: float) -> dict[str, Any]:
        until = time.monotonic() + seconds
        await asyncio.gather(self.watch_memory(until), *(self.user(number, until) for number in range(users)))
        states = await self.settle()
        return {
            "users": users,
            "seconds": seconds,
            "requests": sum(self.statuses.values()),
            "statuses": {str(code): n for code, n in sorted(self.statuses.items())},
            "server_errors": sum(n for code, n in self.statuses.items() if code >= 500),
            "connections_broken": self.broken,
            "slowest_s": round(self.slowest, 2),
            "memory_mb": course_of(self.memory),
            "largest_worker_mb": course_of(self.worker_memory),
            "jobs": dict(states),
            "jobs_without_end": sum(n for state, n in states.items() if state not in FINAL),
        }

    async def settle(self) -> Counter[str]:
        """States of all jobs that were begun, when nothing more happens."""
        until, states = time.monotonic() + SETTLE, Counter[str]()
        async with httpx.AsyncClient(base_url=self.studio.url, timeout=60) as client:
            while time.monotonic() < until:
                answers = [await self.ask(client, "GET", f"/jobs/{job}") for job in self.jobs]
                states = Counter(answer.json()["state"] if answer is not None else "unknown" for answer in answers)
                if all(state in FINAL for state in states):
                    break
                await asyncio.sleep(1)
        return states


def load(users: int, seconds: float, is_real: bool, workers: int = 1) -> dict[str, Any]:
    """Start a studio, let the users loose on it, and say what happened."""
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder) / "clip.mp4", 2.0, sound="sine")
        arguments = ("--jobs", str(workers))
        with running(Path(folder) / "home", *arguments, is_real=is_real) as studio, studio.client() as client:
            ready = make_project(client, clip)
            return asyncio.run(Load(studio, clip.read_bytes(), ready).run(users, seconds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--sines", action="store_true")
    given = parser.parse_args()
    found = load(given.users, given.seconds, not given.sines, given.workers)
    print(json.dumps(found, indent=2))
    is_flat = found["memory_mb"]["growth_percent"] < MOST_GROWTH
    return 0 if is_flat and not found["server_errors"] and not found["jobs_without_end"] else 1


if __name__ == "__main__":
    sys.exit(main())
