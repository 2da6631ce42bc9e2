"""Who asks: the token of a request, what it may do, and which programs are there for it."""

import time
from typing import Annotated, Final, NamedTuple

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connected

from codewell.access import tokens
from codewell.access.tokens import Scope, Token
from codewell.errors import ProgramUnknown
from codewell.infra.postgres.connection import Connection, Pool
from codewell.programs import programs
from schemas.program import Program
from services.console.http.problems import AWAY, problem, unavailable

GUARDED: Final = "/api/"
# For so long a revoked token may go on working in a console that has seen it, and a program be seen whose access
# groups were changed in another console.
REMEMBERED_S: Final = 5.0
_REMEMBERED_MAX: Final = 10_000
_MUST_AUTHENTICATE: Final = {"WWW-Authenticate": 'Bearer realm="codewell"'}


class KnownToken(NamedTuple):
    """What of a program decides who sees it."""

    id: int
    name: str
    groups: tuple[str, ...]


class Authenticator:
    """Finds tokens by their secrets, and remembers those in force for some seconds."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._remembered: dict[bytes, tuple[float, Token]] = {}
        self._programs: dict[str, tuple[float, KnownToken]] = {}

    async def find(self, authorization: str | None) -> Token | None:
        """The token in force that this header gives, or None. Raises what asyncpg raises."""
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        key = tokens.hash_of(secret.strip())
        seen_at, token = self._remembered.get(key, (0.0, None))
        now = time.monotonic()
        if token is not None and now - seen_at < REMEMBERED_S:
            return token
        async with self._pool.acquire() as connection:
            token = await tokens.in_force(connection, key)
        self._remembered.pop(key, None)
        if token is not None:
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[key] = (now, token)
        return token

    async def program(self, caller: Token, name: str) -> KnownToken:
        """The program of this name, if it is the caller's: ProgramUnknown otherwise. Remembered for some seconds.

        Only who may see it is remembered; its rules are the database's, at the moment of each step. Who may not see it
        has the database asked each time, as for a program that is not there: the time it takes tells them apart no more
        than the answer.
        """
        seen_at, known = self._programs.get(name, (0.0, None))
        now = time.monotonic()
        if known is None or now - seen_at >= REMEMBERED_S or not caller.sees(known.groups):
            async with self._pool.acquire() as connection:
                found = await programs.get(connection, name)
            known = KnownToken(found.id, found.name, found.groups)
            if len(self._programs) >= _REMEMBERED_MAX:
                self._programs.clear()
            self._programs[name] = (now, known)
        if not caller.sees(known.groups):
            raise ProgramUnknown(name)
        return known

    def forget(self, name: str) -> None:
        """Look the program up anew, as it has just been changed here."""
        self._programs.pop(name, None)


class AuthMiddleware:
    """Lets nobody without a token in force through to the API, whatever the path and whatever else is wrong."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._callers = authenticator

    async def __call__(self, scope: Connected, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(GUARDED):
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._callers.find(Headers(scope=scope).get("authorization"))
        except AWAY as error:
            await unavailable(error)(scope, receive, send)
            return
        if caller is None:
            sentence = (
                "Send the header Authorization: Bearer TOKEN with a valid token; create one with codewell token create."
            )
            await problem(401, sentence, _MUST_AUTHENTICATE)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)


_BEARER: Final = HTTPBearer(auto_error=False, description="A token from `codewell token create`.")
Given = Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]


class RequiresScope:
    """A dependency that gives the caller's token when it has one of these scopes, and refuses it otherwise."""

    def __init__(self, *scopes: Scope) -> None:
        self._scopes = scopes

    async def __call__(self, request: Request, _: Given) -> Token:
        """The caller's token."""
        caller: Token = request.state.caller
        if not caller.may(*self._scopes):
            raise HTTPException(403, f"This request needs a token with the scope {' or '.join(self._scopes)}.")
        return caller


Reader = Annotated[Token, Depends(RequiresScope("read"))]
Writer = Annotated[Token, Depends(RequiresScope("write"))]
# The shop looks at a code before it redeems it.
Viewer = Annotated[Token, Depends(RequiresScope("read", "redeem"))]
Redeemer = Annotated[Token, Depends(RequiresScope("redeem"))]
Admin = Annotated[Token, Depends(RequiresScope("admin"))]


async def visible(connection: Connection, caller: Token, name: str) -> Program:
    """The program of this name. One that is not the caller's is unknown like one that is not there: ProgramUnknown."""
    program = await programs.get(connection, name)
    if not caller.sees(program.groups):
        raise ProgramUnknown(name)
    return program
