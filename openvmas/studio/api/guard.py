"""The door of the server: who may ask, from where, how much, and what every answer says to browsers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "openvmas_studio"
MAX_BODY = 4_000_000  # bytes of a JSON body
DRAIN = 2.0  # s for which what is too much is still read
TOO_LARGE = f"the body is larger than {MAX_BODY} bytes; send less."
OPEN = ("/api/session", "/api/openapi.json")  # need no token
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
)


class TooLargeError(Exception):
    """A body went on beyond what is allowed."""


def owner_of(token: str) -> str:
    """The name under which projects of a token are kept; the token itself is not written down."""
    return hashlib.sha256(b"openvmas studio " + token.encode()).hexdigest()[:32]


def match_token(given: str, tokens: Iterable[str]) -> str | None:
    """The token that was given, if it is one of ours; takes the same time however much of it is right."""
    found = None
    for token in tokens:
        if hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode()):
            found = token
    return found


def host_name(value: str) -> str:
    """The name in a Host header, without the port."""
    return value[1 : value.index("]")] if value.startswith("[") and "]" in value else value.rsplit(":", 1)[0]


class Guard:
    """Refuses what may not come in before anything else sees it; notes whose request it is in scope["state"]["owner"].

    Without tokens there is one owner, "local".
    """

    def __init__(self, app: App, tokens: tuple[str, ...], host: str) -> None:
        self._app, self._tokens = app, tokens
        self._names = {"localhost", host.strip("[]").lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            else:  # no other kind of connection is served
                await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        began = False

        async def answer(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                given = list(message.get("headers", []))
                if scope["path"].startswith("/api/") and not any(name == b"cache-control" for name, _ in given):
                    given.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*given, *HEADERS]}
            await send(message)

        refusal = self._refuse(scope, headers)
        if refusal is not None:
            if refusal[0] == 413:
                await drain(receive)
            await refuse(answer, *refusal)
            return
        if scope["path"].endswith("/upload") and scope["method"] == "PATCH":
            await self._app(scope, receive, answer)
            return
        body = Counted(receive)
        with contextlib.suppress(TooLargeError):
            await self._app(scope, body.receive, body.unless_too_large(answer))
        if body.is_too_large and not began:
            await drain(receive)
            await refuse(answer, 413, TOO_LARGE)

    def _refuse(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Code and sentence if this request may not come in."""
        path, method = scope["path"], scope["method"]
        if not self._is_our_name(headers.get("host", "")):
            return 403, "this server does not go by that name; open the address that `openvmas studio` printed."
        if path.startswith("/api/") and self._is_foreign(method, headers):
            return 403, "this request comes from another site; use the studio's own page."
        length = headers.get("content-length", "0")
        is_upload = method == "PATCH" and path.endswith("/upload")
        if not is_upload and length.isdigit() and int(length) > MAX_BODY:
            return 413, TOO_LARGE
        owner = self._find_owner(headers)
        state = scope.setdefault("state", {})
        state["owner"] = owner
        if path.startswith("/api/") and path not in OPEN and owner is None:
            return 401, "a token is needed; sign in with the one that `openvmas studio` was started with."
        return None

    def _is_our_name(self, host: str) -> bool:
        """Numbers cannot be pointed at us by another's DNS; names only if they are known (DNS rebinding)."""
        name = host_name(host).lower()
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return name in self._names

    def _is_foreign(self, method: str, headers: dict[str, str]) -> bool:
        """Whether a browser says that another site's page asks. Programs other than browsers say nothing."""
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return True
        origin = headers.get("origin")
        if origin is None:
            return False
        return origin.split("://", 1)[-1].lower() != headers.get("host", "").lower()

    def _find_owner(self, headers: dict[str, str]) -> str | None:
        if not self._tokens:
            return "local"
        given = headers.get("authorization", "")
        token = given[7:].strip() if given[:7].lower() == "bearer " else read_cookie(headers.get("cookie", ""))
        found = match_token(token, self._tokens) if token else None
        return owner_of(found) if found else None


def read_cookie(text: str) -> str:
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


class Counted:
    """A body that is cut off as soon as it exceeds MAX_BODY: its length need not be declared nor be true."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._total = receive, 0
        self.is_too_large = False

    async def receive(self) -> Message:
        """Raises TooLargeError."""
        message = await self._receive()
        self._total += len(message.get("body", b""))
        if self._total > MAX_BODY:
            self.is_too_large = True
            raise TooLargeError
        return message

    def unless_too_large(self, send: Send) -> Send:
        """The application takes a body that breaks off for one that is not JSON: what it says then does not count."""

        async def pass_on(message: Message) -> None:
            if not self.is_too_large:
                await send(message)

        return pass_on


async def drain(receive: Receive) -> None:
    """Read on within bounds: who is still sending when the connection closes may not get the answer (RFC 9112, 9.6)."""

    async def read() -> None:
        left, is_more = MAX_BODY, True
        while is_more and left > 0:
            message = await receive()
            left, is_more = left - len(message.get("body", b"")), message.get("more_body", False)

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(read(), DRAIN)


async def refuse(send: Send, status: int, sentence: str) -> None:
    """A whole answer: an error."""
    body = json.dumps({"error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 413:
        headers.append((b"connection", b"close"))  # or the rest of the body would be read to its end
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
