"""Limits the size and the transfer time of request bodies, and how many files come at a time."""

import asyncio
import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codewell.infra.digits import whole_number
from codewell.infra.http.limits import HAS_BODY
from codewell.reasons import PROBLEMS
from services.console.http.problems import HttpProblem, problem
from services.console.http.stream_limit import StreamLimit

BODY_BYTES_MAX: Final = 1024 * 1024
BODY_TIMEOUT_S: Final = 60.0
# An upload has no total timeout, only one between its chunks, and a speed that it may not fall behind for that long.
UPLOAD_PAUSE_MAX_S: Final = 30.0
UPLOAD_BYTES_PER_S_MIN: Final = 1_000
_CLOSE: Final = {"Connection": "close"}
_API_UPLOAD: Final = re.compile(r"/api/v1/programs/[^/]+/(?:imports(?::preview)?|uploads)")


def is_api_upload(scope: Scope) -> bool:
    """Whether the request uploads a file to the API, by a caller that may.

    Checked before the endpoint, as FastAPI reads the body before the endpoint checks the scope.
    """
    is_upload = scope["method"] == "POST" and _API_UPLOAD.fullmatch(scope["path"]) is not None
    return is_upload and scope["state"]["caller"].may("write")


class BodyLimit:
    """Refuses a body above the limit: by its Content-Length, or once more than the limit was received.

    A request for which `is_upload` says so may have `upload_bytes_max` on top, for its file. Serves the paths under
    `prefix`; others are passed on as they are.
    """

    def __init__(
        self, app: ASGIApp, upload_bytes_max: int, is_upload: Callable[[Scope], bool], prefix: str,
        uploads: StreamLimit | None = None,
    ) -> None:  # fmt: skip
        """`uploads` counts the uploads by their `caller`; None where they are passed on to what counts them."""
        self._app = app
        self._upload_bytes_max = upload_bytes_max
        self._is_upload = is_upload
        self._prefix = prefix
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefix):
            await self._app(scope, receive, send)
            return
        is_upload = self._is_upload(scope)
        limit = BODY_BYTES_MAX + is_upload * self._upload_bytes_max
        announced = whole_number(Headers(scope=scope).get("content-length"))
        if announced is not None and announced > limit:
            await problem("body_too_large", _too_large(limit))(scope, receive, send)
            return
        if not is_upload or self._uploads is None:
            await self._serve(scope, receive, send, limit)
            return
        with ExitStack() as stack:
            try:
                # From before its first byte: each upload becomes a file on the console's disk.
                stack.enter_context(self._uploads.slot(scope["state"]["caller"].id))
            except HttpProblem as refusal:
                headers = {**(refusal.headers or {}), **_CLOSE}
                await problem(refusal.reason, refusal.detail, headers)(scope, receive, send)
                return
            await self._serve(scope, receive, send, limit)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        is_upload = self._is_upload(scope)
        came, is_whole = 0, False
        loop = asyncio.get_running_loop()
        began = loop.time()

        def comes_until() -> float:
            if not is_upload:
                return began + BODY_TIMEOUT_S
            return min(loop.time(), began + came / UPLOAD_BYTES_PER_S_MIN) + UPLOAD_PAUSE_MAX_S

        async def receive_some() -> Message:
            nonlocal came, is_whole
            if is_whole:
                # The application now waits for the disconnect.
                return await receive()
            try:
                async with asyncio.timeout_at(comes_until()):
                    message = await receive()
            except TimeoutError:
                raise _too_slow() from None
            came += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if came > limit:
                raise HttpProblem("body_too_large", _too_large(limit))
            return message

        await self._app(scope, receive_some, send)


async def whole_body(scope: Scope, receive: Receive) -> bytes:
    """The body of a request whose Content-Length is within the limit.

    Raises HttpProblem if it does not come in time, and ClientDisconnect.
    """
    if scope.get("state", {}).get(HAS_BODY):
        return await _body(receive)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _body(receive)
    except TimeoutError:
        raise _too_slow() from None


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _too_slow() -> HttpProblem:
    # The rest of the body would be read as the next request, so the connection is closed.
    return HttpProblem("body_too_slow", PROBLEMS["body_too_slow"].example, _CLOSE)


def _too_large(limit: int) -> str:
    return f"A body may have {limit:,} bytes: send less per request."
