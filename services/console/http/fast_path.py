"""Attach, activate, hold, release and look up a code without the web framework.

The framework takes longer than the request's own work. A plain request is served here, in front of all middleware, by
the functions that the endpoints of `code_lifecycle`, `till` and `codes` call. Any other request goes to the framework,
which answers it or says what is wrong with it; nothing of it was done before.
"""

import re
from functools import partial
from typing import Final, NamedTuple

from fastapi.responses import Response
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codewell.access.tokens import Token
from codewell.infra.digits import whole_number
from codewell.infra.telemetry.tracing import Tracing
from schemas import patterns
from schemas.api import Attach
from schemas.till import Activate, Hold, Release
from schemas.token import Scope as TokenScope
from services.console.context import Context
from services.console.http.body_limit import BODY_BYTES_MAX, whole_body
from services.console.http.idempotency import (
    KEY_CHARACTERS_MAX,
    Idempotency,
    fingerprint,
    is_json,
    ok_response,
)
from services.console.http.problems import AWAY, HttpProblem, answer_to
from services.console.http.request_ids import RequestIds
from services.console.routes.code_lifecycle import attach
from services.console.routes.code_lookup import code_of_text
from services.console.routes.code_shape import code_of
from services.console.routes.till import take_step, till_request


class _Route(NamedTuple):
    """The same path as the endpoint's, for logs and metrics."""

    path: str


class _Kind(NamedTuple):
    """What is asked: its shape, None for a look-up, and the scopes of which a caller needs one."""

    shape: type[Attach | Activate | Release] | None
    scopes: tuple[TokenScope, ...]
    route: _Route


def _step(step: str, shape: type[Attach | Activate | Release], scope: TokenScope) -> _Kind:
    return _Kind(shape, (scope,), _Route(f"/programs/{{name}}/codes:{step}"))


_STEPS: Final = {
    "attach": _step("attach", Attach, "write"),
    "activate": _step("activate", Activate, "redeem"),
    "hold": _step("hold", Hold, "redeem"),
    "release": _step("release", Release, "redeem"),
}
_LOOK_UP: Final = _Kind(None, ("read", "redeem", "support"), _Route("/programs/{name}/codes/{code:path}"))
_STEP_PATH: Final = re.compile(rf"/api/v1/programs/({patterns.NAME})/codes:({'|'.join(_STEPS)})")
_CODE_PATH: Final = re.compile(rf"/api/v1/programs/({patterns.NAME})/codes/(.{{1,1000}})")
# What needs no decoding. Its length is at most that of a context.
_QUERY: Final = re.compile(rb"(?:context=([A-Za-z0-9._~-]{1,200}))?")
_KEY: Final = re.compile(patterns.IDEMPOTENCY_KEY, re.ASCII)
# A plain request has at most one each of these; the framework decides what several mean.
_READ: Final = frozenset({b"authorization", b"content-type", b"content-length", b"idempotency-key"})
_ACCEPTED: Final = "accepted"


class _Plain(NamedTuple):
    """A plain request, as its head says it."""

    kind: _Kind
    program: str
    code: str
    context: str | None
    """Of a look-up. A step has both in its body."""
    authorization: str | None
    key: str | None


class _Accepted(NamedTuple):
    """A plain request that is served here."""

    plain: _Plain
    caller: Token
    body: bytes
    wanted: Attach | Activate | Release | None
    """What the body says; None for a look-up."""


class FastPath:
    """Serves plain requests; `others` is the application with the endpoints, which serves all others."""

    def __init__(self, here: Context, others: ASGIApp, tracing: Tracing | None) -> None:
        self._here = here
        self._others = others
        self._serve = RequestIds(self._answer, tracing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        plain = _plain(scope)
        caller = None if plain is None else await self._caller(plain)
        if plain is None or caller is None:
            await self._others(scope, receive, send)
            return
        body, wanted = b"", None
        if plain.kind.shape is not None:
            try:
                body = await whole_body(scope, receive)
            except ClientDisconnect:
                return
            except HttpProblem as problem:
                await self._others(scope, partial(_fail, problem), send)
                return
            try:
                wanted = plain.kind.shape.model_validate_json(body)
            except ValidationError:
                await self._others(scope, _replay_body(body, receive), send)
                return
        scope["route"], scope["path_params"] = plain.kind.route, {"name": plain.program}
        scope.setdefault("state", {})[_ACCEPTED] = _Accepted(plain, caller, body, wanted)
        await self._serve(scope, receive, send)

    async def _caller(self, plain: _Plain) -> Token | None:
        """The caller, if it may ask for this."""
        try:
            caller = await self._here.authenticator.find(plain.authorization)
        except AWAY:
            # The framework's middleware asks the database once more, and says that it is away.
            return None
        return caller if caller is not None and caller.may(*plain.kind.scopes) else None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._response(scope, scope["state"][_ACCEPTED])
        except Exception as error:
            refused = answer_to(error)
            if refused is None:
                raise
            response = refused
        await response(scope, receive, send)

    async def _response(self, scope: Scope, accepted: _Accepted) -> Response:
        here = self._here
        (_, program, code, context, _, key), caller, body, wanted = accepted
        if wanted is None:
            async with code_of_text(here, caller, program, code, context) as (_, found):
                return ok_response(code_of(program, found), 200)
        idempotency = Idempotency(here.pool, caller.id, key, fingerprint(scope["method"], scope["path"], body))
        if isinstance(wanted, Attach):
            return await attach(here, caller, program, wanted, idempotency)
        return await take_step(here, caller, program, till_request(wanted), idempotency)


def _plain(scope: Scope) -> _Plain | None:
    """The request, if it is plain; else None."""
    if scope["type"] != "http":
        return None
    if scope["method"] == "POST":
        found = _STEP_PATH.fullmatch(scope["path"])
        return None if found is None else _step_of(scope, *found.groups())
    if scope["method"] == "GET":
        found = _CODE_PATH.fullmatch(scope["path"])
        return None if found is None else _look_up_of(scope, *found.groups())
    return None


def _step_of(scope: Scope, program: str, step: str) -> _Plain | None:
    headers = _headers(scope)
    if headers is None:
        return None
    key = headers.get(b"idempotency-key")
    if key is not None and (len(key) > KEY_CHARACTERS_MAX or _KEY.fullmatch(key) is None):
        return None
    length = whole_number(headers.get(b"content-length"))
    if length is None or length > BODY_BYTES_MAX or not is_json(headers.get(b"content-type", "")):
        return None
    return _Plain(_STEPS[step], program, "", None, headers.get(b"authorization"), key)


def _look_up_of(scope: Scope, program: str, code: str) -> _Plain | None:
    query, headers = _QUERY.fullmatch(scope["query_string"]), _headers(scope)
    if query is None or headers is None:
        return None
    context = None if query[1] is None else query[1].decode()
    return _Plain(_LOOK_UP, program, code, context, headers.get(b"authorization"), None)


def _headers(scope: Scope) -> dict[bytes, str] | None:
    """The headers that matter, or None if one of them is there more than once."""
    given = [(name, value) for name, value in scope["headers"] if name in _READ]
    headers = {name: value.decode("latin-1") for name, value in given}
    return headers if len(headers) == len(given) else None


async def _fail(problem: HttpProblem) -> Message:
    raise problem


def _replay_body(body: bytes, receive: Receive) -> Receive:
    """Replay a body that was already read, then continue with `receive`."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again
