"""Batches concurrent activations of one program into one transaction."""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg
from fastapi.responses import Response

from codewell.access import stored_responses
from codewell.access.stored_responses import StoredResponse, TokenKey
from codewell.codes import activation
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import ACQUIRE_TIMEOUT_S, Pool
from codewell.infra.process.coalescer import Coalescer
from codewell.pool.minter_cache import Minters
from services.console.http.auth import ProgramAccess
from services.console.http.idempotency import Idempotency, ok_response, stored_response
from services.console.http.problems import refusal
from services.console.routes.code_shape import code_of


class _Activation(NamedTuple):
    idempotency: Idempotency
    code: str


class Activations:
    """Activates codes, once for each idempotency key; responses are stored in the same transaction."""

    def __init__(self, pool: Pool, minters: Minters) -> None:
        self._pool = pool
        self._minters = minters
        self._coalescer: Coalescer[ProgramAccess, _Activation, Response | None] = Coalescer(
            self._activate, timeout_s=ACQUIRE_TIMEOUT_S
        )

    async def activate(self, program: ProgramAccess, idempotency: Idempotency, code: str) -> Response | None:
        """The response, or None when the code has to be activated outside a batch; then nothing was changed."""
        return await self._coalescer.submit(program, _Activation(idempotency, code))

    async def _activate(self, program: ProgramAccess, activations: Sequence[_Activation]) -> list[Response | None]:
        try:
            return await self._activate_batch(program, activations)
        except (asyncpg.UniqueViolationError, asyncpg.DataError):
            # Another console used the same key first, or Postgres can't store one of the texts.
            return [None] * len(activations)

    async def _activate_batch(
        self, program: ProgramAccess, activations: Sequence[_Activation]
    ) -> list[Response | None]:
        # One activation for each key and each code; duplicates are activated outside the batch.
        of_key: dict[TokenKey, _Activation] = {}
        of_code: dict[str, _Activation] = {}
        answers: dict[_Activation, Response] = {}
        async with self._pool.acquire() as connection, connection.transaction():
            known = await stored_responses.get_responses(
                connection, [one.idempotency.key for one in activations if one.idempotency.key]
            )
            for one in activations:
                key = one.idempotency.key
                if key is not None and key in known:
                    answers[one] = stored_response(known[key], one.idempotency.fingerprint)
                elif one.code not in of_code and (key is None or of_key.setdefault(key, one) is one):
                    of_code[one.code] = one
            outcomes = await activation.activate_many(
                ProgramCodes(connection, self._minters, program.id), list(of_code)
            )
            kept: dict[TokenKey, StoredResponse] = {}
            for one, outcome in zip(of_code.values(), outcomes, strict=True):
                if outcome is None:
                    continue
                answers[one] = answer = (
                    refusal(outcome)
                    if isinstance(outcome, CodewellError)
                    else ok_response(code_of(program.name, outcome), 200)
                )
                if one.idempotency.key is not None:
                    kept[one.idempotency.key] = one.idempotency.kept(answer)
            if kept:
                await stored_responses.store_responses(connection, kept)
        return [answers.get(one) for one in activations]
