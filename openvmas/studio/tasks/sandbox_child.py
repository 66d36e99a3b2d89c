"""`python -m openvmas.studio.tasks.sandbox_child TASK`: the confined process. Reads a request from standard input,
see `confined`."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openvmas.errors import OpenVMASError

Tell = Callable[[dict[str, Any]], None]


def confine(limits: dict[str, Any]) -> None:
    """Give up the right to more memory, time and file size; cannot be taken back."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; the clock still counts
        return
    seconds = int(8 * limits["seconds"]) + 1
    wanted = [
        ("RLIMIT_AS", limits["memory"]),
        ("RLIMIT_CPU", seconds),
        ("RLIMIT_FSIZE", limits["file_bytes"]),
        ("RLIMIT_NOFILE", 256),
        ("RLIMIT_CORE", 0),
    ]
    for name, value in wanted:
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            if sys.platform.startswith("linux"):  # macOS knows the name of some limits only
                raise


def leave_with_parent() -> None:
    """End this process when the other end of standard input is closed."""
    sys.stdin.buffer.read()
    os._exit(1)


def main(task: str) -> int:
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=leave_with_parent, daemon=True).start()
    confine(request["limits"])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that a library prints gets between the answers

    def tell(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        tell({"result": run(task, request, tell)})
    except OpenVMASError as error:
        # The client knows the video by its name, not by where it lies here.
        tell({"error": str(error).replace(request["source"], request["name"])})
    except MemoryError:
        tell({"error": f"{request['name']} needs more memory than is allowed; scale the video down."})
    except Exception:
        tell({"fault": traceback.format_exc()[-4000:]})
    return 0


def run(task: str, request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """What is imported here is imported within the limits."""
    if task == "look":
        from openvmas.studio.tasks.inspect import look

        return look(request, tell)
    if task == "finish":
        from openvmas.studio.tasks.render import finish

        return finish(request, tell)
    if task == "probe":
        from openvmas.studio.tasks.inspect import examine

        return examine(Path(request["source"]), request)
    raise ValueError(f"no task {task}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
