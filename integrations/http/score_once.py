"""One call for other programs: a video in, a finished video out, through a studio that runs (`openvmas studio`).

    python score_once.py http://127.0.0.1:8765 clip.mp4 [--text WORDS] [--seconds 300] [--output done.mp4]

Prints one JSON object: path, licence and credit of the music, seconds. Exit code 0; 2: refused, with `error`; 3: the
time was up, the job is cancelled. A token is taken from OPENVMAS_TOKEN. Standard library only, to be copied.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

POLL_S = 0.5


class Studio:
    """Requests to a studio. Raises RuntimeError with its sentence where it refuses."""

    def __init__(self, address: str, deadline: float) -> None:
        self._address, self._deadline = address.rstrip("/"), deadline

    def ask(self, path: str, body: Any = None, method: str | None = None, **headers: str) -> bytes:
        """The answer's bytes. body: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = "application/offset+octet-stream" if isinstance(body, bytes) else "application/json"
        more = {"Content-Type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if token := os.environ.get("OPENVMAS_TOKEN"):
            more["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(f"{self._address}/api{path}", data, more, method=method)
        try:
            with urllib.request.urlopen(request, timeout=max(self._deadline - time.monotonic(), 1)) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode("utf-8", "replace")) from error

    def json(self, path: str, body: Any = None) -> Any:
        """The answer, read."""
        return json.loads(self.ask(path, body))

    def wait(self, job: str) -> dict[str, Any]:
        """The job when it has ended; cancels it and raises TimeoutError when the time is up."""
        while True:
            found = self.json(f"/jobs/{job}")
            if found["state"] in ("done", "failed", "cancelled"):
                return found
            if time.monotonic() > self._deadline:
                with contextlib.suppress(RuntimeError):  # it has ended since it was asked for
                    self.ask(f"/jobs/{job}/cancel", {}, "POST")
                raise TimeoutError
            time.sleep(POLL_S)


def score(studio: Studio, video: Path, options: dict[str, Any], output: Path) -> dict[str, Any]:
    """Upload, score, download; the project is deleted afterwards."""
    project = studio.json("/projects", {"name": video.name})["id"]
    try:
        size = video.stat().st_size
        chunk = studio.json(f"/projects/{project}/upload", {"filename": video.name, "size": size})["chunk"]
        with video.open("rb") as file:
            while piece := file.read(chunk):
                offset = str(file.tell() - len(piece))
                studio.ask(f"/projects/{project}/upload", piece, "PATCH", Upload_Offset=offset)
        ended = studio.wait(studio.json(f"/projects/{project}")["analysis_job"])
        if ended["state"] == "done":
            job = studio.json(f"/projects/{project}/jobs", {"kind": "score", "options": options})
            ended = studio.wait(job["id"])
        if ended["state"] != "done":
            raise RuntimeError(ended["error"] or ended["state"])
        take = job["takes"][0]["id"]
        output.write_bytes(studio.ask(f"/takes/{take}/video"))
        report = studio.json(f"/takes/{take}")["report"]
        credit = report["composer"].get("track", {}).get("attribution", "")
        said = {"model": report["model"]["name"], "licence": report["model"]["licence"], "credit": credit}
        return {**said, "duration": report["duration"]}
    finally:
        studio.ask(f"/projects/{project}", method="DELETE")


def main() -> int:
    parser = argparse.ArgumentParser(description="Score one video with a studio.")
    parser.add_argument("studio")
    parser.add_argument("video", type=Path)
    parser.add_argument("--text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600.0, help="time limit")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    began = time.monotonic()
    output = asked.output or asked.video.with_name(f"{asked.video.stem}.scored{asked.video.suffix}")
    options = {"seed": asked.seed} | ({"text": asked.text} if asked.text else {})
    try:
        told = score(Studio(asked.studio, began + asked.seconds), asked.video, options, output)
    except TimeoutError:
        print(json.dumps({"ok": False, "error": f"not done within {asked.seconds:g} s; the job is cancelled."}))
        return 3
    except (RuntimeError, OSError) as error:
        print(json.dumps({"ok": False, "error": str(error)}))
        return 2
    print(json.dumps({"ok": True, "path": str(output), **told, "seconds": round(time.monotonic() - began, 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
