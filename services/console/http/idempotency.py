"""Idempotency of POST requests: one execution for each `Idempotency-Key`, and its stored response for repeats."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeVar

import asyncpg
from fastapi import Depends, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel

from codewell.access import stored_responses
from codewell.access.stored_responses import StoredResponse, TokenKey
from codewell.access.tokens import Token
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.postgres.constraints import violates
from codewell.reasons import PROBLEMS
from schemas import patterns
from services.console.http.problems import RETRY_AFTER_S, HttpProblem, problem, refusal, try_later

_JSON: Final = "application/json"
KEY_CHARACTERS_MAX: Final = 255

M = TypeVar("M", bound=BaseModel)

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=KEY_CHARACTERS_MAX,
        pattern=patterns.IDEMPOTENCY_KEY,
        description="Repeating a request with its key returns the stored response, for at least a day.",
        examples=["0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10"],
    ),
]


class Idempotency:
    """The idempotency of one request; `may_name_profile` says whether its response can contain a profile id."""

    def __init__(
        self, pool: Pool, token_id: int, key: str | None, fingerprint: bytes, *, may_name_profile: bool = True
    ) -> None:
        self._pool = pool
        self._may_name_profile = may_name_profile
        self.key: TokenKey | None = None if key is None else (token_id, key)
        self.fingerprint = fingerprint

    async def answer(
        self,
        work: Callable[[Connection], Awaitable[M]],
        made: Callable[[M], None],
        status: int = 201,
        to_store: Callable[[M], M] = lambda result: result,
    ) -> Response:
        """Do the work and store its response under the key in one transaction, or return the stored response.

        `made` is called after the commit, unless the response was a stored one. A refusal is stored too, and the work
        before it is rolled back. Without a key, raises what the work raises. `to_store` leaves out of the stored
        response what only the first answer may have, such as a secret.
        """
        try:
            return await self._answer(work, made, status, to_store)
        except asyncpg.UniqueViolationError as error:
            if not violates(error, "idempotency_once"):
                raise
            # A batched activation, which takes no lock on the key, stored its response first. This work was rolled
            # back, and the stored response exists now.
            return await self._answer(work, made, status, to_store)

    async def _answer(
        self,
        work: Callable[[Connection], Awaitable[M]],
        made: Callable[[M], None],
        status: int,
        to_store: Callable[[M], M],
    ) -> Response:
        result = None
        async with self._pool.acquire() as connection, connection.transaction():
            if self.key is None:
                result = await work(connection)
                response = ok_response(result, status)
            else:
                known = await self._known(connection, *self.key)
                if known is not None:
                    return known
                try:
                    async with connection.transaction():
                        result = await work(connection)
                    response = ok_response(result, status)
                    stored = ok_response(to_store(result), status)
                except CodewellError as error:
                    if error.retriable:
                        raise
                    response = stored = refusal(error)
                await stored_responses.store_response(connection, *self.key, self.kept(stored))
        if result is not None:
            made(result)
        return response

    async def answer_apart(self, work: Callable[[], Awaitable[M]], status: int) -> Response:
        """Do work that commits by itself, then store its response; or return the stored response.

        A crash between the two does the work again at the next attempt, so it must be safe to repeat.
        """
        if self.key is None:
            return ok_response(await work(), status)
        known = await self.stored()
        if known is not None:
            return known
        try:
            response = ok_response(await work(), status)
        except CodewellError as error:
            if error.retriable:
                raise
            response = refusal(error)
        async with self._pool.acquire() as connection, connection.transaction():
            known = await self._known(connection, *self.key)
            if known is None:
                await stored_responses.store_response(connection, *self.key, self.kept(response))
        return known or response

    async def stored(self) -> Response | None:
        """The response that is stored under the key, if there is one: for a route that reads before its work."""
        if self.key is None:
            return None
        async with self._pool.acquire() as connection, connection.transaction():
            return await self._known(connection, *self.key)

    async def refuse(self, error: CodewellError) -> Response:
        """Store a refusal from before the work, or return the stored response. Without a key, raises the error."""

        async def work(_: Connection) -> BaseModel:
            raise error

        return await self.answer(work, lambda _: None)

    def kept(self, response: Response) -> StoredResponse:
        """The stored form of the response to this request."""
        media_type = response.media_type or _JSON
        return StoredResponse(self.fingerprint, response.status_code, media_type, bytes(response.body))

    async def _known(self, connection: Connection, token_id: int, key: str) -> Response | None:
        try:
            known = await stored_responses.get_response(
                connection, token_id, key, may_name_profile=self._may_name_profile
            )
        except asyncpg.LockNotAvailableError as error:
            sentence = "Another request with this Idempotency-Key is not done yet: try again in a moment."
            raise try_later("idempotency_key_busy", sentence, RETRY_AFTER_S) from error
        if known is None:
            return None
        return stored_response(known, self.fingerprint)


def stored_response(known: StoredResponse, fingerprint: bytes) -> Response:
    """The stored response, or 422 when the key was used with another request."""
    if known.fingerprint != fingerprint:
        return problem("idempotency_key_reused", PROBLEMS["idempotency_key_reused"].example)
    return Response(known.body, known.status, media_type=known.media_type)


def ok_response(result: BaseModel, status: int) -> Response:
    """A response of a success."""
    return Response(result.model_dump_json(by_alias=True), status, media_type=_JSON)


def is_json(content_type: str) -> bool:
    """Whether this header says that the body is JSON."""
    return content_type.partition(";")[0].strip().lower() == _JSON


def fingerprint(method: str, path: str, body: bytes) -> bytes:
    """A hash that identifies the request under its key."""
    return hashlib.sha256(b"\n".join((method.encode(), path.encode(), body))).digest()


async def idempotency(request: Request, key: Key = None) -> Idempotency:
    """FastAPI dependency of POST endpoints: applies the idempotency key. Raises HttpProblem unless the body is JSON."""
    if not is_json(request.headers.get("content-type", "")):
        raise HttpProblem("body_not_json", PROBLEMS["body_not_json"].example)
    return await bodyless_idempotency(request, key)


async def bodyless_idempotency(request: Request, key: Key = None) -> Idempotency:
    """FastAPI dependency of POST endpoints that need no body: applies the idempotency key."""
    caller: Token = request.state.caller
    asked = fingerprint(request.method, request.scope["path"], await request.body())
    return Idempotency(request.app.state.context.pool, caller.id, key, asked)


IdempotencyGuard = Annotated[Idempotency, Depends(idempotency)]
BodylessIdempotencyGuard = Annotated[Idempotency, Depends(bodyless_idempotency)]
