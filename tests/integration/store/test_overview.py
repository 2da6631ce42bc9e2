"""The overview counts the codes of each program as its stock does."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from services.postgres.connection import Connection
from services.store import life, programs
from services.store.claim import Claims
from services.store.filling import generate
from services.store.levels import levels
from services.store.life import Change
from services.store.minters import Minters
from tests.factories import OFF, message, program
from tests.integration.store.situations import codes

Step = Callable[[Connection, Minters, int, str], Awaitable[object]]

MADE, ATTACHED = 10, 3
LATER = datetime(2090, 1, 1, tzinfo=UTC)


async def keep(_: Connection, __: Minters, ___: int, ____: str) -> None:
    """Leave the code as it is."""


async def detach_and_delete(connection: Connection, minters: Minters, program_id: int, code: str) -> None:
    await life.detach(connection, minters, program_id, code)
    await life.delete(connection, minters, program_id, code)


async def detach_and_change(connection: Connection, minters: Minters, program_id: int, code: str) -> None:
    """The code moves to a second block of its own."""
    await life.detach(connection, minters, program_id, code)
    await life.change(connection, minters, program_id, code, lambda _: Change(LATER, None))


@pytest.mark.parametrize(
    ("step", "pooled"),
    [
        (keep, 7),
        (life.detach, 10),
        (life.activate, 7),
        (life.delete, 7),
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
        await step(connection, minters, spring.id, code or "")

    [seen] = await programs.overview(connection)
    stock = await programs.stock(connection, "SPRING")
    [level] = await levels(connection, 1)
    assert (seen.pooled, stock.pooled, level.pooled) == (pooled, pooled, pooled)
    assert seen.had == MADE


async def test_expired_codes_are_not_pooled(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, MADE, None)
    requests = [message("SPRING")]
    [code] = codes((await claims.attach(requests)).rows, requests)
    await life.detach(connection, minters, spring.id, code or "")
    await connection.execute("UPDATE block SET expires_at = now() WHERE origin <> 'return'")

    [seen] = await programs.overview(connection)
    assert seen.pooled == (await programs.stock(connection, "SPRING")).pooled == 1
