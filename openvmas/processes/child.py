"""The other end of `openvmas.processes.limited`: `python -m openvmas.processes.child MODULE:FUNCTION json|pickle`.

What a job needs is imported within the limits.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import pkgutil
import queue
import signal
import sys
import threading
import traceback
from typing import Any

from openvmas.errors import OpenVMASError

OUT_OF_MEMORY = 77  # exit code
MAX_TRACEBACK = 4000  # characters


def encode(message: Any, is_trusted: bool) -> bytes:
    """One line."""
    return (base64.b64encode(pickle.dumps(message)) if is_trusted else json.dumps(message).encode()) + b"\n"


def decode(line: bytes, is_trusted: bool) -> Any:
    """The message that `encode` made a line of."""
    return pickle.loads(base64.b64decode(line)) if is_trusted else json.loads(line)


def limit_process(limits: dict[str, Any]) -> None:
    """Give up the right to more memory, processor time and file size than `Limits` say; cannot be taken back."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; the clock still counts
        return
    data = "RLIMIT_DATA" if sys.platform == "linux" else "RLIMIT_AS"
    wanted = [
        ("RLIMIT_AS", limits["address_space"]),
        (data, limits["data"]),
        ("RLIMIT_CPU", limits["total_cpu_seconds"]),
        ("RLIMIT_FSIZE", limits["file_bytes"]),
        ("RLIMIT_NOFILE", limits["open_files"]),
        ("RLIMIT_CORE", 0),
    ]
    for name, value in wanted:
        if value is None:
            continue
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        value = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            if sys.platform.startswith("linux"):  # macOS knows the name of some limits only
                raise


def limit_job(cpu_seconds: float) -> None:
    """Processor time until the kernel ends the process, counted from now."""
    try:
        import resource
    except ImportError:  # as above
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + cpu_seconds) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def main(start: str, protocol: str) -> None:
    """Settings in, then jobs in and answers out, until the parent closes the input or is gone."""
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    is_trusted = protocol == "pickle"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until there is work to be stopped
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # nothing that a library prints gets between the answers

    def send(kind: str, value: Any = None) -> None:
        target.write(encode((kind, value), is_trusted))
        target.flush()

    limits = decode(source.readline(), is_trusted)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=read_lines, args=(source, lines), daemon=True).start()
    limit_process(limits)
    setting = decode(lines.get(), is_trusted)
    work = pkgutil.resolve_name(start)(setting, lambda message: send("message", message))
    send("ready")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    while True:
        try:
            job = decode(lines.get(), is_trusted)
        except KeyboardInterrupt:  # it came too late for the job that was to be stopped
            continue
        if limits["cpu_seconds"] is not None:
            limit_job(limits["cpu_seconds"])
        try:
            answer = "answer", work(job)
        except OpenVMASError as error:
            answer = "error", str(error)
        except KeyboardInterrupt:  # by `LimitedProcess.interrupt`
            answer = "stopped", None
        except MemoryError:
            os._exit(OUT_OF_MEMORY)  # tidying up would need memory, too
        except Exception as error:  # it may be anybody's code: whatever it raises is its result
            answer = "fault", (f"{type(error).__name__}: {error}", traceback.format_exc()[-MAX_TRACEBACK:])
        send(*answer)


def read_lines(source: Any, lines: queue.SimpleQueue[bytes]) -> None:
    """Hand on lines, and end this process when there will be no more, even in the midst of a job."""
    for line in source:
        lines.put(line)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
