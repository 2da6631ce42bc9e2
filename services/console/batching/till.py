"""Batches concurrent uses, holds and releases of one program's codes into one transaction."""

import math
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg
from fastapi.responses import Response

from codewell.access import stored_responses
from codewell.access.stored_responses import StoredResponse, TokenKey
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import ACQUIRE_TIMEOUT_S, Pool
from codewell.infra.postgres.constraints import violates
from codewell.infra.process.coalescer import Coalescer
from codewell.pool.minter_cache import Minters
from codewell.profiles.deciding_lock import deciding
from codewell.redemption import till
from codewell.redemption.model import TillRequest
from codewell.usage.tally import UsageTally
from services.console.batching import PAUSE_S, till_metrics
from services.console.http.auth import ProgramAccess
from services.console.http.idempotency import Idempotency, ok_response, stored_response
from services.console.http.problems import refusal
from services.console.routes.code_shape import code_of

# Keys are hardly ever repeated, so a batch does not look for stored responses: a repeated key fails the batch when it
# stores its own, and the batch is made again with that look. For so long all others look too: where one client repeats
# its requests, many do.
_REPEATS_S: Final = 60.0


class _Asked(NamedTuple):
    idempotency: Idempotency
    request: TillRequest


class TillBatcher:
    """Takes steps, once for each idempotency key; responses are stored in the same transaction."""

    def __init__(self, pool: Pool, minters: Minters, usage: UsageTally) -> None:
        self._pool = pool
        self._usage = usage
        self._minters = minters
        self._repeated_at_s = -math.inf
        self._coalescer: Coalescer[ProgramAccess, _Asked, Response | None] = Coalescer(
            self._apply, timeout_s=ACQUIRE_TIMEOUT_S, pause_s=PAUSE_S, ends_early=True
        )

    async def apply(self, program: ProgramAccess, idempotency: Idempotency, request: TillRequest) -> Response | None:
        """The response, or None when the step has to be taken outside a batch; then nothing was changed."""
        return await self._coalescer.submit(program, _Asked(idempotency, request))

    async def _apply(self, program: ProgramAccess, asked: Sequence[_Asked]) -> list[Response | None]:
        looks = time.monotonic() - self._repeated_at_s < _REPEATS_S
        try:
            return await self._apply_batch(program, asked, looks=looks)
        except asyncpg.UniqueViolationError as error:
            if not looks and violates(error, "idempotency_once"):
                self._repeated_at_s = time.monotonic()
                return await self._apply(program, asked)
            # Another console used the same key first.
            return [None] * len(asked)
        except asyncpg.DataError:
            # Postgres can't store one of the texts.
            return [None] * len(asked)

    async def _apply_batch(
        self, program: ProgramAccess, asked: Sequence[_Asked], *, looks: bool
    ) -> list[Response | None]:
        # One step for each key; duplicates are taken outside the batch.
        of_key: dict[TokenKey, _Asked] = {}
        first: list[_Asked] = []
        answers: dict[int, Response] = {}
        activated = 0
        async with self._pool.acquire() as connection, deciding(connection):
            keys = [one.idempotency.key for one in asked if looks and one.idempotency.key]
            known = await stored_responses.get_responses(connection, keys) if keys else {}
            for one in asked:
                key = one.idempotency.key
                if key is not None and key in known:
                    answers[id(one)] = stored_response(known[key], one.idempotency.fingerprint)
                elif key is None or of_key.setdefault(key, one) is one:
                    first.append(one)
            codes = ProgramCodes(connection, self._minters, program.id)
            decided = await till.decide_all(codes, [one.request for one in first])
            kept: dict[TokenKey, StoredResponse] = {}
            for one, outcome in zip(first, decided.outcomes, strict=True):
                if outcome is None:
                    continue
                if isinstance(outcome, CodewellError):
                    answer: Response = refusal(outcome)
                else:
                    activated += one.request.step == "activate" and outcome.is_new
                    answer = ok_response(code_of(program.name, outcome.facts), 200)
                answers[id(one)] = answer
                if one.idempotency.key is not None:
                    kept[one.idempotency.key] = one.idempotency.kept(answer)
            await till.write(codes, decided, kept)
        till_metrics.count_all([one.request.step for one in first], decided.outcomes)
        if activated:
            self._usage.count(program.id, "activated", number=activated)
        return [answers.get(id(one)) for one in asked]
