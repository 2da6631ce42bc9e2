"""Attachments over HTTP: those of one program that come at the same time are decided in one claim."""

from collections.abc import Mapping, Sequence

import asyncpg

from codewell.infra.postgres.connection import ACQUIRE_TIMEOUT_S, Pool
from codewell.infra.process.coalescer import Coalescer
from codewell.issuing.claim import ClaimResult, Claims
from codewell.issuing.model import Request
from codewell.pool.minter_cache import Minters


class ClaimBatcher:
    """Decides requests as `Claims` does, with those of others that came meanwhile."""

    def __init__(self, pool: Pool, minters: Minters) -> None:
        self._claims = Claims(pool, minters)
        self._coalescer: Coalescer[tuple[str, ...], Request, ClaimResult] = Coalescer(
            self._decide, timeout_s=ACQUIRE_TIMEOUT_S
        )

    @property
    def names(self) -> Mapping[int, str]:
        """Short name by program id."""
        return self._claims.names

    async def attach(self, requests: Sequence[Request]) -> ClaimResult:
        """Decide one request. Raises what asyncpg raises."""
        [request] = requests
        return await self._coalescer.ask(request.names, request)

    async def _decide(self, _: tuple[str, ...], requests: Sequence[Request]) -> Sequence[ClaimResult | Exception]:
        try:
            return [await self._claims.attach(requests)] * len(requests)
        except asyncpg.DataError:
            # One of them can't be stored, whoever's it is; the others are no worse for it.
            return [await self._alone(request) for request in requests]

    async def _alone(self, request: Request) -> ClaimResult | Exception:
        try:
            return await self._claims.attach([request])
        except asyncpg.DataError as error:
            alone: Exception = error
            return alone
