"""No request's body may be larger than what the API can have use for."""

import re
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.console.problems import problem

BODY_BYTES_MAX: Final = 1024 * 1024
_UPLOAD: Final = re.compile(r"/api/v1/programs/[^/]+/imports")


class BodyLimit:
    """Refuses a body above the limit: by its announced length, or once that much of it has come.

    An upload by who may write may have `upload_bytes_max`, and as much around its file as another body.
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
        # A body is read before an endpoint looks at who sends it.
        if _UPLOAD.fullmatch(scope["path"]) and scope["state"]["caller"].may("write"):
            limit += self._upload_bytes_max
        sentence = f"A body may have {limit:,} bytes: send less at once."
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            await problem(413, sentence)(scope, receive, send)
            return
        came = 0

        async def receive_some() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > limit:
                raise HTTPException(413, sentence)
            return message

        await self._app(scope, receive_some, send)
