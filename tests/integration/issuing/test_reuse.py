"""Programs that give a profile, or everybody, the same code again."""

from datetime import timedelta
from random import Random

import pytest

from codewell.audit.promises import audit
from codewell.codes import lifecycle
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.issuing.model import AnswerRow, Request
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from tests.support.factories import OFF, message, program, step


async def attach_one(claims: Claims, request: Request) -> AnswerRow:
    [row] = (await claims.attach([request])).rows[request.id]
    return row


async def test_a_profile_gets_its_code_again_from_any_worker(
    connection: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile", ttl="P1D", ttl_from="attachment")
    await generate(connection, minters, spring.id, 10, '{"discount": "10"}')

    first = await attach_one(claims, message("SPRING", campaign_id="a"))
    again = await attach_one(others, step("SPRING"))
    other = await attach_one(others, message("SPRING", profile_id="p-2"))

    assert again[3:6] == (first.block_id, first.position, True)
    assert again[8:11] == first[8:11]
    assert other.code != first.code
    assert (await overview.stock(connection, "SPRING")).attached == 2
    assert await audit(connection) == []


async def test_campaigns_and_steps_have_codes_of_their_own(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    for name, reuse in (("BY_CAMPAIGN", "campaign"), ("BY_STEP", "step")):
        await program(connection, minters, name, reuse=reuse)
    made: dict[str, list[str | None]] = {"BY_CAMPAIGN": [], "BY_STEP": []}
    for name, given in made.items():
        for request in (
            message(name, campaign_id="x"),
            message(name, campaign_id="x", message_id="m-2"),
            message(name, campaign_id="y"),
            step(name, scenario_id="x", step_id="1"),
            step(name, scenario_id="x", step_id="2"),
        ):
            given.append((await attach_one(claims, request)).code)

    for given in made.values():
        assert given[0] == given[1]
    assert [len(set(given)) for given in made.values()] == [3, 4]
    assert await audit(connection) == []


async def test_a_code_whose_life_ended_is_replaced(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, reuse="profile", ttl="P1D", ttl_from="attachment")
    await generate(connection, minters, spring.id, 10, None)
    first = await attach_one(claims, message("SPRING"))
    await connection.execute("UPDATE holding SET expires_at = now()")

    second = await attach_one(claims, message("SPRING"))
    third = await attach_one(claims, message("SPRING"))

    assert (second.again, third.again) == (False, True)
    assert second.code != first.code
    assert third.code == second.code
    assert await connection.fetchval("SELECT count(*) FROM holding") == 1
    assert await audit(connection) == []


async def test_a_shared_code_serves_everybody_while_it_lives(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, shared=True, codes_max=2, pool_max=2, **OFF)
    await generate(connection, minters, spring.id, 2, None)
    requests = [message("SPRING", profile_id=f"p-{n}") for n in range(30)]

    claimed = await claims.attach(requests)
    await connection.execute("UPDATE holding SET expires_at = now() - interval '1 s'")
    renewed = await claims.attach([message("SPRING", profile_id=f"p-{n}") for n in range(30)])

    codes = {row.code for rows in claimed.rows.values() for row in rows}
    after = {row.code for rows in renewed.rows.values() for row in rows}
    assert len(codes) == len(after) == 1
    assert codes != after
    assert (await overview.stock(connection, "SPRING")).attached == 2
    assert await audit(connection) == []


@pytest.mark.parametrize("ending", ["deleted", "expired", "lived its time"])
async def test_a_shared_code_that_ended_is_followed_by_the_next_one(
    connection: Connection, claims: Claims, others: Claims, minters: Minters, ending: str
) -> None:
    spring = await program(connection, minters, shared=True, codes_max=3, pool_max=3, **OFF)
    await generate(connection, minters, spring.id, 3, None)

    async def everybodys(worker: Claims) -> str:
        given = await worker.attach([message("SPRING", profile_id=f"p-{n}") for n in range(5)])
        [code] = {row.code for rows in given.rows.values() for row in rows}
        assert code is not None
        return code

    async def end(code: str) -> None:
        if ending == "deleted":
            await lifecycle.delete(ProgramCodes(connection, minters, spring.id), code)
        elif ending == "expired":
            now = await connection.fetchval("SELECT clock_timestamp()")
            await lifecycle.change(
                ProgramCodes(connection, minters, spring.id),
                code,
                lambda facts: lifecycle.CodeChange(now, facts.fields),
            )
        else:
            await connection.execute("UPDATE holding SET expires_at = now()")

    had = []
    for _ in range(3):
        had.append(await everybodys(claims))
        assert await everybodys(others) == had[-1]
        await end(had[-1])

    assert len(set(had)) == 3
    refused = await attach_one(claims, message("SPRING"))
    assert '"maximum_reached"' in (refused.refusals or "") or '"pool_empty"' in (refused.refusals or "")
    assert await audit(connection) == []


async def test_a_shared_code_that_is_deleted_before_its_turn_is_stepped_over(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, shared=True, **OFF)
    await generate(connection, minters, spring.id, 3, None)
    first, second, third = (await minters.get(connection, spring.id, 1)).mint(0, 3)
    await lifecycle.delete(ProgramCodes(connection, minters, spring.id), second)

    assert (await attach_one(claims, message("SPRING"))).code == first
    await lifecycle.delete(ProgramCodes(connection, minters, spring.id), first)
    assert (await attach_one(claims, message("SPRING"))).code == third
    assert await audit(connection) == []


async def test_who_holds_a_code_needs_no_stock_and_the_others_do(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile", **OFF)
    await generate(connection, minters, spring.id, 1, None)
    first = await attach_one(claims, message("SPRING"))

    again = await attach_one(claims, message("SPRING"))
    refused = await attach_one(claims, message("SPRING", profile_id="p-2"))

    assert again.code == first.code
    assert refused.code is None
    assert await audit(connection) == []


async def test_a_request_may_mix_what_is_held_and_what_is_new(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    for name in ("HELD", "NEW"):
        made = await program(connection, minters, name, reuse="profile" if name == "HELD" else "request")
        await generate(connection, minters, made.id, 10, None)
    first = await attach_one(claims, message("HELD"))
    request = message("NEW", "HELD")

    rows = (await claims.attach([request])).rows[request.id]

    assert [row.again for row in rows] == [False, True]
    assert rows[1].code == first.code
    assert await audit(connection) == []


async def test_the_longest_names_have_a_holding_too(connection: Connection, claims: Claims, minters: Minters) -> None:
    """What can't be compressed and needs four bytes a character is the largest that an index is given."""
    spring = await program(connection, minters, reuse="step")
    await generate(connection, minters, spring.id, 10, None)
    letters = Random(1)
    longest = ["".join(chr(letters.randrange(0x20000, 0x2A000)) for _ in range(256)) for _ in range(4)]
    profile_id, scenario_id, *steps = longest

    given = [
        await attach_one(claims, step("SPRING", profile_id=profile_id, scenario_id=scenario_id, step_id=step_id))
        for step_id in (steps[0], steps[0], steps[1])
    ]

    assert [row.again for row in given] == [False, True, False]
    assert given[0].code == given[1].code != given[2].code
    assert await audit(connection) == []


async def test_the_held_code_of_a_program_that_ended_is_not_given(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile", ttl=timedelta(days=1))
    await generate(connection, minters, spring.id, 10, None)
    await attach_one(claims, message("SPRING"))
    await connection.execute("UPDATE program SET valid_until = now()")

    refused = await attach_one(claims, message("SPRING"))

    assert "program_ended" in (refused.refusals or "")
