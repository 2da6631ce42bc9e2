"""No request's body may be larger than what the API can have use for."""

from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.console.problems import problem

BODY_BYTES_MAX: Final = 1024 * 1024
_SENTENCE: Final = f"A body may have {BODY_BYTES_MAX:,} bytes: send less at once."


class BodyLimit:
    """Refuses a body above the limit: by its announced length, or once that much of it has come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > BODY_BYTES_MAX:
            await problem(413, _SENTENCE)(scope, receive, send)
            return
        came = 0

        async def receive_some() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > BODY_BYTES_MAX:
                raise HTTPException(413, _SENTENCE)
            return message

        await self._app(scope, receive_some, send)
