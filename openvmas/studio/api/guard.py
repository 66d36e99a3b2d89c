"""Admission to the studio's server: who may ask, from where, and what every response says to browsers."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie

from openvmas.study.web_guard import App, Scope, WebGuard

COOKIE = "openvmas_studio"
MAX_BODY = 4_000_000  # bytes of a JSON body
OPEN_PATHS = ("/api/session", "/api/openapi.json")  # need no token
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; font-src 'self'; manifest-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}


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


class StudioGuard(WebGuard):
    """Refuses what may not come in before anything else sees it; notes whose request it is in scope["state"]["owner"].

    Without tokens there is one owner, "local".
    """

    def __init__(self, app: App, tokens: tuple[str, ...], host: str) -> None:
        super().__init__(app, HEADERS, MAX_BODY)
        self._tokens = tokens
        self._names = {"localhost", host.strip("[]").lower()}

    def is_limited(self, scope: Scope) -> bool:
        """Whether MAX_BODY holds; uploads have limits of their own."""
        path, method = scope["path"], scope["method"]
        return (path.rpartition("/")[2], method) not in (("upload", "PATCH"), ("sounds", "POST"))

    def cache_control(self, scope: Scope, names: set[bytes]) -> bytes | None:
        """No copies of the API's answers; how long it keeps the page's files is the browser's choice."""
        return b"no-store" if scope["path"].startswith("/api/") else None

    def refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and sentence for a foreign name, site or token, and for a body that is too large."""
        path = scope["path"]
        if not self._is_our_name(headers.get("host", "")):
            return 403, "this server does not go by that name; open the address that `openvmas studio` printed."
        if path.startswith("/api/") and self._is_foreign(headers):
            return 403, "this request comes from another site; use the studio's own page."
        if (too_large := super().refusal(scope, headers)) is not None:
            return too_large
        owner = self._find_owner(headers)
        scope.setdefault("state", {})["owner"] = owner
        if path.startswith("/api/") and path not in OPEN_PATHS and owner is None:
            return 401, "a token is needed; sign in with the one that `openvmas studio` was started with."
        return None

    def _is_our_name(self, host: str) -> bool:
        """Whether a Host header is a number or a known name; others may be another's DNS (DNS rebinding)."""
        name = host_name(host).lower()
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return name in self._names

    def _is_foreign(self, headers: dict[str, str]) -> bool:
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
    """The token in a Cookie header, or nothing."""
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""
