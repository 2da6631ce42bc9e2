"""Idempotency of POST requests: one execution for each `Idempotency-Key`, and its stored response for repeats."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeVar

import asyncpg
from fastapi import Depends, Header, HTTPException, Request
from fastapi.responses import Response
from pydantic import BaseModel

from codewell.access import stored_responses
from codewell.access.stored_responses import StoredResponse, TokenKey
from codewell.access.tokens import Token
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Connection, Pool
from services.console.http.problems import RETRY_AFTER_S, problem, refusal, try_later

_JSON: Final = "application/json"
KEY_PATTERN: Final = r"[!-~]+"
KEY_CHARACTERS_MAX: Final = 255

M = TypeVar("M", bound=BaseModel)

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=KEY_CHARACTERS_MAX,
        pattern=f"^{KEY_PATTERN}$",
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
        self, work: Callable[[Connection], Awaitable[M]], made: Callable[[M], None], status: int = 201
    ) -> Response:
        """Do the work and store its response under the key in one transaction, or return the stored response.

        `made` is called after the commit, unless the response was a stored one. A refusal is stored too, and the work
        before it is rolled back. Without a key, raises what the work raises.
        """
        try:
            return await self._answer(work, made, status)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name != "idempotency_once":
                raise
            # A batched activation, which takes no lock on the key, stored its response first. This work was rolled
            # back, and the stored response exists now.
            return await self._answer(work, made, status)

    async def _answer(
        self, work: Callable[[Connection], Awaitable[M]], made: Callable[[M], None], status: int
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
                except CodewellError as error:
                    if error.retriable:
                        raise
                    response = refusal(error)
                await stored_responses.store_response(connection, *self.key, self.kept(response))
        if result is not None:
            made(result)
        return response

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
            raise try_later(409, sentence, RETRY_AFTER_S) from error
        if known is None:
            return None
        return stored_response(known, self.fingerprint)


def stored_response(known: StoredResponse, fingerprint: bytes) -> Response:
    """The stored response, or 422 when the key was used with another request."""
    if known.fingerprint != fingerprint:
        return problem(422, "This Idempotency-Key was used for another request: use a new key for each request.")
    return Response(known.body, known.status, media_type=known.media_type)


def ok_response(result: BaseModel, status: int) -> Response:
    """A response of a success."""
    return Response(result.model_dump_json(), status, media_type=_JSON)


def is_json(content_type: str) -> bool:
    """Whether this header says that the body is JSON."""
    return content_type.partition(";")[0].strip().lower() == _JSON


def fingerprint(method: str, path: str, body: bytes) -> bytes:
    """A hash that identifies the request under its key."""
    return hashlib.sha256(b"\n".join((method.encode(), path.encode(), body))).digest()


async def idempotency(request: Request, key: Key = None) -> Idempotency:
    """FastAPI dependency of POST endpoints: requires a JSON body, and applies the idempotency key."""
    if not is_json(request.headers.get("content-type", "")):
        raise HTTPException(415, "Send JSON, with the header Content-Type: application/json.")
    caller: Token = request.state.caller
    asked = fingerprint(request.method, request.scope["path"], await request.body())
    return Idempotency(request.app.state.context.pool, caller.id, key, asked)


IdempotencyGuard = Annotated[Idempotency, Depends(idempotency)]
