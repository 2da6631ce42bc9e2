"""Codes that a person detaches beside requests: nobody gets a code that another has, and nothing hangs."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from codewell.audit.promises import audit
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import StackUnavailable
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.profiles.forgetting import forget
from codewell.programs import programs
from codewell.redemption import till
from codewell.returns.detaching import detach, letting_go
from tests.integration.returns.test_races import being_decided
from tests.support.factories import OFF, message, program
from tests.support.running import until
from tests.support.stock import until_waiting


@pytest.mark.parametrize("reuse_ends", [False, True])
async def test_i1_a_code_that_is_being_given_again_is_detached_after_that(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, others: Claims, minters: Minters,
    reuse_ends: bool,
) -> None:  # fmt: skip
    spring = await program(connection, minters, reuse="profile", **OFF)
    await generate(connection, minters, spring.id, 1, None)
    first, again, later, other = (message("SPRING", profile_id=f"p-{of}") for of in (1, 1, 1, 2))
    code = (await claims.attach([first])).rows[first.id][0].code or ""

    async def detached() -> None:
        async with letting_go(connections.acquire, minters, spring.id, code), connections.acquire() as own:
            await detach(ProgramCodes(own, minters, spring.id), code)

    async with being_decided(claims, again, connection, bystander) as deciding:
        if reuse_ends:
            # As if the program had been changed after the request was begun, and before it is decided.
            await connection.execute("UPDATE program SET reuse = 'request'")
        detaching = asyncio.ensure_future(detached())
        await until_awaited(connection, detaching)
        # Nobody may have the code while a request may give it to its profile again.
        assert (await others.attach([other])).rows[other.id][0].code is None
    assert (await deciding).rows[again.id][0].code == code
    await detaching
    assert (await others.attach([later])).rows[later.id][0][5:9] == (False, False, "p-1", code)
    assert await audit(connection) == []


async def test_i1_a_code_that_got_its_assignment_back_meanwhile_is_not_detached(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile", **OFF)
    await generate(connection, minters, spring.id, 1, None)
    first, again, other = (message("SPRING", profile_id=f"p-{of}") for of in (1, 1, 2))
    code = (await claims.attach([first])).rows[first.id][0].code or ""
    codes = ProgramCodes(connection, minters, spring.id)

    # Another caller, who is refused.
    other_caller = AsyncExitStack()
    await other_caller.enter_async_context(letting_go(connections.acquire, minters, spring.id, code))
    async with letting_go(connections.acquire, minters, spring.id, code):
        await other_caller.aclose()
        async with being_decided(claims, again, connection, bystander) as deciding:
            with pytest.raises(StackUnavailable):
                await detach(codes, code)
            assert (await others.attach([other])).rows[other.id][0].code is None
    assert (await deciding).rows[again.id][0].code == code
    assert await audit(connection) == []


async def test_i1_reuse_ends_after_the_requests_that_are_being_decided(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile", **OFF)
    await generate(connection, minters, spring.id, 1, None)
    first, again = message("SPRING", profile_id="p-1"), message("SPRING", profile_id="p-1")
    code = (await claims.attach([first])).rows[first.id][0].code

    async def ended() -> None:
        async with connections.acquire() as own:
            await programs.update(own, minters, "SPRING", {"reuse": "request"}, 1.0)

    async with being_decided(claims, again, connection, bystander) as deciding:
        ending = asyncio.ensure_future(ended())
        await until_waiting(connection, 2)
        assert await connection.fetchval("SELECT reuse FROM program") == "profile"
    assert (await deciding).rows[again.id][0].code == code
    await ending
    assert await connection.fetchval("SELECT reuse FROM program") == "request"
    assert await audit(connection) == []


async def test_a_profile_that_is_forgotten_gets_back_no_code_that_may_not_be_detached(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile", **OFF)
    await generate(connection, minters, spring.id, 1, None)
    first = message("SPRING", profile_id="p-1")
    code = (await claims.attach([first])).rows[first.id][0].code or ""
    await connection.execute(
        """
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END'
        """
    )
    await bystander.execute("BEGIN; SELECT pg_advisory_xact_lock(1)")

    async def kept() -> None:
        async with letting_go(connections.acquire, minters, spring.id, code), connections.acquire() as own:
            await own.execute("CREATE TRIGGER w AFTER INSERT ON holding FOR EACH ROW EXECUTE FUNCTION wait()")

    async def forgotten() -> None:
        async with connections.acquire() as own:
            await forget(own, "p-1")

    keeping = asyncio.ensure_future(kept())
    await until_waiting(connection)
    forgetting = asyncio.ensure_future(forgotten())
    await asyncio.wait([forgetting], timeout=0.3)
    await bystander.execute("COMMIT")
    await asyncio.gather(keeping, forgetting)

    assert await connection.fetch("SELECT FROM holding") == []
    assert await audit(connection) == []


async def test_a_code_that_may_not_be_detached_stays_its_profiles(
    connections: Pool, connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile", **OFF)
    await generate(connection, minters, spring.id, 2, None)
    first, later = message("SPRING", profile_id="p-1"), message("SPRING", profile_id="p-1")
    code = (await claims.attach([first])).rows[first.id][0].code or ""

    async with letting_go(connections.acquire, minters, spring.id, code):
        assert await connection.fetchval("SELECT count(*) FROM holding") == 0
        await till.activate(ProgramCodes(connection, minters, spring.id), code)

    assert (await claims.attach([later])).rows[later.id][0].code == code
    assert await audit(connection) == []


async def until_awaited(connection: Connection, work: "asyncio.Future[None]") -> None:
    async def waits() -> bool:
        looks: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%FROM pg_locks%' AND pid <> pg_backend_pid()"
        )
        return looks > 0 or work.done()

    await until(waits, "worker that waits for what is being decided")
