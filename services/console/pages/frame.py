"""The frame of every page: its security headers, and the refusal of other sites' forms."""

import secrets
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_HEADERS: Final = {
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    # Of htmx alone, for what it puts into the page: static/modules/htmx-safe.js.
    "require-trusted-types-for 'script'; trusted-types htmx"
)


class Frame:
    """ASGI middleware of all pages; the state of each request gets the `nonce` of its scripts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        nonce = secrets.token_urlsafe(16)
        scope["state"] = {**scope.get("state", {}), "nonce": nonce, "session": None}

        async def send_framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                framed = MutableHeaders(scope=message)
                framed.update(_HEADERS)
                framed["Content-Security-Policy"] = _POLICY.format(nonce=nonce)
                framed.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_framed)


def is_from_own_page(method: str, headers: Headers, own_origin: str | None) -> bool:
    """Whether a request changes nothing, or comes from a page of this console.

    `own_origin` is the origin of the console's public URL, where a proxy stands before it.
    """
    if method in _SAFE_METHODS:
        return True
    if (site := headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    if origin is None:
        return False
    if own_origin is not None:
        return origin == own_origin
    host = headers.get("host")
    return origin in {f"http://{host}", f"https://{host}"}
