"""What a console answers until its database does."""

import json
from http import HTTPStatus
from typing import Final

from codewell.infra.http.limits import Application, Receive, Scope, Send, respond
from codewell.infra.telemetry.health import Probes
from codewell.reasons import problem_document
from services.console.http.problems import MEDIA_TYPE

_RETRY_AFTER_S: Final = 5
_DETAIL: Final = f"This console waits for its database: try again in {_RETRY_AFTER_S} s."


class Front:
    """An application in whose place another one comes while it is served."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, by whichever application is there when it begins."""
        await self.app(scope, receive, send)


class Starting:
    """An application that serves the probes, and a problem at any other path."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._body: Final = json.dumps(problem_document("database_unavailable", _DETAIL)).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Its body, if any, is not read."""
        if scope["path"] in self._probes.paths:
            await self._probes(scope, receive, send)
        else:
            later = {"retry-after": str(_RETRY_AFTER_S)}
            await respond(send, HTTPStatus.SERVICE_UNAVAILABLE, MEDIA_TYPE, self._body, later)
