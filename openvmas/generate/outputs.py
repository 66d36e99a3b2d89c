"""Files that appear all together or not at all, checked at the door: before minutes are spent on them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from av.error import FFmpegError

from openvmas.errors import OutputError

NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}


class Outputs:
    """A `with` block inside which results are written to hidden files beside their targets.

    `commit` moves them to their names; leaving the block without it, by an error or an interrupt, leaves nothing.
    Scratch data lies there too and not in the system's temporary folder, which on many machines is memory.
    """

    def __init__(self, source: str | Path, overwrite: bool) -> None:
        self._source = Path(source)
        self._overwrite = overwrite
        self._targets: dict[Path, Path] = {}
        self._scratch: list[Path] = []

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for path in (*self._targets.values(), *self._scratch):
            path.unlink(missing_ok=True)

    def reserve(self, target: str | Path, option: str = "--output") -> Path:
        """Check that a result can be written at `target` and return the hidden file to write it to.

        option: the one that names another place, for the message. Raises OutputError.
        """
        target = Path(target)
        if not target.parent.is_dir():
            raise OutputError(f"the folder {target.parent} does not exist; create it or choose another with {option}.")
        if target.is_dir():
            raise OutputError(f"{target} is a folder; give a file name with {option}.")
        if target.exists() and target.samefile(self._source):
            raise OutputError(f"{target} is the input itself; give another name with {option}.")
        if target.exists() and not self._overwrite:
            raise OutputError(f"{target} exists already; give --overwrite to replace it or another name with {option}.")
        if any(same_place(target, other) for other in self._targets):
            raise OutputError(f"{target} would be written twice; give another name with {option}.")
        hidden = self._hide(target)
        self._targets[target] = hidden
        return hidden

    def scratch(self, target: str | Path, suffix: str) -> Path:
        """A hidden file beside `target` that is deleted at the end of the block."""
        hidden = self._hide(Path(target).with_suffix(suffix))
        self._scratch.append(hidden)
        return hidden

    def _hide(self, target: Path) -> Path:
        hidden = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.partial{target.suffix}")
        with explain_write_errors(target.parent):
            hidden.touch(exist_ok=False)
        return hidden

    def commit(self) -> None:
        """Move every result to its name, the first reserved last: that it is there means that all are."""
        moved: list[Path] = []
        try:
            for target, hidden in reversed(self._targets.items()):
                with explain_write_errors(target.parent):
                    os.replace(hidden, target)
                moved.append(target)
        except BaseException:
            for target in moved:
                target.unlink(missing_ok=True)
            raise
        self._targets.clear()


def same_place(first: Path, second: Path) -> bool:
    return first.absolute().parent.resolve() / first.name == second.absolute().parent.resolve() / second.name


def check_space(folder: Path, n_bytes: int) -> None:
    """Raises OutputError if fewer bytes are free in the folder."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise OutputError(
            f"{folder.absolute()} has {free / 1e6:.0f} MB free, but about {n_bytes / 1e6:.0f} MB are needed; "
            "free some space or choose another folder with --output."
        )


@contextlib.contextmanager
def explain_write_errors(folder: Path) -> Iterator[None]:
    """Turn the system's refusals to write into OutputError with the remedy."""
    try:
        yield
    except (OSError, FFmpegError) as error:
        if error.errno in NO_SPACE:
            raise OutputError(
                f"there is no space left in {folder.absolute()}; free some or choose another folder with --output."
            ) from error
        if error.errno in NO_PERMISSION:
            raise OutputError(
                f"{folder.absolute()} cannot be written to (no permission); choose another folder with --output."
            ) from error
        raise
