"""The overview counts the codes of each program as its stock does."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from codewell.codes import lifecycle
from codewell.codes.lifecycle import CodeChange
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.levels import levels
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from codewell.redemption import till
from tests.support.factories import OFF, message, program
from tests.support.stock import codes

Step = Callable[[ProgramCodes, str], Awaitable[object]]

MADE, ATTACHED = 10, 3
LATER = datetime(2090, 1, 1, tzinfo=UTC)


async def keep(_: ProgramCodes, __: str) -> None:
    """Leave the code as it is."""


async def detach_and_delete(in_program: ProgramCodes, code: str) -> None:
    await lifecycle.detach(in_program, code)
    await lifecycle.delete(in_program, code)


async def detach_and_change(in_program: ProgramCodes, code: str) -> None:
    """The code moves to a second block of its own."""
    await lifecycle.detach(in_program, code)
    await lifecycle.change(in_program, code, lambda _: CodeChange(LATER, None))


@pytest.mark.parametrize(
    ("step", "pooled"),
    [
        (keep, 7),
        (lifecycle.detach, 10),
        (till.activate, 7),
        (lifecycle.delete, 7),
        (detach_and_delete, 7),
        (detach_and_change, 10),
    ],
)
async def test_pooled_codes_after_each_step(
    connection: Connection, claims: Claims, minters: Minters, step: Step, pooled: int
) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, MADE, None)
    requests = [message("SPRING", profile_id=f"p-{number}") for number in range(ATTACHED)]
    for code in codes((await claims.attach(requests)).rows, requests):
        await step(ProgramCodes(connection, minters, spring.id), code or "")

    [seen] = await overview.overview(connection)
    stock = await overview.stock(connection, "SPRING")
    [level] = await levels(connection, 1)
    assert (seen.pooled, stock.pooled, level.pooled) == (pooled, pooled, pooled)
    assert seen.had == MADE


async def test_expired_codes_are_not_pooled(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, MADE, None)
    requests = [message("SPRING")]
    [code] = codes((await claims.attach(requests)).rows, requests)
    await lifecycle.detach(ProgramCodes(connection, minters, spring.id), code or "")
    await connection.execute("UPDATE block SET expires_at = now() WHERE origin <> 'return'")

    [seen] = await overview.overview(connection)
    assert seen.pooled == (await overview.stock(connection, "SPRING")).pooled == 1
