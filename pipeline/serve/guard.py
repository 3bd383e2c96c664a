"""Checks before every request: who may send it and from which page; and security headers.

- Host: only the service's own names, so that no foreign name can be pointed at it (DNS rebinding).
- Origin and Sec-Fetch-Site: another site's page cannot send anything here (CSRF), nor read.
- A token, if there is one: as `Authorization: Bearer`, or exchanged by the page for a cookie that
  no script can read; never in an address.
"""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# what shows a stranger only the page that asks for the token
OPEN_PATHS = frozenset({"/", "/app.css", "/app.js", "/icon.svg", "/api/session"})
READING = frozenset({"GET", "HEAD"})
NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Tell whether an address or name is reachable only from this machine."""
    if host.lower() in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: None: everybody who reaches the service.
        names: of the host, besides those of the loopback.
        any_address: whether a Host that is a number is the service's too; a number cannot be
            pointed elsewhere.
        port: makes the cookie's name the service's own, for cookies know no ports.
        session: what the cookie holds.
    """

    token: str | None = None
    names: frozenset[str] = frozenset()
    any_address: bool = False
    port: int = 0
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def cookie(self) -> str:
        return f"arpgnet-{self.port}"

    def knows_host(self, header: str) -> bool:
        """Tell whether a Host header names this service."""
        try:
            name = (urlsplit(f"//{header}").hostname or "").lower()
        except ValueError:
            return False
        if is_loopback(name) or name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.any_address

    def has_token(self, headers: Headers) -> bool:
        """Tell whether a request carries the token itself."""
        if self.token is None:
            return True
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and _same(token.strip(), self.token)

    def is_known(self, headers: Headers) -> bool:
        """Tell whether a request carries the token, or the cookie that was issued for it."""
        return self.has_token(headers) or self._has_cookie(headers)

    def _has_cookie(self, headers: Headers) -> bool:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        return morsel is not None and _same(morsel.value, self.session)


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("content-security-policy", NOTHING)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._access.knows_host(host):
            return refusal(403, "unknown host name: --allow-host NAME permits it")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        reads = scope["method"] in READING
        foreign = site not in (None, "same-origin", "none")
        if origin is not None and not reads:
            foreign = foreign or urlsplit(origin).netloc.lower() != host.lower()
        page = reads and scope["path"] in OPEN_PATHS
        if foreign and not page:
            return refusal(403, "cross-site request refused")
        if scope["path"] not in OPEN_PATHS and not self._access.is_known(headers):
            return refusal(401, "a token is required: Authorization: Bearer TOKEN", challenge=True)
        return None


def refusal(status: int, line: str, *, challenge: bool = False) -> JSONResponse:
    """Answer with one line and close the connection, because a body may still be on its way."""
    headers = {"connection": "close"} | ({"www-authenticate": "Bearer"} if challenge else {})
    return JSONResponse({"error": line}, status, headers)


def _same(sent: str, wanted: str) -> bool:
    """Compare in constant time."""
    return secrets.compare_digest(sent.encode(), wanted.encode())
