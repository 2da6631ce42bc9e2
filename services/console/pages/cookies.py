"""Cookies of pages: not readable by scripts, not sent by other sites' forms."""

from datetime import timedelta
from typing import Final

from fastapi.responses import Response
from starlette.requests import cookie_parser

# The prefix makes browsers take the cookie from this host and by TLS alone.
_SECURE_PREFIX: Final = "__Host-"


class Cookie:
    """One cookie; `is_secure`: browsers reach the console by https."""

    def __init__(self, name: str, *, is_secure: bool) -> None:
        self._name = f"{_SECURE_PREFIX}{name}" if is_secure else name
        self._is_secure = is_secure

    def of(self, cookies: str) -> str:
        """Its value in a Cookie header; "" if it is not there."""
        return cookie_parser(cookies).get(self._name, "")

    def set(self, response: Response, value: str, lifetime: timedelta) -> None:
        """Give it to the browser."""
        response.set_cookie(
            self._name, value, path="/", secure=self._is_secure, httponly=True, samesite="lax",
            max_age=int(lifetime.total_seconds()),
        )  # fmt: skip

    def delete(self, response: Response) -> None:
        """Take it from the browser."""
        response.delete_cookie(self._name, path="/", secure=self._is_secure, httponly=True, samesite="lax")
