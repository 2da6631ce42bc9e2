"""Batches concurrent uses, holds and releases of one program's codes into one transaction."""

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
from fastapi.responses import Response

from codewell.access import stored_responses
from codewell.access.stored_responses import StoredResponse, TokenKey
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import ACQUIRE_TIMEOUT_S, Pool
from codewell.infra.postgres.constraints import violates
from codewell.infra.process.coalescer import Coalescer
from codewell.infra.process.trial import Trial
from codewell.pool.minter_cache import Minters
from codewell.profiles.deciding_lock import deciding
from codewell.redemption import till, untouched
from codewell.redemption.batch import Applied, Decided
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


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A step that one request asked for. Each is its own: two requests may ask for the same."""

    idempotency: Idempotency
    request: TillRequest


class TillBatcher:
    """Takes steps, once for each idempotency key; responses are stored in the same transaction."""

    def __init__(self, pool: Pool, minters: Minters, usage: UsageTally) -> None:
        self._pool = pool
        self._usage = usage
        self._minters = minters
        self._repeated_at_s = -math.inf
        # By program: codes that orders hold before they use them are seldom untouched.
        self._trials: defaultdict[int, Trial] = defaultdict(Trial)
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
        trial = self._trials[program.id]
        if not looks and trial.is_due():
            applied = await self._apply_untouched(program, asked)
            trial.note(worked=applied is not None)
            if applied is not None:
                return applied
        async with self._pool.acquire() as connection, deciding(connection):
            keys = [one.idempotency.key for one in asked if looks and one.idempotency.key]
            known = await stored_responses.get_responses(connection, keys) if keys else {}
            repeated = {
                one: stored_response(known[key], one.idempotency.fingerprint)
                for one in asked
                if (key := one.idempotency.key) is not None and key in known
            }
            first = _first(one for one in asked if one not in repeated)
            codes = ProgramCodes(connection, self._minters, program.id)
            decided = await till.decide_all(codes, [one.request for one in first])
            answers = _answers(program, first, decided)
            await till.write(codes, decided, _kept(answers))
        self._count(program, first, decided)
        answers |= repeated
        return [answers.get(one) for one in asked]

    async def _apply_untouched(self, program: ProgramAccess, asked: Sequence[_Asked]) -> list[Response | None] | None:
        """As `_apply_batch` in two round trips; None if the usual way has to do it."""
        first = _first(asked)
        async with self._pool.acquire() as connection:
            codes = ProgramCodes(connection, self._minters, program.id)
            decided = await untouched.decide_all(codes, [one.request for one in first])
            if decided is None:
                return None
            answers = _answers(program, first, decided)
            if not await untouched.write(codes, decided, _kept(answers)):
                return None
        self._count(program, first, decided)
        return [answers.get(one) for one in asked]

    def _count(self, program: ProgramAccess, first: Sequence[_Asked], decided: Decided) -> None:
        steps = [one.request.step for one in first]
        till_metrics.count_all(steps, decided.outcomes)
        activated = sum(
            step == "activate" and isinstance(outcome, Applied) and outcome.is_new
            for step, outcome in zip(steps, decided.outcomes, strict=True)
        )
        if activated:
            self._usage.count(program.id, "activated", number=activated)


def _first(asked: Iterable[_Asked]) -> list[_Asked]:
    """One step for each key; duplicates are taken outside the batch."""
    of_key: dict[TokenKey, _Asked] = {}
    return [one for one in asked if one.idempotency.key is None or of_key.setdefault(one.idempotency.key, one) is one]


def _answers(program: ProgramAccess, first: Sequence[_Asked], decided: Decided) -> dict[_Asked, Response]:
    """The responses to steps that were decided."""
    return {
        one: refusal(outcome)
        if isinstance(outcome, CodewellError)
        else ok_response(code_of(program.name, outcome.facts), 200)
        for one, outcome in zip(first, decided.outcomes, strict=True)
        if outcome is not None
    }


def _kept(answers: Mapping[_Asked, Response]) -> dict[TokenKey, StoredResponse]:
    """The responses to store under their keys."""
    return {
        one.idempotency.key: one.idempotency.kept(answer)
        for one, answer in answers.items()
        if one.idempotency.key is not None
    }
