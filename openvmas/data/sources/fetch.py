"""Addresses turned into files: politely, one request at a time per host, resumed, failures counted as link rot.

Media files are fetched by HTTP; pages with video by a program that the user has installed (yt-dlp). What came of an
address is written beside the files, so that a later build asks again only for what failed in passing.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from openvmas.data.curation.recipe import FetchOptions, LicenceOptions
from openvmas.data.curation.record import Drop, Record
from openvmas.data.sources.download import FetchError, download, is_allowed
from openvmas.data.sources.licences import normalise_licence, refusal
from openvmas.data.sources.records import ENDINGS, from_sidecar
from openvmas.errors import InputError
from openvmas.files import write_text

STAGE = "fetch"
# Reasons of drops. All but the last two count as link rot against the published list.
GONE, UNREACHABLE, REFUSED, LICENCE, TOO_LARGE = "gone", "unreachable", "refused", "licence", "too large"
LINK_ROT = (GONE, UNREACHABLE, REFUSED)
_GONE_WORDS = ("unavailable", "removed", "private video", "does not exist", "terminated", "404", "410", "not available")
_REFUSED_WORDS = ("sign in", "confirm your age", "403", "members-only", "drm", "copyright")


@dataclass(frozen=True)
class Fetched:
    """What came of an address. file: name beside this account, "" if nothing came, and then why; origin: what is known
    from the page. is_final: asking again is of no use."""

    address: str
    file: str = ""
    reason: str = ""
    detail: str = ""
    is_final: bool = False
    origin: dict[str, str] | None = None


class Fetcher:
    """Fetches into a folder. Raises InputError when the program that pages need is not installed."""

    def __init__(self, folder: Path, options: FetchOptions, licences: LicenceOptions) -> None:
        self._folder, self._options, self._licences = folder, options, licences
        self._last: dict[str, float] = {}  # host → when its last request ended
        self._robots: dict[str, Any] = {}
        self._hosts: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._tried: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def fetch_all(self, records: Iterable[Record]) -> None:
        """Fetch the files of some records: hosts beside each other, one request at a time to each."""
        by_host: dict[str, list[Record]] = {}
        for record in records:
            by_host.setdefault(urlsplit(record.origin.uri).netloc.lower(), []).append(record)
        if not by_host:
            return
        with concurrent.futures.ThreadPoolExecutor(min(self._options.hosts, len(by_host))) as pool:
            for future in [pool.submit(self._fetch_host, group) for group in by_host.values()]:
                future.result()

    def result(self, record: Record) -> tuple[Record, Path] | Drop:
        """The record with what its page said, and its file; or why there is none."""
        found = self._read(record.origin.uri)
        if found is None:
            return Drop(record, STAGE, UNREACHABLE, "it was never fetched")
        if not found.file:
            return Drop(record, STAGE, found.reason, found.detail)
        known = {k: v for k, v in (found.origin or {}).items() if v and not getattr(record.origin, k)}
        return replace(record, origin=replace(record.origin, **known)), self._folder / found.file

    def forget_file(self, record: Record) -> None:
        """Delete a fetched file whose features are made; its account stays."""
        found = self._read(record.origin.uri)
        if found is not None and found.file:
            (self._folder / found.file).unlink(missing_ok=True)

    def _fetch_host(self, records: list[Record]) -> None:
        for record in records:
            with self._lock:
                lock = self._hosts.setdefault(urlsplit(record.origin.uri).netloc.lower(), threading.Lock())
            with lock:
                self._fetch_one(record)

    def _fetch_one(self, record: Record) -> None:
        address = record.origin.uri
        before = self._read(address)
        is_known = before is not None and (before.is_final or address in self._tried)
        if is_known and before and (not before.file or (self._folder / before.file).exists()):
            return
        self._tried.add(address)
        found = Fetched(address, reason=UNREACHABLE)
        for attempt in range(self._options.tries):
            if attempt:
                time.sleep(min(self._options.pause * 2**attempt, 60))
            found = self._try(record)
            if found.file or found.is_final:
                break
        self._write(found)

    def _try(self, record: Record) -> Fetched:
        address, options = record.origin.uri, self._options
        is_direct = options.via == "direct" or (options.via == "auto" and names_medium(address))
        try:
            is_allowed(address, options, self._robots)
            if is_direct:
                return self._direct(record)
            return self._with_program(record)
        except FetchError as failure:
            return Fetched(address, "", failure.reason, failure.detail, failure.is_final)

    def _direct(self, record: Record) -> Fetched:
        address = record.origin.uri
        if problem := refusal(record.origin, self._licences, True):
            return Fetched(address, "", LICENCE, problem, True)
        self._wait(address)
        ending = PurePosixPath(urlsplit(address).path).suffix.lower()
        name = key_of(address) + (ending if names_medium(address) else "")
        try:
            download(address, self._folder / name, self._options)
        finally:
            self._done(address)
        return Fetched(address, name, is_final=True)

    def _with_program(self, record: Record) -> Fetched:
        """First what the page says of itself, for the licence; then the file."""
        address, options = record.origin.uri, self._options
        if shutil.which(options.program) is None:
            raise InputError(
                f"{options.program} is needed to fetch {address}, but it is not installed; install it "
                f"(pipx install {options.program}), or list direct addresses of media files."
            )
        said = self._run(record, "--dump-json", "--skip-download")
        known = from_sidecar(said.encode())
        origin = replace(record.origin, licence=record.origin.licence or normalise_licence(known.get("licence", "")))
        if problem := refusal(origin, self._licences, True):
            return Fetched(address, "", LICENCE, problem, True)
        key = key_of(address)
        size = f"{options.max_megabytes:g}M"
        target = str(self._folder).replace("%", "%%") + f"/{key}.%(ext)s"
        self._run(record, "--continue", "--format", options.format, "--max-filesize", size, "--output", target)
        files = sorted(path for path in self._folder.glob(f"{key}.*") if is_medium(path))
        if not files:
            return Fetched(address, "", TOO_LARGE, f"no file of at most {options.max_megabytes:g} MB came", True)
        return Fetched(address, files[0].name, is_final=True, origin={**known, "licence": origin.licence})

    def _run(self, record: Record, *arguments: str) -> str:
        """Run the program once and give what it printed. Raises FetchError."""
        options, address = self._options, record.origin.uri
        command = [options.program, "--no-playlist", "--no-progress", "--quiet", "--no-warnings", *arguments]
        self._wait(address)
        try:
            done = subprocess.run(
                [*command, *options.arguments, "--", address],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=options.max_seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise FetchError(UNREACHABLE, f"took more than {options.max_seconds:g} s", False) from error
        finally:
            self._done(address)
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            detail = lines[-1] if lines else f"exit code {done.returncode}"
            low = detail.lower()
            if any(word in low for word in _GONE_WORDS):
                raise FetchError(GONE, detail, True)
            if any(word in low for word in _REFUSED_WORDS):
                raise FetchError(REFUSED, detail, True)
            raise FetchError(UNREACHABLE, detail, False)
        return done.stdout.decode("utf-8", "replace")

    def _wait(self, address: str) -> None:
        host = urlsplit(address).netloc.lower()
        time.sleep(max(0.0, self._last.get(host, -1e9) + self._options.pause - time.monotonic()))

    def _done(self, address: str) -> None:
        self._last[urlsplit(address).netloc.lower()] = time.monotonic()

    def _read(self, address: str) -> Fetched | None:
        path = self._folder / f"{key_of(address)}.fetched.json"
        try:
            return Fetched(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):  # cut off by a crash
            return None

    def _write(self, found: Fetched) -> None:
        path = self._folder / f"{key_of(found.address)}.fetched.json"
        write_text(path, json.dumps(asdict(found), sort_keys=True))


def key_of(address: str) -> str:
    """Name of an address's files."""
    return hashlib.sha256(address.encode()).hexdigest()[:24]


def names_medium(address: str) -> bool:
    """Whether an address ends like a media file."""
    ending = PurePosixPath(urlsplit(address).path).suffix.lower().lstrip(".")
    return any(ending in endings for endings in ENDINGS.values())


def is_medium(path: Path) -> bool:
    """Whether a file is a whole media file and not an account or a part."""
    return any(path.suffix.lower().lstrip(".") in endings for endings in ENDINGS.values())
