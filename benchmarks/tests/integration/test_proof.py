"""A figure counts only when its work was done correctly."""

import pytest

from benchmarks.generate import attach
from benchmarks.proof import check_audit, check_given
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from tests.support.factories import OFF, message, program


async def test_answers_with_a_code_each_count(connection: Connection, connections: Pool, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF, codes_max=20, pool_max=20)
    await generate(connection, minters, spring.id, 20, None)

    assert await attach(Claims(connections, minters), "SPRING", 20) > 0
    await check_audit(connection)


async def test_refusals_do_not_count(connection: Connection, connections: Pool, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF, codes_max=20, pool_max=20)
    await generate(connection, minters, spring.id, 15, None)

    with pytest.raises(CodewellError, match="20 requests got 15 codes"):
        await attach(Claims(connections, minters), "SPRING", 20)


async def test_a_code_that_came_twice_does_not_count(
    connection: Connection, connections: Pool, minters: Minters
) -> None:
    spring = await program(connection, minters, **OFF, codes_max=20, pool_max=20)
    await generate(connection, minters, spring.id, 20, None)
    claimed = await Claims(connections, minters).attach([message("SPRING", profile_id=f"p-{n}") for n in range(2)])
    [row], [other] = claimed.rows.values()

    check_given([[row], [other]], 2)
    with pytest.raises(CodewellError, match="2 requests got 2 codes, 1 of them different"):
        check_given([[row], [row]], 2)


async def test_a_broken_promise_is_named(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF, codes_max=20, pool_max=20)
    await generate(connection, minters, spring.id, 20, None)
    await connection.execute("UPDATE program SET made = made - 1")

    with pytest.raises(CodewellError, match=r"wrong, I4: a program's blocks hold another number of codes"):
        await check_audit(connection)
