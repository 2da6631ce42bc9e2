"""Opens connections before they are needed: the first batch on each would wait 40 ms, and all others behind it."""

from contextlib import AsyncExitStack, suppress
from typing import Final

from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import CONTENTION_ERRORS, UNAVAILABLE_ERRORS, Pool
from codewell.issuing import small_claim
from codewell.pool.minter_cache import Minters
from codewell.redemption import untouched

# As many as a program's batches and what is read beside them use at once.
_CONNECTIONS: Final = 5
_NO_PROGRAM: Final = 0


async def warm_up(pool: Pool, minters: Minters) -> None:
    """Open connections and run the statements of batches on each. While Postgres is away, leave it to the requests."""
    with suppress(*UNAVAILABLE_ERRORS, *CONTENTION_ERRORS):
        async with AsyncExitStack() as opened:
            for _ in range(_CONNECTIONS):
                connection = await opened.enter_async_context(pool.acquire())
                await untouched.warm_up(ProgramCodes(connection, minters, _NO_PROGRAM))
                await small_claim.warm_up(connection)
