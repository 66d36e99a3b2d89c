"""One file by HTTP: resumed where it stopped, of limited size and time, only where a stranger's list may send us."""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import time
import urllib.error
import urllib.request
import urllib.robotparser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openvmas import __version__
from openvmas.data.curation.recipe import FetchOptions

AGENT = f"openvmas/{__version__}"
BLOCK = 1 << 16  # bytes
_GONE = {404, 410, 451}
_REFUSED = {401, 402, 403, 405, 406}
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
        raise FetchError("refused", "not an HTTP address", True)
    if options.private_hosts:
        return
    try:
        found = socket.getaddrinfo(parts.hostname, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchError("unreachable", f"its host is not known ({error})", False) from error
    for *_, place in found:
        if not ipaddress.ip_address(str(place[0]).partition("%")[0]).is_global:
            raise FetchError("refused", "the host is in a private network; see private_hosts", True)


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
        raise FetchError("refused", "the host's robots.txt forbids it", True)


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
        if error.code in _GONE:
            raise FetchError("gone", detail, True) from error
        if error.code == _RANGE_IS_WRONG:
            raise FetchError("range", detail, False) from error
        is_refused = error.code in _REFUSED or error.code // 100 == 3  # a redirect to something that is not HTTP
        raise FetchError("refused" if is_refused else "unreachable", detail, is_refused) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError("unreachable", f"{type(error).__name__}: {error}", False) from error
