"""Limits the size and the transfer time of request bodies."""

import asyncio
import re
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.console.http.problems import problem

BODY_BYTES_MAX: Final = 1024 * 1024
BODY_TIMEOUT_S: Final = 60.0
# An upload has no total timeout, only one between its chunks.
UPLOAD_PAUSE_MAX_S: Final = 30.0
_CLOSE: Final = {"Connection": "close"}
_UPLOAD: Final = re.compile(r"/api/v1/programs/[^/]+/imports")


class BodyLimit:
    """Refuses a body above the limit: by its Content-Length, or once more than the limit was received.

    An upload with the scope write may have `upload_bytes_max` on top, for its file.
    """

    def __init__(self, app: ASGIApp, upload_bytes_max: int) -> None:
        self._app = app
        self._upload_bytes_max = upload_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = BODY_BYTES_MAX
        is_upload = False
        # Checked here, as FastAPI reads the body before the endpoint checks the scope.
        if _UPLOAD.fullmatch(scope["path"]) and scope["state"]["caller"].may("write"):
            limit += self._upload_bytes_max
            is_upload = True
        sentence = f"A body may have {limit:,} bytes: send less per request."
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            await problem(413, sentence)(scope, receive, send)
            return
        came, is_whole = 0, False
        loop = asyncio.get_running_loop()
        comes_until = loop.time() + BODY_TIMEOUT_S

        async def receive_some() -> Message:
            nonlocal came, is_whole
            if is_whole:
                # The application now waits for the disconnect.
                return await receive()
            try:
                async with asyncio.timeout_at(loop.time() + UPLOAD_PAUSE_MAX_S if is_upload else comes_until):
                    message = await receive()
            except TimeoutError:
                # The rest of the body would be read as the next request, so the connection is closed.
                raise HTTPException(408, "The body arrived too slowly: send it without pauses.", _CLOSE) from None
            came += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if came > limit:
                raise HTTPException(413, sentence)
            return message

        await self._app(scope, receive_some, send)
