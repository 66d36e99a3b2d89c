"""Answers in SQLite. Nothing that identifies anybody is kept: no address, no browser, no name, no time of day."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

ANSWERS = "answers.sqlite"
MAX_SESSIONS = 20_000  # nobody may fill the disk
RELEASE_HOURS = 3  # after so long without an answer, an unfinished block is given to somebody else as well
SCHEMA = Path(__file__).with_name("schema.sql")


@dataclass(frozen=True)
class Answer:
    """One answer. step: place in the plan of the block; choice: a, b, same, 1 .. 3 or ok; quality, fit: 1 .. 5.

    seconds: that the page was shown; heard: seconds of sound played on it.
    """

    step: int
    choice: str | None
    quality: int | None
    fit: int | None
    seconds: float
    heard: float


@dataclass(frozen=True)
class ListenerSession:
    """A listener. number: in the order of consent; block: of the design."""

    number: int
    block: int
    is_finished: bool


class Store:
    """The database of one study; safe to use from several threads, and beside another process that reads it."""

    def __init__(self, folder: str | Path) -> None:
        self._lock = threading.Lock()
        # One connection for all: the last one to close would write the log back at every request.
        base = sqlite3.connect(Path(folder) / ANSWERS, timeout=20, isolation_level=None, check_same_thread=False)
        self._base = base
        weakref.finalize(self, base.close)
        for setting in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "secure_delete=ON"):
            base.execute(f"PRAGMA {setting}")
        base.executescript(SCHEMA.read_text(encoding="utf-8"))

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The connection for one thread alone; everything in the block happens or nothing does."""
        with self._lock, self._base as base:  # SQLite's own block commits or rolls back, but does not begin
            base.execute("BEGIN IMMEDIATE")
            yield base

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement, in a transaction of its own."""
        with self._open() as base:
            return base.execute(sql, values).fetchall()

    def begin(self, hour: int | None = None) -> str | None:
        """A new session with the smallest free block; returns its secret id, None if there are too many.

        hour: now, in hours since 1970.
        """
        hour = int(time.time() // 3600) if hour is None else hour
        name = secrets.token_urlsafe(16)
        with self._open() as base:
            if base.execute("SELECT COUNT(*) FROM sessions").fetchone()[0] >= MAX_SESSIONS:
                return None
            held = {
                row[0]
                for row in base.execute(
                    "SELECT block FROM sessions WHERE finished OR active_hour > ?", (hour - RELEASE_HOURS,)
                )
            }
            block = next(number for number in range(len(held) + 1) if number not in held)
            base.execute("INSERT INTO sessions (id, block, active_hour) VALUES (?, ?, ?)", (name, block, hour))
        return name

    def session(self, name: str) -> ListenerSession | None:
        """The session of a secret id."""
        rows = self._rows("SELECT number, block, finished FROM sessions WHERE id = ?", name)
        return ListenerSession(rows[0][0], rows[0][1], bool(rows[0][2])) if rows else None

    def answers(self, number: int) -> list[Answer]:
        """A listener's answers, in the order of steps."""
        sql = "SELECT step, choice, quality, fit, seconds, heard FROM answers WHERE session = ? ORDER BY step"
        return [Answer(*row) for row in self._rows(sql, number)]

    def add(self, number: int, answer: Answer, hour: int | None = None) -> None:
        """Keep an answer; the first one to a step counts, so that sending twice does no harm."""
        hour = int(time.time() // 3600) if hour is None else hour
        with self._open() as base:
            if base.execute("SELECT 1 FROM sessions WHERE number = ?", (number,)).fetchone() is None:
                return  # deleted in another tab
            base.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", (number, *astuple(answer)))
            base.execute("UPDATE sessions SET active_hour = ? WHERE number = ?", (hour, number))

    def finish(self, number: int) -> None:
        """Note that a listener has done all steps."""
        self._rows("UPDATE sessions SET finished = 1 WHERE number = ?", number)

    def delete(self, number: int) -> None:
        """Forget a listener and all answers."""
        self._rows("DELETE FROM sessions WHERE number = ?", number)

    def sessions(self) -> list[ListenerSession]:
        """All listeners, by number."""
        rows = self._rows("SELECT number, block, finished FROM sessions ORDER BY number")
        return [ListenerSession(number, block, bool(finished)) for number, block, finished in rows]

    def everything(self) -> dict[int, list[Answer]]:
        """All answers by listener."""
        sql = "SELECT session, step, choice, quality, fit, seconds, heard FROM answers ORDER BY session, step"
        found: dict[int, list[Answer]] = {}
        for session, *answer in self._rows(sql):
            found.setdefault(session, []).append(Answer(*answer))
        return found
