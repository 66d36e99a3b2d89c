"""Files by path or by address (s3://, gs://, file://, memory:// and whatever else fsspec opens)."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openvmas.errors import InputError, OptionError, OutputError
from openvmas.files import atomic_path, explain_write_errors, hidden_name

WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "adl", "oci"})  # stores in which files only appear whole
MARKS = ("ETag", "etag", "md5Hash", "crc32c", "content_md5")  # what a store says of a file's content


def is_remote(place: str) -> bool:
    """Whether a place is an address of fsspec and no path of this machine."""
    return "://" in place and not place.startswith("file://")


def local_path(place: str) -> Path:
    """The path of a place on this machine."""
    return Path(place.removeprefix("file://"))


def join(folder: str, name: str) -> str:
    """The place of a name inside a folder."""
    return f"{folder.rstrip('/')}/{name}" if "://" in folder else str(Path(folder) / name)


def split(place: str) -> tuple[str, str]:
    """The folder of a place, and its name there."""
    if "://" in place:
        folder, _, name = place.rpartition("/")
        return folder, name
    return str(Path(place).parent), Path(place).name


def is_there(place: str) -> bool:
    """Whether there is such a file. Raises InputError."""
    if not is_remote(place):
        return os.path.lexists(local_path(place))
    with _opened(place) as (system, path):
        return system.exists(path)


def n_bytes(place: str) -> int | None:
    """Size of a file, None where there is none. Raises InputError."""
    if not is_remote(place):
        with contextlib.suppress(OSError):
            return local_path(place).stat().st_size
        return None
    with _opened(place) as (system, path):
        return int(system.size(path)) if system.isfile(path) else None


def content_mark(place: str) -> str | None:
    """A store's mark of a file's content, such as an ETag, known without reading the file; None where there is none."""
    if not is_remote(place):
        return None
    with _opened(place) as (system, path):
        known = system.info(path)
        return next((f"{name}:{known[name]}" for name in MARKS if known.get(name)), None)


def read_bytes(place: str) -> bytes | None:
    """A small file, None where there is none. Raises InputError."""
    if not is_remote(place):
        try:
            return local_path(place).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{place} cannot be read ({error.strerror}); change its permissions.") from error
    with _opened(place) as (system, path):
        return system.cat_file(path) if system.isfile(path) else None


def fetch(place: str, folder: Path) -> Path:
    """The file on this machine: where it is, or copied into `folder` under its own name. Raises InputError."""
    if not is_remote(place):
        return local_path(place)
    target = folder / (split(place)[1] or "video")
    with _opened(place) as (system, path):
        if not system.isfile(path):
            raise InputError(f"{place} is not there; correct the address.")
        with explain_write_errors(folder):
            system.get_file(path, str(target))
    return target


def put(path: Path, place: str, is_kept: bool = False) -> None:
    """Move a file of this machine to a place, where it appears whole or not at all. is_kept: copy it.

    Raises InputError, OutputError.
    """
    if not is_remote(place):
        target = local_path(place)
        with explain_write_errors(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                if not is_kept:
                    os.replace(path, target)
                    return
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
            with atomic_path(target) as hidden:
                shutil.copyfile(path, hidden)
    else:
        with _opened(place) as (system, target):
            folder, _, name = target.rpartition("/")
            hidden = target if place.partition("://")[0] in WHOLE else f"{folder}/{hidden_name('', name)}"
            with contextlib.suppress(FileExistsError, NotImplementedError):
                system.makedirs(folder, exist_ok=True)
            system.put_file(str(path), hidden)
            if hidden != target:
                system.mv(hidden, target)
    if not is_kept:
        path.unlink(missing_ok=True)


def remove_folder(place: str) -> None:
    """Delete a folder with all that is in it, if it is there."""
    if not is_remote(place):
        shutil.rmtree(local_path(place), ignore_errors=True)
        return
    with _opened(place) as (system, path):
        if system.exists(path):
            system.rm(path, recursive=True)


@contextlib.contextmanager
def _opened(place: str) -> Iterator[tuple[Any, str]]:
    """The file system of an address and the path in it; what goes wrong there is a sentence. Raises InputError."""
    try:
        core: Any = importlib.import_module("fsspec.core")  # only where an address is given
    except ImportError as error:
        raise OptionError(f"{place} needs fsspec; run: pip install 'openvmas[ray]'.") from error
    try:
        yield core.url_to_fs(place)
    except ImportError as error:
        raise OptionError(f"{place} needs another package ({error}); install it on every node.") from error
    except FileNotFoundError as error:
        raise InputError(f"{place} is not there; correct the address.") from error
    except PermissionError as error:
        raise OutputError(f"{place} may not be used ({error}); give this machine the right to.") from error
    except ValueError as error:
        raise InputError(f"{place} is no address that can be opened ({error}); correct it.") from error
