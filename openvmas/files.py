"""Files that appear whole or not at all, and one explanation of why one cannot be written."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from openvmas.errors import OutputError

if TYPE_CHECKING:
    import numpy as np

NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_IN_USE = (32, 33)  # Windows: ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION; errno alone says "no permission"
NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}
# Unfinished files are hidden and say which process of which machine writes them, so that those of dead ones can go.
_SPARE = 5  # bytes of a name that the number of a variation and a longer extension may take
_NAME = re.compile(r"\.openvmas-([0-9a-f]{6})-(\d+)-([0-9a-f]{8})")


@contextlib.contextmanager
def atomic_path(target: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a hidden path beside `target`: the file or folder made there gets the target's name when the block ends.

    After an error nothing is left. A folder replaces an empty one only. suffix: of the hidden name, for libraries that
    choose a format by it. The hidden name is short, so that every target that can be named can be written.
    """
    hidden = target.with_name(hidden_name(suffix, target.name))
    try:
        yield hidden
        os.replace(hidden, target)
    finally:
        if hidden.is_dir():
            shutil.rmtree(hidden, ignore_errors=True)
        else:
            hidden.unlink(missing_ok=True)


def hidden_name(suffix: str = "", target: str = "") -> str:
    """A name that no file has: about 40 bytes and the suffix, whatever the finished file (`target`) is called."""
    return f".openvmas-{_machine()}-{os.getpid()}-{_digest(target)}-{secrets.token_hex(4)}{suffix}"


def cache_folder() -> Path:
    """The folder of files that may be deleted at any time: OPENVMAS_CACHE of the environment or ~/.cache/openvmas."""
    return Path(os.environ.get("OPENVMAS_CACHE") or Path.home() / ".cache" / "openvmas")


def beside(source: str | Path, ending: str) -> Path:
    """The name of a result in the folder of its source: the source's with another ending, as in `.scored.mp4`.

    A name that would be too long for the folder is shortened before the ending, and carries digits that tell it from
    other names with the same beginning.
    """
    path = Path(source)
    try:
        longest = os.pathconf(path.parent, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # not on Windows; a folder that is not there
        longest = 255
    room = longest - len(os.fsencode(ending)) - _SPARE
    stem = os.fsencode(path.stem)
    if len(stem) > room and len(os.fsencode(path.name)) <= longest:
        mark = f"-{_digest(path.name)}"
        text = os.fsdecode(stem[: room - len(mark)])
        while text and "\udc80" <= text[-1] <= "\udcff":  # the first bytes of a letter that was cut
            text = text[:-1]
        return path.with_name(f"{text}{mark}{ending}")
    return path.with_name(f"{path.stem}{ending}")


def is_being_written(target: Path) -> bool:
    """Whether another process of this machine has begun a file of this name."""
    found = (_NAME.match(name) for name in os.listdir(target.parent))
    return any(
        name is not None
        and (name[1], name[3]) == (_machine(), _digest(target.name))
        and int(name[2]) != os.getpid()
        and is_alive(int(name[2]))
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
        if found is None or found[1] != _machine() or is_alive(int(found[2])):
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


def is_alive(process: int) -> bool:
    """Whether a process of this machine runs; one that has ended counts as dead even before it is collected."""
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
    try:  # in a container there may be nobody who collects the dead
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except (OSError, IndexError):  # not Linux
        return True


_LOCKED_BYTE = 2**30  # Windows locks spans of bytes, also against reading: one that no file has


def lock_file(file: IO[Any], is_patient: bool = True) -> bool:
    """Lock an open file for this process until it is closed; the system lets go when a process ends.

    Returns False where another holds it and is_patient is False. Where a shared disk has no locks, it counts as held.
    """
    if sys.platform == "win32":
        import msvcrt

        place = file.tell()
        file.seek(_LOCKED_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if is_patient else msvcrt.LK_NBLCK, 1)
        except OSError as error:
            return error.errno not in (errno.EACCES, errno.EDEADLK)
        finally:
            file.seek(place)
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if is_patient else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # some shared disks have no locks
        return True
    return True


def write_bytes(target: Path, data: bytes) -> None:
    """Write a file of bytes, whole or not at all."""
    with atomic_path(target) as hidden:
        hidden.write_bytes(data)


def write_text(target: Path, text: str) -> None:
    """Write a file in UTF-8, whole or not at all."""
    write_bytes(target, text.encode())


def write_npz(target: Path, arrays: Mapping[str, np.ndarray], is_compressed: bool = True) -> None:
    """Write an NPZ file, whole or not at all; equal arrays give equal bytes."""
    import numpy as np

    with atomic_path(target) as hidden, hidden.open("wb") as file:
        (np.savez_compressed if is_compressed else np.savez)(file, **arrays)  # pyright: ignore[reportArgumentType]


def check_space(folder: Path, n_bytes: int) -> None:
    """Raise OutputError if fewer bytes are free in the folder."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise OutputError(
            f"{folder.absolute()} has {free / 1e6:.0f} MB free, but about {n_bytes / 1e6:.0f} MB are needed; "
            "free some space or choose another folder with --output."
        )


@contextlib.contextmanager
def explain_write_errors(folder: Path) -> Iterator[None]:
    """Turn the system's refusals to write into OutputError with the remedy, and without the names of hidden files.

    PyAV's errors that carry the number of such a refusal are OSErrors, too.
    """
    try:
        yield
    except (OSError, OutputError) as error:
        refusal = error.__cause__ if isinstance(error, OutputError) else error
        number = refusal.errno if isinstance(refusal, OSError) else None
        if number in NO_SPACE:
            raise OutputError(
                f"there is no space left in {folder.absolute()}; free some or choose another folder with --output."
            ) from error
        if getattr(refusal, "winerror", None) in _IN_USE:
            raise OutputError(
                f"a file in {folder.absolute()} is open in another program; close it there, or choose another name "
                "with --output."
            ) from error
        if number in NO_PERMISSION:
            raise OutputError(
                f"{folder.absolute()} cannot be written to (no permission); choose another folder with --output."
            ) from error
        raise
