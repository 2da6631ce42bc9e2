"""Authentication by bearer tokens, and authorization by scopes and access groups."""

import time
from functools import partial
from typing import Annotated, Final, NamedTuple

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connected

from codewell.access import sessions, tokens
from codewell.access.tokens import Token
from codewell.errors import ProgramUnknown
from codewell.infra.postgres.connection import Connection, Pool
from codewell.programs import programs
from codewell.reasons import PROBLEMS
from schemas.program import Program
from schemas.token import Scope
from services.console.http.problems import AWAY, HttpProblem, problem, unavailable
from services.console.http.recent_cache import ENTRIES_MAX, RecentCache
from services.console.http.shared_reads import SharedReads

API_PREFIX: Final = "/api/"
# How long a console may still accept a revoked token, or a program's old access groups after another console changed
# them.
CACHE_TTL_S: Final = 5.0
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="codewell"'}


class ProgramAccess(NamedTuple):
    """The fields of a program that decide about access."""

    id: int
    name: str
    groups: tuple[str, ...]


class Authenticator:
    """Finds tokens by their secrets; caches tokens in force and programs for CACHE_TTL_S."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._cache = RecentCache[Token]()
        self._reads = SharedReads[bytes, Token | None](CACHE_TTL_S)
        self._programs: dict[str, tuple[float, ProgramAccess]] = {}

    async def find(self, authorization: str | None) -> Token | None:
        """The token in force of an Authorization header, or None. Raises what asyncpg raises."""
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        key = tokens.hash_of(secret.strip())
        token = self._cache.get(key, CACHE_TTL_S)
        return await self._reads.read(key, partial(self._read, key)) if token is None else token

    async def _read(self, key: bytes) -> Token | None:
        now = time.monotonic()
        async with self._pool.acquire() as connection:
            token = await tokens.authenticate(connection, key)
        self._cache.put(key, token, now)
        return token

    async def program(self, caller: Token, name: str) -> ProgramAccess:
        """The program of this name, cached. Raises ProgramUnknown when it does not exist or the caller may not see it.

        Only the access groups are cached; all other rules are read in the transaction of each step. A caller without
        access always causes a query, as for an unknown program: neither answer nor timing reveals that it exists.
        """
        seen_at, known = self._programs.get(name, (0.0, None))
        now = time.monotonic()
        if known is None or now - seen_at >= CACHE_TTL_S or not caller.sees(known.groups):
            async with self._pool.acquire() as connection:
                found = await programs.get(connection, name, caller.groups)
            known = ProgramAccess(found.id, found.name, found.groups)
            if len(self._programs) >= ENTRIES_MAX:
                self._programs.clear()
            self._programs[name] = (now, known)
        if not caller.sees(known.groups):
            raise ProgramUnknown(name)
        return known

    async def may_still_read(self, caller: Token, name: str) -> bool:
        """Whether the caller's token, and session if there is one, is still in force and sees this program.

        By the database. Raises what asyncpg raises.
        """
        async with self._pool.acquire() as connection:
            if caller.session_id is None:
                is_in_force = await tokens.is_in_force(connection, caller.id)
            else:
                is_in_force = bool(await sessions.in_force(connection, [caller.session_id]))
            if not is_in_force:
                return False
            try:
                await visible_program(connection, caller, name)
            except ProgramUnknown:
                return False
        return True

    def forget_token(self, token_id: int) -> None:
        """Drop a token from the cache after it was revoked here."""
        self._cache.forget(lambda one: one.id == token_id)

    def forget(self, name: str) -> None:
        """Drop the program from the cache after a change."""
        self._programs.pop(name, None)


class AuthMiddleware:
    """Refuses API requests without a token in force, before routing and validation."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Connected, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(API_PREFIX):
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._authenticator.find(Headers(scope=scope).get("authorization"))
        except AWAY as error:
            await unavailable(error)(scope, receive, send)
            return
        if caller is None:
            await problem("token_invalid", PROBLEMS["token_invalid"].example, _CHALLENGE)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)


_BEARER: Final = HTTPBearer(auto_error=False, description="A token from `codewell token create`.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]


class RequiresScope:
    """FastAPI dependency: the caller's token; 403 unless it has one of these scopes."""

    def __init__(self, *scopes: Scope) -> None:
        self._scopes = scopes

    async def __call__(self, request: Request, _: Credentials) -> Token:
        """The caller's token."""
        caller: Token = request.state.caller
        if not caller.may(*self._scopes):
            raise HttpProblem(
                "scope_missing", f"This request needs a token with the scope {' or '.join(self._scopes)}."
            )
        return caller


Reader = Annotated[Token, Depends(RequiresScope("read"))]
Writer = Annotated[Token, Depends(RequiresScope("write"))]
# A shop looks a code up before it redeems it, and support before it reissues it.
Viewer = Annotated[Token, Depends(RequiresScope("read", "redeem", "support"))]
Redeemer = Annotated[Token, Depends(RequiresScope("redeem"))]
Supporter = Annotated[Token, Depends(RequiresScope("support"))]
Admin = Annotated[Token, Depends(RequiresScope("admin"))]


def require_profiles(caller: Token) -> None:
    """Raise HttpProblem (403) unless the token may see fields of profiles."""
    if not caller.sees_profiles:
        sentence = "Profiles belong to no access group: use a token without groups, or one with the scope profiles."
        raise HttpProblem("group_refused", sentence)


async def visible_program(connection: Connection, caller: Token, name: str) -> Program:
    """The program of this name. Raises ProgramUnknown when it does not exist or the caller may not see it."""
    return await programs.get(connection, name, caller.groups)
