"""Support gives a customer another code: the old one is deleted and the new one attached, both or neither."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from codewell.audit.audit_log import Actor
from codewell.audit.promises import audit
from codewell.codes import lifecycle
from codewell.codes.lifecycle import CodeChange
from codewell.codes.lookup import find
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodeUnknown, ProgramRefused, StackUnavailable
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import reissue
from codewell.issuing.claim import Claims
from codewell.issuing.reissue import NoCodeYet, Reissued, ReissueWanted
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from codewell.redemption import till
from tests.support.factories import OFF, message, program

SUPPORT = Actor("token", "support")
LATER = datetime(2090, 1, 1, tzinfo=UTC)


async def stocked(connection: Connection, minters: Minters, count: int = 10, **changed: Any) -> ProgramCodes:
    made = await program(connection, minters, **{**OFF, **changed})
    if count:
        await generate(connection, minters, made.id, count, None)
    return ProgramCodes(connection, minters, made.id)


async def given(claims: Claims, profile_id: str = "p-1") -> str:
    request = message("SPRING", profile_id=profile_id)
    [row] = (await claims.attach([request])).rows[request.id]
    return row.code or ""


async def done(
    codes: ProgramCodes, code: str | None = None, profile_id: str | None = None, *, expires: Any = "same",
    request_id: UUID | None = None, is_last: bool = True,
) -> Reissued:  # fmt: skip
    wanted = ReissueWanted(code, profile_id, "lost", expires)
    return await reissue.reissue(codes, wanted, request_id or uuid7(), SUPPORT, is_last=is_last)


async def refused(
    codes: ProgramCodes, reason: str, code: str | None, profile_id: str | None = None, **more: Any
) -> str:
    with pytest.raises(ProgramRefused) as error:
        await done(codes, code, profile_id, **more)
    assert error.value.reason == reason
    return str(error.value)


async def state(codes: ProgramCodes, code: str) -> str:
    facts = await find(codes, code)
    assert facts is not None
    return facts.state


async def test_the_profile_has_the_new_code_and_the_old_one_is_deleted(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes = await stocked(connection, minters)
    old = await given(claims)
    await lifecycle.change(codes, old, lambda _: CodeChange(LATER, None))

    new = await done(codes, old)

    assert (new.code.state, new.code.profile_id, new.code.expires_at) == ("attached", "p-1", LATER)
    assert (new.code.code != old, new.left) == (True, 0)
    assert await state(codes, old) == "deleted"
    assert await connection.fetchval("SELECT details->>'reason' FROM audit_entry WHERE verb = 'code.reissue'") == "lost"
    assert await audit(connection) == []


@pytest.mark.parametrize("reissues_max", [0, 1, 2])
async def test_a_chain_ends_at_the_program_s_maximum(
    connection: Connection, claims: Claims, minters: Minters, reissues_max: int
) -> None:
    codes = await stocked(connection, minters, reissues_max=reissues_max)
    code = await given(claims)
    for left in reversed(range(reissues_max)):
        new = await done(codes, code)
        assert new.left == left
        # The one before has its successor.
        await refused(codes, "code_deleted", code)
        code = new.code.code

    await refused(codes, "reissues_exhausted", code)
    await programs.update(connection, minters, "SPRING", {"reissues_max": reissues_max + 1}, 10)
    assert (await done(codes, code)).left == 0
    assert await audit(connection) == []


async def test_the_assignment_moves_to_the_new_code(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes = await stocked(connection, minters, reuse="campaign")
    old = await given(claims)

    new = (await done(codes, old)).code.code

    assert await given(claims) == new
    assert await audit(connection) == []


async def test_a_profile_stands_for_its_one_living_code(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes = await stocked(connection, minters, reissues_max=5)
    await refused(codes, "profile_has_no_code", None, "p-1")
    first = await given(claims)
    await till.activate(codes, first)
    await refused(codes, "profile_has_no_code", None, "p-1")
    second = await given(claims)

    new = (await done(codes, None, "p-1")).code.code

    assert await state(codes, second) == "deleted"
    third = await given(claims)
    assert "name the code" in await refused(codes, "profile_has_codes", None, "p-1")
    assert [await state(codes, code) for code in (first, new, third)] == ["activated", "attached", "attached"]


async def test_a_code_that_another_profile_has_got_meanwhile_stays_that_ones(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = await stocked(connection, minters, 1)
    code = await given(claims)
    code_of = reissue._code_of

    async def slowly(own: ProgramCodes, profile_id: str | None) -> str:
        found = await code_of(own, profile_id)
        monkeypatch.setattr(reissue, "_code_of", code_of)
        await lifecycle.detach(ProgramCodes(bystander, minters, codes.program_id), found)
        assert await given(claims, "p-2") == code
        await generate(bystander, minters, codes.program_id, 1, None)
        return found

    monkeypatch.setattr(reissue, "_code_of", slowly)
    with pytest.raises(NoCodeYet):
        await done(codes, None, "p-1", is_last=False)
    await refused(codes, "profile_has_no_code", None, "p-1")

    assert await state(codes, code) == "attached"
    assert await audit(connection) == []


async def test_what_can_not_be_reissued(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes = await stocked(connection, minters)
    code = await given(claims)
    pooled = (await minters.get(connection, codes.program_id, 1)).mint(5, 1)[0]
    await refused(codes, "code_not_attached", pooled)
    with pytest.raises(CodeUnknown):
        await done(codes, "NEVER-1")
    await till.activate(codes, code)
    await refused(codes, "code_used", code)
    await till.deactivate(codes, code)
    await lifecycle.change(codes, code, lambda _: CodeChange(datetime(2020, 1, 1, tzinfo=UTC), None))
    await refused(codes, "code_expired", code)
    await programs.set_active(connection, "SPRING", False)
    await refused(codes, "program_inactive", code, expires="fresh")
    await programs.set_active(connection, "SPRING", True)

    new = await done(codes, code, expires="fresh")

    assert (new.code.state, new.code.expires_at) == ("attached", None)
    assert await audit(connection) == []


async def test_a_code_in_use_is_not_taken_from_its_profile(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes = await stocked(connection, minters)
    code = await given(claims)
    await connection.execute("INSERT INTO code_state (block_id, position, uses) SELECT id, 0, 1 FROM block")
    await refused(codes, "code_used", code)
    await connection.execute("UPDATE code_state SET uses = 0, held_until = now() + interval '1 hour'")
    await refused(codes, "code_held", code)


async def test_a_shared_code_can_not_be_reissued_for_one_profile(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes = await stocked(connection, minters, 2, shared=True)
    code = await given(claims)

    await refused(codes, "code_shared", code)
    await refused(codes, "code_shared", None, "p-1")
    assert await state(codes, code) == "attached"


async def test_fresh_begins_a_new_lifetime(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes = await stocked(connection, minters, ttl=timedelta(days=30), ttl_from="attachment", reissues_max=2)
    old = await given(claims)
    await lifecycle.change(codes, old, lambda _: CodeChange(LATER, None))

    new = await done(codes, old, expires="fresh")

    assert new.code.expires_at is not None
    assert timedelta(days=29) < new.code.expires_at - datetime.now(UTC) <= timedelta(days=30)
    assert (await done(codes, new.code.code)).code.expires_at == new.code.expires_at


async def test_without_a_code_in_the_pool_nothing_is_deleted(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes = await stocked(connection, minters, 1)
    code = await given(claims)

    await refused(codes, "pool_empty", code, is_last=False)
    await programs.update(connection, minters, "SPRING", {"campaign_can_create": True}, 10)
    with pytest.raises(NoCodeYet):
        await done(codes, code, is_last=False)
    await refused(codes, "pool_empty", code)
    await programs.update(connection, minters, "SPRING", {"codes_max": 1, "pool_max": 1}, 10)
    await refused(codes, "maximum_reached", code, is_last=False)
    assert await state(codes, code) == "attached"


async def test_an_empty_pool_is_awaited(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes = await stocked(connection, minters, 1, campaign_can_create=True, pool_max=1)
    code = await given(claims)

    async def demand() -> None:
        await generate(connection, minters, codes.program_id, 1, None)

    new = await reissue.until_there_is_a_code(lambda is_last: done(codes, code, is_last=is_last), demand)

    assert new.code.state == "attached"
    assert await state(codes, code) == "deleted"


async def test_while_a_claim_has_locked_the_stock_it_does_not_wait(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    codes = await stocked(connection, minters)
    code = await given(claims)
    await generate(connection, minters, codes.program_id, 5, None)
    await connection.execute("UPDATE block SET size = next, open = false WHERE next > 0")
    await connection.execute("UPDATE program SET made = 6")
    await connection.execute("UPDATE template_version SET next_number = 15, skipped = 9")
    async with bystander.transaction():
        await bystander.execute("SELECT FROM block WHERE next = 0 FOR NO KEY UPDATE")
        with pytest.raises(NoCodeYet):
            await done(codes, code, is_last=False)
        with pytest.raises(StackUnavailable):
            await done(codes, code)
    assert (await done(codes, code)).code.state == "attached"


async def test_of_many_at_once_one_replaces_the_code(
    connections: Pool, connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes = await stocked(connection, minters, reissues_max=3)
    code = await given(claims)

    async def attempt() -> str:
        async with connections.acquire() as own:
            try:
                return (await done(codes._replace(connection=own), code)).code.code
            except ProgramRefused as error:
                return str(error.reason)

    outcomes = await asyncio.gather(*(attempt() for _ in range(8)))

    assert outcomes.count("code_deleted") == 7
    assert await connection.fetchval("SELECT count(*) FROM code_reissue") == 1
    assert await audit(connection) == []
