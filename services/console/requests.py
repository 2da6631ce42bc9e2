"""Each request has an id, in its answer and in every log line of it, and an answer even when an endpoint breaks."""

import re
import time
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.client.uuid7 import uuid7
from services.console.problems import problem

log = structlog.get_logger()

_HEADER: Final = "X-Request-Id"
_SANE: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")


class RequestIds:
    """Takes or makes the id of each request, and logs what was refused or went wrong."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(_HEADER, "")
        request_id = given if _SANE.fullmatch(given) else str(uuid7())
        status = 0
        began = time.monotonic()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[_HEADER] = request_id
            await send(message)

        bound = structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("request_broke")
            if status:
                raise
            sentence = "Something went wrong here: tell the operator the X-Request-Id of this answer."
            await problem(500, sentence)(scope, receive, send_with_id)
        finally:
            self._note(scope, status, time.monotonic() - began)
            structlog.contextvars.reset_contextvars(**bound)

    def _note(self, scope: Scope, status: int, took_s: float) -> None:
        # A path may hold a code, and no log does; the route does not. What went well is too much for every day.
        route = getattr(scope.get("route"), "path", None)
        write = log.debug if status < 400 else log.info
        write("answered", method=scope["method"], route=route, status=status, took_ms=round(took_s * 1000, 1))
