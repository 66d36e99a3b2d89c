"""Addresses turned into files: politely, one request at a time per host, resumed, failures counted as link rot.

Media files are fetched by HTTP; pages with video by a program that the user has installed (yt-dlp). What came of an
address is written beside the files, so that a later build asks again only for what failed in passing.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import http.client
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import urllib.robotparser
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from openvmas import __version__
from openvmas.data.curation.recipe import FetchOptions, LicenceOptions
from openvmas.data.curation.record import Drop, Record
from openvmas.data.sources.licences import normalise_licence, refusal
from openvmas.data.sources.records import ENDINGS, from_sidecar
from openvmas.errors import InputError
from openvmas.files import write_text

STAGE = "fetch"
# Reasons of drops. The first three count as link rot against the published list: the host has the file no more or does
# not give it; the others are our own decision, and say nothing about the list.
GONE, UNREACHABLE, REFUSED = "gone", "unreachable", "refused"
LICENCE, TOO_LARGE, NOT_ASKED = "licence", "too large", "not asked"
LINK_ROT = (GONE, UNREACHABLE, REFUSED)
_GONE_WORDS = ("unavailable", "removed", "private video", "does not exist", "terminated", "404", "410", "not available")
_REFUSED_WORDS = ("sign in", "confirm your age", "403", "members-only", "drm", "copyright")
AGENT = f"openvmas/{__version__}"
BLOCK = 1 << 16  # bytes
_GONE_CODES = {404, 410, 451}
_REFUSED_CODES = {401, 402, 403, 405, 406}
_RANGE_IS_WRONG = 416


class FetchError(Exception):
    """A file did not come. is_final: asking again is of no use."""

    def __init__(self, reason: str, detail: str, is_final: bool) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.is_final = reason, detail, is_final


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects are followed to public HTTP addresses only."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_host(newurl, self._options)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_host(address: str, options: FetchOptions) -> None:
    """Raises FetchError unless it is HTTP to a public host: a list must not reach into the user's own network."""
    parts = urlsplit(address)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise FetchError(NOT_ASKED, "not an HTTP address", True)
    if options.private_hosts:
        return
    try:
        found = socket.getaddrinfo(parts.hostname, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchError("unreachable", f"its host is not known ({error})", False) from error
    for *_, place in found:
        if not ipaddress.ip_address(str(place[0]).partition("%")[0]).is_global:
            raise FetchError(NOT_ASKED, "the host is in a private network; see private_hosts", True)


def is_allowed(address: str, options: FetchOptions, known: dict[str, Any]) -> None:
    """Raises FetchError if the host is private or its robots.txt forbids the address. known: what hosts have said."""
    check_host(address, options)
    parts = urlsplit(address)
    host = f"{parts.scheme}://{parts.netloc}"
    if host not in known:
        rules = urllib.robotparser.RobotFileParser()
        try:
            with _open(f"{host}/robots.txt", {}, options) as answer:
                rules.parse(answer.read(500_000).decode("utf-8", "replace").splitlines())
        except (FetchError, OSError, http.client.HTTPException, ValueError):
            rules.parse([])  # none: everything is allowed (RFC 9309, 2.3.1.3)
        known[host] = rules
    if not known[host].can_fetch(AGENT, address):
        raise FetchError(NOT_ASKED, "the host's robots.txt forbids it", True)


def download(address: str, target: Path, options: FetchOptions) -> None:
    """Fetch a file; what has come of it before is kept in TARGET.part and gone on with. Raises FetchError."""
    partial = target.with_name(target.name + ".part")
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    most = int(options.max_megabytes * 1e6)
    deadline = time.monotonic() + options.max_seconds
    try:
        with _open(address, headers, options) as answer:
            if answer.status != http.client.PARTIAL_CONTENT:
                have = 0
            left = answer.headers.get("Content-Length")
            total = have + int(left) if left is not None and left.isdigit() else None
            if total is not None and total > most:
                raise FetchError("too large", f"{total / 1e6:.0f} MB", True)
            with partial.open("ab" if have else "wb") as file:
                while block := answer.read(BLOCK):
                    have += len(block)
                    if have > most:
                        raise FetchError("too large", f"more than {options.max_megabytes:g} MB", True)
                    if time.monotonic() > deadline:
                        raise FetchError("unreachable", f"took more than {options.max_seconds:g} s", False)
                    file.write(block)
            if total is not None and have != total:
                raise FetchError("unreachable", f"ended after {have} of {total} bytes", False)
    except FetchError as failure:
        if failure.is_final or failure.reason == "range":  # what is there does not belong to what the host has now
            partial.unlink(missing_ok=True)
        if failure.reason == "range":
            raise FetchError("unreachable", failure.detail, False) from failure
        raise
    except (OSError, http.client.HTTPException) as error:
        raise FetchError("unreachable", f"{type(error).__name__}: {error}", False) from error
    os.replace(partial, target)


def _open(address: str, headers: dict[str, str], options: FetchOptions) -> Any:
    opener = urllib.request.build_opener(_Redirects(options))
    request = urllib.request.Request(address, headers={"User-Agent": AGENT, **headers})
    try:
        return opener.open(request, timeout=options.timeout)
    except urllib.error.HTTPError as error:
        detail = f"HTTP {error.code}"
        error.close()
        if error.code in _GONE_CODES:
            raise FetchError("gone", detail, True) from error
        if error.code == _RANGE_IS_WRONG:
            raise FetchError("range", detail, False) from error
        is_refused = error.code in _REFUSED_CODES or error.code // 100 == 3  # a redirect to something that is not HTTP
        raise FetchError("refused" if is_refused else "unreachable", detail, is_refused) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError("unreachable", f"{type(error).__name__}: {error}", False) from error


@dataclass(frozen=True)
class Fetched:
    """Result of fetching an address.

    file: name beside this account, "" if nothing came, and then why; origin: what is known from the page. is_final:
    asking again is of no use.
    """

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
            list(pool.map(self._fetch_host, by_host.values()))

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
        is_direct = options.via == "direct" or (options.via == "auto" and is_media_name(urlsplit(address).path))
        try:
            is_allowed(address, options, self._robots)
            return self._direct(record) if is_direct else self._with_program(record)
        except FetchError as failure:
            return Fetched(address, "", failure.reason, failure.detail, failure.is_final)

    def _direct(self, record: Record) -> Fetched:
        address = record.origin.uri
        if problem := refusal(record.origin, self._licences, True):
            return Fetched(address, "", LICENCE, problem, True)
        ending = PurePosixPath(urlsplit(address).path).suffix.lower()
        name = key_of(address) + (ending if is_media_name(urlsplit(address).path) else "")
        with self._turn(address):
            download(address, self._folder / name, self._options)
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
        files = sorted(path for path in self._folder.glob(f"{key}.*") if is_media_name(path.name))
        if not files:
            return Fetched(address, "", TOO_LARGE, f"no file of at most {options.max_megabytes:g} MB came", True)
        return Fetched(address, files[0].name, is_final=True, origin={**known, "licence": origin.licence})

    def _run(self, record: Record, *arguments: str) -> str:
        """Run the program once and give what it printed. Raises FetchError."""
        options, address = self._options, record.origin.uri
        command = [options.program, "--no-playlist", "--no-progress", "--quiet", "--no-warnings", *arguments]
        command += [*options.arguments, "--", address]
        try:
            with self._turn(address):
                limit = options.max_seconds
                done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit)
        except subprocess.TimeoutExpired as error:
            raise FetchError(UNREACHABLE, f"took more than {options.max_seconds:g} s", False) from error
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            detail = lines[-1] if lines else f"exit code {done.returncode}"
            for reason, words in ((GONE, _GONE_WORDS), (REFUSED, _REFUSED_WORDS)):
                if any(word in detail.lower() for word in words):
                    raise FetchError(reason, detail, True)
            raise FetchError(UNREACHABLE, detail, False)
        return done.stdout.decode("utf-8", "replace")

    @contextmanager
    def _turn(self, address: str) -> Iterator[None]:
        """Wait until the host may be asked again; its next pause begins when the block ends."""
        host = urlsplit(address).netloc.lower()
        time.sleep(max(0.0, self._last.get(host, -1e9) + self._options.pause - time.monotonic()))
        try:
            yield
        finally:
            self._last[host] = time.monotonic()

    def _read(self, address: str) -> Fetched | None:
        path = self._folder / f"{key_of(address)}.fetched.json"
        try:
            return Fetched(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):  # not there, or cut off by a crash
            return None

    def _write(self, found: Fetched) -> None:
        path = self._folder / f"{key_of(found.address)}.fetched.json"
        write_text(path, json.dumps(asdict(found), sort_keys=True))


def fetched_file(folder: Path, address: str) -> Path | None:
    """The file that a `Fetcher` of this folder keeps of an address; None where there is none."""
    try:
        name = json.loads((folder / f"{key_of(address)}.fetched.json").read_text(encoding="utf-8"))["file"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder / name if name and (folder / name).is_file() else None


def key_of(address: str) -> str:
    """Name of an address's files."""
    return hashlib.sha256(address.encode()).hexdigest()[:24]


def is_media_name(name: str) -> bool:
    """Whether a name ends like a media file and not like an account or a part."""
    ending = PurePosixPath(name).suffix.lower().lstrip(".")
    return any(ending in endings for endings in ENDINGS.values())
