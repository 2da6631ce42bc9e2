"""Codes that people attach: the next one, one by its name, one that nobody has seen before."""

import asyncio
from uuid import UUID

import pytest

from codewell.audit.promises import audit
from codewell.codes import lifecycle
from codewell.codes.lookup import find
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused, RequestTaken, StackUnavailable
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import claim, manual
from codewell.issuing.claim import Claims
from codewell.issuing.model import AnswerRow, ManualRequest, Request
from codewell.minting.template import CODE_CHARACTERS_MAX
from codewell.pool.fill import generate, top_up
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from codewell.redemption import till
from tests.support.factories import OFF, message, program
from tests.support.stock import codes, list_block


async def named(
    connection: Connection, minters: Minters, code: str, profile_id: str = "p-1", request_id: UUID | None = None
) -> AnswerRow:
    return await manual.attach_named(connection, minters, "SPRING", code, profile_id, request_id or uuid7())


async def test_the_next_code_of_the_pool(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 2, None)
    request_id = uuid7()

    first = await manual.attach(claims, "SPRING", "p-1", request_id)
    again = await manual.attach(claims, "SPRING", "p-1", request_id)
    other = await manual.attach(claims, "SPRING", "p-1", uuid7())

    assert first == again
    assert other.code != first.code
    with pytest.raises(ProgramRefused, match="SPRING has no code left and people may not create any"):
        await manual.attach(claims, "SPRING", "p-2", uuid7())
    with pytest.raises(ProgramRefused, match="No program has the short name NOPE"):
        await manual.attach(claims, "NOPE", "p-2", uuid7())
    assert await audit(connection) == []


async def test_no_code_is_made_for_a_person(connection: Connection, claims: Claims, minters: Minters) -> None:
    await program(connection, minters, campaign_can_create=True, scenario_can_create=True)
    with pytest.raises(ProgramRefused, match="no code left"):
        await manual.attach(claims, "SPRING", "p-1", uuid7())
    assert (await overview.stock(connection, "SPRING")).made == 0


async def test_an_empty_pool_is_waited_for_while_it_may_be_filled(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, campaign_can_create=True)
    attaching = asyncio.create_task(manual.attach(claims, "SPRING", "p-1", uuid7()))
    # The first claim has found no code by now: its program is known.
    async with asyncio.timeout(10):
        while spring.id not in claims.names:
            await asyncio.sleep(0.01)
    assert not attaching.done()
    await top_up(bystander, minters, spring.id)
    assert (await attaching).code is not None
    assert await audit(connection) == []


async def test_an_empty_pool_that_nothing_fills_is_refused_at_once(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    await program(connection, minters, **OFF)
    claimed = await claims.attach([Request(uuid7(), ManualRequest("p-1", "SPRING"), ("SPRING",))])
    assert (len(claimed.rows), claimed.waiting, claimed.low) == (1, [], {})


async def test_held_stock_is_said(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "BUSY_TIMEOUT_MS", 50)
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 2, None)
    async with bystander.transaction():
        await bystander.execute("SELECT FROM block FOR NO KEY UPDATE")
        with pytest.raises(StackUnavailable, match="locked by other requests"):
            await manual.attach(claims, "SPRING", "p-1", uuid7())


@pytest.mark.parametrize("position", [0, 5, 19])
async def test_a_named_code_of_the_pool(
    connection: Connection, claims: Claims, minters: Minters, position: int
) -> None:
    spring = await program(connection, minters, ttl="P1D", **OFF)
    await generate(connection, minters, spring.id, 20, '{"discount": "5"}')
    code = (await minters.get(connection, spring.id, 1)).mint(position, 1)[0]

    row = await named(connection, minters, code)

    facts = await find(ProgramCodes(connection, minters, spring.id), code)
    assert facts is not None
    assert (facts.state, facts.profile_id, facts.expires_at) == ("attached", "p-1", row.expires_at)
    assert row.fields == '{"discount": "5"}'
    assert await audit(connection) == []
    requests = [message("SPRING") for _ in range(20)]
    given = codes((await claims.attach(requests)).rows, requests)
    assert given.count(None) == 1
    assert code not in given
    stock = await overview.stock(connection, "SPRING")
    assert (stock.made, stock.attached, stock.pooled) == (20, 20, 0)
    assert await audit(connection) == []


async def test_a_code_that_is_not_free(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 3, None)
    one, two, three = (await minters.get(connection, spring.id, 1)).mint(0, 3)
    await named(connection, minters, one)
    await lifecycle.delete(ProgramCodes(connection, minters, spring.id), two)
    await named(connection, minters, three)
    await till.activate(ProgramCodes(connection, minters, spring.id), three)
    for code, state in ((one, "attached"), (two, "deleted"), (three, "activated")):
        with pytest.raises(ProgramRefused, match=f"{code} is {state}: only a pooled code"):
            await named(connection, minters, code, "p-2")
    await lifecycle.detach(ProgramCodes(connection, minters, spring.id), one)
    assert (await named(connection, minters, one, "p-2")).profile_id == "p-2"
    assert await audit(connection) == []


async def test_a_text_from_outside_is_taken_in(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, codes_max=2, pool_max=2, ttl="P1D", ttl_from="attachment", **OFF)
    request_id = uuid7()

    row = await named(connection, minters, "FROM/OUTSIDE 🎁", request_id=request_id)

    assert row == await named(connection, minters, "FROM/OUTSIDE 🎁", request_id=request_id)
    assert row.expires_at is not None
    facts = await find(ProgramCodes(connection, minters, spring.id), "FROM/OUTSIDE 🎁")
    assert facts is not None
    assert (facts.state, facts.profile_id, facts.expires_at) == ("attached", "p-1", row.expires_at)
    stock = await overview.stock(connection, "SPRING")
    assert (stock.imported, stock.attached, stock.made) == (1, 1, 0)
    await lifecycle.detach(ProgramCodes(connection, minters, spring.id), row.code or "")
    request = message("SPRING")
    assert codes((await claims.attach([request])).rows, [request]) == ["FROM/OUTSIDE 🎁"]
    await named(connection, minters, "SECOND")
    with pytest.raises(ProgramRefused, match="holds as many as it may ever have"):
        await named(connection, minters, "THIRD")
    assert await audit(connection) == []


@pytest.mark.parametrize("code", ["", " A", "A\n", "A\x00B", "A" * (CODE_CHARACTERS_MAX + 1), "\ud800"])
async def test_what_can_be_no_code(connection: Connection, minters: Minters, code: str) -> None:
    await program(connection, minters)
    with pytest.raises(ProgramRefused, match="is not a valid code"):
        await named(connection, minters, code)
    assert (await overview.stock(connection, "SPRING")).imported == 0


async def test_rules_hold_for_people_too(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    await list_block(connection, spring.id, ["A"])
    for setting, why in (
        ("active = false", "switched off"),
        ("active = true, valid_until = now()", "has ended"),
        ("valid_until = NULL, shared = true", "share one code"),
    ):
        await connection.execute(f"UPDATE program SET {setting}")
        for code in ("A", "NEW"):
            with pytest.raises(ProgramRefused, match=why):
                await named(connection, minters, code)
    row = await manual.attach(claims, "SPRING", "p-1", uuid7())
    assert (await manual.attach(claims, "SPRING", "p-2", uuid7())).code == row.code == "A"


async def test_a_profile_that_gets_its_code_again(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, reuse="profile", **OFF)
    await generate(connection, minters, spring.id, 5, None)
    row = await named(connection, minters, "MINE")
    request = message("SPRING", profile_id="p-1")
    assert codes((await claims.attach([request])).rows, [request]) == ["MINE"]
    assert (await manual.attach(claims, "SPRING", "p-1", uuid7())).code == row.code
    with pytest.raises(ProgramRefused, match="The profile already has a code of SPRING"):
        await named(connection, minters, "ANOTHER")
    assert await audit(connection) == []


async def test_one_of_many_gets_a_named_code(connections: Pool, connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 1, None)
    pooled = (await minters.get(connection, spring.id, 1)).mint(0, 1)[0]

    async def attaches(code: str, number: int) -> bool:
        async with connections.acquire() as own:
            try:
                await named(own, minters, code, f"p-{number}")
            except ProgramRefused:
                return False
            return True

    for code in (pooled, "NEVER-SEEN"):
        assert sum(await asyncio.gather(*(attaches(code, number) for number in range(20)))) == 1
    assert await audit(connection) == []


async def test_an_id_that_was_something_else(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    await list_block(connection, spring.id, ["A", "B"])
    request_id = uuid7()
    await named(connection, minters, "A", request_id=request_id)
    with pytest.raises(ProgramRefused, match="was used for another request"):
        await named(connection, minters, "B", request_id=request_id)
    assert (await manual.attach(claims, "SPRING", "p-1", request_id)).code == "A"
    assert await audit(connection) == []


async def test_i2_the_id_of_a_request_for_one_program_is_none_for_another(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    for name in ("SPRING", "OTHER"):
        await program(connection, minters, name, **(OFF if name == "SPRING" else {}))
    named, refused = uuid7(), uuid7()
    await manual.attach_named(connection, minters, "SPRING", "TEXT", "p-1", named)
    with pytest.raises(ProgramRefused, match="SPRING has no code left"):
        await manual.attach(claims, "SPRING", "p-1", refused)

    with pytest.raises(RequestTaken):
        await manual.attach_named(connection, minters, "OTHER", "TEXT", "p-1", named)
    with pytest.raises(RequestTaken):
        await manual.attach(claims, "OTHER", "p-1", refused)
    with pytest.raises(ProgramRefused, match="SPRING has no code left"):
        await manual.attach(claims, "SPRING", "p-1", refused)
    assert await audit(connection) == []
