"""Attach, activate, hold and release without FastAPI's validation and dependencies.

Those take longer than the request's own work. A valid request is served here, by the functions that the endpoints of
`code_lifecycle` and `till` call. Any other one falls back to those endpoints, which produce the error.
"""

import re
from collections.abc import MutableMapping
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codewell.access.tokens import Token
from schemas import patterns
from schemas.api import Attach
from schemas.till import Activate, Hold, Release
from schemas.token import Scope as TokenScope
from services.console.context import Context
from services.console.http.idempotency import (
    KEY_CHARACTERS_MAX,
    Idempotency,
    fingerprint,
    is_json,
    ok_response,
)
from services.console.routes.code_lifecycle import attach
from services.console.routes.till import take_step, till_request

_PATH: Final = re.compile(rf"/api/v1/programs/({patterns.NAME})/codes:(attach|activate|hold|release)")
_KEY: Final = re.compile(patterns.IDEMPOTENCY_KEY, re.ASCII)
_SHAPES: Final[dict[str, type[Attach | Activate | Release]]] = {
    "attach": Attach, "activate": Activate, "hold": Hold, "release": Release,
}  # fmt: skip
_SCOPES: Final[dict[str, TokenScope]] = {
    "attach": "write", "activate": "redeem", "hold": "redeem", "release": "redeem",
}  # fmt: skip


class _Route(NamedTuple):
    path: str


# The same routes as the endpoints', for logs and metrics.
_ROUTES: Final = {step: _Route(f"/programs/{{name}}/codes:{step}") for step in _SHAPES}
# Set in the state of a request that falls back to the endpoints.
_FALLBACK: Final = "not_direct"


class FastPath(BaseRoute):
    """The first route of the API; `others` is the router with the endpoints."""

    def __init__(self, here: Context, others: ASGIApp) -> None:
        self._here = here
        self._others = others

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match requests for these steps whose path, headers and scope are valid."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return Match.NONE, {}
        found = _PATH.fullmatch(scope["path"])
        if found is None or _FALLBACK in scope["state"]:
            return Match.NONE, {}
        given = [(name, value) for name, value in scope["headers"] if name in {b"content-type", b"idempotency-key"}]
        headers = {name: value.decode("latin-1") for name, value in given}
        key = headers.get(b"idempotency-key")
        caller: Token = scope["state"]["caller"]
        is_plain = (
            len(headers) == len(given)
            and is_json(headers.get(b"content-type", ""))
            and (key is None or (len(key) <= KEY_CHARACTERS_MAX and _KEY.fullmatch(key) is not None))
            and caller.may(_SCOPES[found[2]])
        )
        if not is_plain:
            return Match.NONE, {}
        return Match.FULL, {"route": _ROUTES[found[2]], "path_params": {"name": found[1], "step": found[2], "key": key}}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request. Raises what the endpoints raise."""
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            return
        name, step, key = (scope["path_params"][one] for one in ("name", "step", "key"))
        try:
            wanted = _SHAPES[step].model_validate_json(body)
        except ValidationError:
            scope["state"][_FALLBACK] = True
            await self._others(_unrouted(scope), _replay_body(body, receive), send)
            return
        caller: Token = scope["state"]["caller"]
        idempotency = Idempotency(self._here.pool, caller.id, key, fingerprint(scope["method"], scope["path"], body))
        if isinstance(wanted, Attach):
            response = ok_response(await attach(self._here, caller, name, wanted, idempotency), 200)
        else:
            response = await take_step(self._here, caller, name, till_request(wanted), idempotency)
        await response(scope, receive, send)


def _unrouted(scope: MutableMapping[str, Any]) -> Scope:
    return {name: value for name, value in scope.items() if name not in {"route", "path_params"}}


def _replay_body(body: bytes, receive: Receive) -> Receive:
    """Replay a body that was already read, then continue with `receive`."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again
