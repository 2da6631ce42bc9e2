"""Batches concurrent attachments of one program into one claim."""

from collections.abc import Callable, Mapping, Sequence

import asyncpg

from codewell.infra.postgres.connection import ACQUIRE_TIMEOUT_S, Pool
from codewell.infra.process.coalescer import Coalescer
from codewell.issuing.claim import Claims
from codewell.issuing.claim_result import ClaimResult
from codewell.issuing.model import Request
from codewell.pool.demand import LowPool
from codewell.pool.minter_cache import Minters
from codewell.usage.tally import UsageTally
from services.console.batching import PAUSE_S


class ClaimBatcher:
    """Same interface as `Claims`; concurrent requests share a claim. `on_low` is called with pools below their mark."""

    def __init__(
        self,
        pool: Pool,
        minters: Minters,
        on_low: Callable[[Mapping[int, LowPool]], None],
        usage: UsageTally | None = None,
    ) -> None:
        self._claims = Claims(pool, minters, usage=usage)
        self._on_low = on_low
        self._coalescer: Coalescer[tuple[str, ...], Request, ClaimResult] = Coalescer(
            self._decide, timeout_s=ACQUIRE_TIMEOUT_S, pause_s=PAUSE_S, ends_early=True
        )

    @property
    def names(self) -> Mapping[int, str]:
        """Short name by program id."""
        return self._claims.names

    async def attach(self, requests: Sequence[Request]) -> ClaimResult:
        """Decide one request. Raises what asyncpg raises."""
        [request] = requests
        return await self._coalescer.submit(request.names, request)

    async def _decide(self, _: tuple[str, ...], requests: Sequence[Request]) -> Sequence[ClaimResult | Exception]:
        try:
            return [await self._attach(requests)] * len(requests)
        except asyncpg.DataError:
            # Postgres can't store one of the requests: each is decided alone, so that only that one fails.
            return [await self._attach_alone(request) for request in requests]

    async def _attach(self, requests: Sequence[Request]) -> ClaimResult:
        claimed = await self._claims.attach(requests)
        if claimed.low:
            self._on_low(claimed.low)
        return claimed

    async def _attach_alone(self, request: Request) -> ClaimResult | Exception:
        try:
            return await self._attach([request])
        except asyncpg.DataError as error:
            alone: Exception = error
            return alone
