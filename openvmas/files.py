"""Files that appear whole or not at all, and one explanation of why one cannot be written."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from openvmas.errors import OutputError

if TYPE_CHECKING:
    import numpy as np

NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextlib.contextmanager
def atomic_path(target: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a hidden path beside `target`: the file or folder made there gets the target's name when the block ends.

    After an error nothing is left. A folder replaces an empty one only. suffix: of the hidden name, for libraries that
    choose a format by it. The hidden name is short, so that every target that can be named can be written.
    """
    hidden = target.with_name(f".{secrets.token_hex(6)}.part{suffix}")
    try:
        yield hidden
        os.replace(hidden, target)
    finally:
        if hidden.is_dir():
            shutil.rmtree(hidden, ignore_errors=True)
        else:
            hidden.unlink(missing_ok=True)


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
        if number in NO_PERMISSION:
            raise OutputError(
                f"{folder.absolute()} cannot be written to (no permission); choose another folder with --output."
            ) from error
        raise
