"""Pages call the API in this process: its endpoints, with the session's token as the caller, without HTTP.

So each rule about scopes, access groups, idempotency and input is the API's, and stands in one place.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import quote, unquote, urlencode

from fastapi.responses import Response
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codewell.access.tokens import Token
from services.console.http.auth import API_PREFIX

_VERSION: Final = f"{API_PREFIX}v1"
_JSON: Final = b"application/json"

M = TypeVar("M", bound=BaseModel)
Query = Mapping[str, str | int | bool | Sequence[str] | None]


class ApiRefusal(Exception):
    """The API's problem: its HTTP status, reason and sentence, and the words on each invalid field.

    `errors` has them by the field's pointer without the first slash, such as `fields/discount`, or by the name of the
    parameter.
    """

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(problem["detail"])
        self.status: int = problem["status"]
        self.reason: str = problem["reason"]
        self.detail: str = problem["detail"]
        self.errors: dict[str, str] = {
            (one.get("pointer") or one.get("parameter") or "").removeprefix("#/"): one["detail"]
            for one in problem.get("errors", ())
        }


class Api:
    """The API for one caller."""

    def __init__(self, app: ASGIApp, caller: Token) -> None:
        self._app = app
        self._caller = caller

    async def get(self, path: str, shape: type[M], query: Query | None = None) -> M:
        """Read something. `path` follows /api/v1, its parts quoted by `part`. Raises ApiRefusal."""
        # Answers hold computed fields too, which their shapes do not take.
        return shape.model_validate_json(await self._call("GET", path, query=query), extra="ignore")

    async def send(
        self, method: str, path: str, body: object = None, *, key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:  # fmt: skip
        """Change something, by POST under its idempotency key; returns the answer's body. Raises ApiRefusal."""
        given = dict(headers or {}) | ({} if key is None else {"Idempotency-Key": key})
        return await self._call(method, path, json.dumps({} if body is None else body).encode(), headers=given)

    async def _call(
        self, method: str, path: str, body: bytes = b"", *, query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:  # fmt: skip
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            return unread.pop() if unread else {"type": "http.disconnect"}

        sent = [(b"content-type", _JSON), (b"content-length", str(len(body)).encode())]
        sent += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        return await self._answered(self._scope(method, path, query, sent), receive)

    def stream(self, path: str, query: Query | None = None) -> Response:
        """A response that passes on what the API streams, such as a file. A problem becomes ApiRefusal."""
        return _Passed(self._app, self._scope("GET", path, query, []))

    async def upload(
        self, path: str, receive: Receive, headers: Sequence[tuple[bytes, bytes]], query: Query | None = None
    ) -> bytes:
        """Pass a form with a file on as it comes, with its own headers; returns the answer's body.

        Raises ApiRefusal.
        """
        return await self._answered(self._scope("POST", path, query, headers), receive)

    async def _answered(self, scope: Scope, receive: Receive) -> bytes:
        """The body of the whole answer."""
        start: Message = {}
        parts: list[bytes] = []

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                parts.append(message.get("body", b""))

        await self._app(scope, receive, send)
        return _checked(start["status"], b"".join(parts))

    def _scope(
        self, method: str, path: str, query: Query | None, headers: Sequence[tuple[bytes, bytes]]
    ) -> Scope:  # fmt: skip
        flat = [
            (name, _text(value))
            for name, given in (query or {}).items()
            if given is not None
            for value in ([given] if isinstance(given, (str, int, bool)) else given)
        ]
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": _VERSION + unquote(path),
            "raw_path": (_VERSION + path).encode(),
            "root_path": "",
            "query_string": urlencode(flat).encode(),
            "headers": list(headers),
            "client": None,
            "server": None,
            "state": {"caller": self._caller},
        }


def part(text: str) -> str:
    """A part of a path, such as a program's name or a code."""
    return quote(text, safe="")


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _checked(status: int, body: bytes) -> bytes:
    if status >= 400:
        raise ApiRefusal(json.loads(body))
    return body


class _Passed(Response):
    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        super().__init__()
        self._app = app
        self._inner = scope

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        refused: list[bytes] = []
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            if status < HTTPStatus.BAD_REQUEST:
                await send(message)
            else:
                refused.append(message.get("body", b""))

        await self._app(self._inner, receive, send_on)
        if status >= HTTPStatus.BAD_REQUEST:
            _checked(status, b"".join(refused))
