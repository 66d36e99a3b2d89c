"""Names of unfinished files: short, hidden, and with the process that writes them, so that those of dead ones go."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import sys
import uuid
from pathlib import Path

_NAME = re.compile(r"\.openvmas-([0-9a-f]{6})-(\d+)-([0-9a-f]{8})")


def hidden_name(suffix: str = "", target: str = "") -> str:
    """A name that no file has: about 40 bytes and the suffix, whatever the finished file (`target`) is called."""
    return f".openvmas-{_machine()}-{os.getpid()}-{_digest(target)}-{secrets.token_hex(4)}{suffix}"


def is_being_written(target: Path) -> bool:
    """Whether another process of this machine has begun a file of this name."""
    found = (_NAME.match(name) for name in os.listdir(target.parent))
    return any(
        name is not None
        and (name[1], name[3]) == (_machine(), _digest(target.name))
        and int(name[2]) != os.getpid()
        and _is_alive(int(name[2]))
        for name in found
    )


def _digest(target: str) -> str:
    return hashlib.sha256(os.fsencode(target)).hexdigest()[:8]


def sweep(folder: str | Path) -> None:
    """Delete the unfinished files and folders that processes of this machine left behind when they died."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        found = _NAME.match(name)
        if found is None or found[1] != _machine() or _is_alive(int(found[2])):
            continue
        path = Path(folder, name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            try:
                path.unlink(missing_ok=True)
            except OSError:
                continue


def _machine() -> str:
    """Six digits for the machine and its space of process numbers: a container has its own, a shared folder many."""
    where = f"{uuid.getnode()}"
    with contextlib.suppress(OSError):
        where += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(where.encode()).hexdigest()[:6]


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x1000, 0, process)  # PROCESS_QUERY_LIMITED_INFORMATION
        if handle:
            ctypes.windll.kernel32.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OverflowError:
        return False
    except OSError:  # it lives, and is another user's
        return True
    return True
