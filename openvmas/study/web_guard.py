"""ASGI middleware of both web servers, study and studio: limits on bodies, security headers, form of refusals."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

DRAIN_S = 2.0  # for which what is too much is still read
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class TooLargeError(Exception):
    """A body went on beyond what is allowed."""


class WebGuard:
    """Outermost middleware. headers: security headers of every response beside HEADERS; max_body: bytes of a request;
    error_field: name of the sentence in a refusal's JSON."""

    error_field = "error"

    def __init__(self, app: App, headers: dict[str, str], max_body: int) -> None:
        self._app = app
        self._max_body = max_body
        self._headers = [*HEADERS, *((name.encode(), value.encode()) for name, value in headers.items())]
        self._too_large = f"the body is larger than {max_body} bytes; send less."

    def refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and sentence if a request may not come in."""
        length = headers.get("content-length", "0")
        is_too_large = self.is_limited(scope) and length.isdigit() and int(length) > self._max_body
        return (413, self._too_large) if is_too_large else None

    def is_limited(self, scope: Scope) -> bool:
        """Whether max_body holds for a request."""
        return True

    def cache_control(self, scope: Scope, names: set[bytes]) -> bytes | None:
        """Value of the cache-control header of a response that has none. names: of its other headers."""
        return b"no-cache" if b"etag" in names else b"no-store"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            else:  # no other kind of connection is served
                await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        has_begun = False

        async def respond(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                given = list(message.get("headers", []))
                names = {name for name, _ in given}
                cache = None if b"cache-control" in names else self.cache_control(scope, names)
                given += [] if cache is None else [(b"cache-control", cache)]
                message = {**message, "headers": [*given, *self._headers]}
            await send(message)

        refused = self.refusal(scope, headers)
        if refused is None and not self.is_limited(scope):
            await self._app(scope, receive, respond)
        elif refused is None:
            body = LimitedBody(receive, self._max_body)
            with contextlib.suppress(TooLargeError):
                await self._app(scope, body.receive, body.unless_too_large(respond))
            if body.is_too_large and not has_begun:
                refused = 413, self._too_large
        if refused is not None:
            if refused[0] == 413:
                await drain(receive, self._max_body)
            from starlette.responses import JSONResponse  # here: the options of servers need `is_loopback` only

            # The rest of a body that is too large would else be read to its end.
            headers = {401: {"www-authenticate": "Bearer"}, 413: {"connection": "close"}}
            answer = JSONResponse({self.error_field: refused[1]}, refused[0], headers.get(refused[0]))
            await answer(scope, receive, respond)


class LimitedBody:
    """A body that is cut off as soon as it exceeds a limit: its length need not be declared nor be true."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive, self._left = receive, max_bytes
        self.is_too_large = False

    async def receive(self) -> Message:
        """The next message of the body. Raises TooLargeError."""
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.is_too_large = True
            raise TooLargeError
        return message

    def unless_too_large(self, send: Send) -> Send:
        """The application takes a body that breaks off for one that is not JSON: what it says then does not count."""

        async def pass_on(message: Message) -> None:
            if not self.is_too_large:
                await send(message)

        return pass_on


async def drain(receive: Receive, max_bytes: int) -> None:
    """Read on within bounds: who is still sending when the connection closes may not get the answer (RFC 9112, 9.6)."""

    async def read() -> None:
        left, is_more = max_bytes, True
        while is_more and left > 0:
            message = await receive()
            left, is_more = left - len(message.get("body", b"")), message.get("more_body", False)

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(read(), DRAIN_S)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
