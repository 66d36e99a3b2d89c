"""The studio's one SQLite file: its tables, a connection for each thread, and transactions.

Write-ahead logging lets the server read while workers in other processes write; a process that is killed loses at most
the transaction it was in.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from openvmas.errors import InputError

FILE = "studio.sqlite"
SCHEMA = Path(__file__).with_name("schema.sql")
VERSION = 1
FINAL_STATES = ("done", "failed", "cancelled", "interrupted")  # of jobs; as text it is the list of an SQL query


class _Held:
    """A thread's connection, which is closed when the thread has ended: servers start and end threads all the time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class Database:
    """The file in `folder`, with one connection for each thread. Raises InputError if it is of no use here."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self._local = threading.local()
        self._open: weakref.WeakSet[_Held] = weakref.WeakSet()
        self._lock = threading.Lock()
        with self.write() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in SCHEMA.read_text(encoding="utf-8").split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise InputError(
                    f"{folder / FILE} was written by another version of the studio; give another --folder."
                )

    def connect(self) -> sqlite3.Connection:
        """This thread's connection."""
        held: _Held | None = getattr(self._local, "held", None)
        if held is None:
            try:
                found = sqlite3.connect(
                    self.folder / FILE, timeout=30, isolation_level=None, check_same_thread=False, cached_statements=256
                )
                found.row_factory = sqlite3.Row
                found.execute("PRAGMA journal_mode = WAL")
            except sqlite3.DatabaseError as error:
                raise InputError(
                    f"{self.folder / FILE} cannot be used ({error}); move it away or give another --folder."
                ) from error
            found.execute("PRAGMA synchronous = NORMAL")
            found.execute("PRAGMA cache_size = -256")  # kB; the server has 40 threads, each with a connection
            found.execute("PRAGMA foreign_keys = ON")
            self._local.held = held = _Held(found)
            with self._lock:
                self._open.add(held)
        return held.connection

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """All rows of a query as dictionaries."""
        return [*self.each(sql, values)]

    def each(self, sql: str, values: Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
        """The rows of a query one after the other, where all at once would be much to hold."""
        return map(dict, self.connect().execute(sql, values))

    def row(self, sql: str, values: Sequence[Any] = ()) -> dict[str, Any] | None:
        """The first row, or None."""
        found = self.connect().execute(sql, values).fetchone()
        return None if found is None else dict(found)

    def read(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction whose queries all see the same moment; what others write meanwhile is not in it."""
        return self._transaction("BEGIN")

    def write(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction that no other process can write beside; undone if the block raises."""
        return self._transaction("BEGIN IMMEDIATE")

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self.connect() as connection:  # SQLite's own block commits or rolls back, but does not begin
            connection.execute(begin)
            yield connection

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for held in list(self._open):
                held.connection.close()
            self._open.clear()
        self._local = threading.local()
