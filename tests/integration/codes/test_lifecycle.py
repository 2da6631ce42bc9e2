"""What can be done with a code after it was made, and what each step leaves behind."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from codewell.audit.promises import audit
from codewell.codes import lifecycle
from codewell.codes.code_filter import CodeFilter
from codewell.codes.lifecycle import CodeChange
from codewell.codes.listing import page
from codewell.codes.lookup import START, CodePlace, find
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodeUnknown, ProgramRefused
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate, top_up
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from codewell.redemption import till
from schemas.program import Program, State
from tests.support.factories import OFF, message, program
from tests.support.stock import codes, hold_code, list_block, until_waiting

Step = Callable[[ProgramCodes, str], Awaitable[object]]

LATER = datetime(2090, 1, 1, tzinfo=UTC)
EARLIER = datetime(2020, 1, 1, tzinfo=UTC)


async def attached(claims: Claims, count: int, name: str = "SPRING") -> list[str]:
    """Codes that p-0, p-1 and so on have got."""
    requests = sorted((message(name) for _ in range(count)), key=lambda request: request.id)
    requests = [message(name, request_id=one.id, profile_id=f"p-{n}") for n, one in enumerate(requests)]
    found = codes((await claims.attach(requests)).rows, requests)
    assert all(found)
    return [code or "" for code in found]


async def stocked(connection: Connection, minters: Minters, count: int, **changed: object) -> Program:
    made = await program(connection, minters, **{**OFF, **changed})
    await generate(connection, minters, made.id, count, '{"discount": "5"}')
    return made


async def state(connection: Connection, minters: Minters, program_id: int, code: str) -> State:
    facts = await find(ProgramCodes(connection, minters, program_id), code)
    assert facts is not None
    return facts.state


async def change_expiry(codes: ProgramCodes, code: str) -> object:
    return await lifecycle.change(codes, code, lambda _: CodeChange(LATER, None))


STEPS: dict[str, Step] = {
    "detach": lifecycle.detach,
    "activate": till.activate,
    "deactivate": till.deactivate,
    "delete": lifecycle.delete,
    "change": change_expiry,
}
ALLOWED: dict[State, dict[str, State]] = {
    "pooled": {"delete": "deleted", "change": "pooled"},
    "attached": {"detach": "pooled", "activate": "activated", "delete": "deleted", "change": "attached"},
    "activated": {"deactivate": "attached"},
    "deleted": {},
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("before", ALLOWED)
async def test_each_step_in_each_state(
    connection: Connection, claims: Claims, minters: Minters, before: State, step: str
) -> None:
    spring = await stocked(connection, minters, 10)
    code = (await minters.get(connection, spring.id, 1)).mint(0, 1)[0]
    if before != "pooled":
        [code] = await attached(claims, 1)
    if before == "activated":
        await till.activate(ProgramCodes(connection, minters, spring.id), code)
    if before == "deleted":
        await lifecycle.delete(ProgramCodes(connection, minters, spring.id), code)

    after = ALLOWED[before].get(step)
    if after is None:
        with pytest.raises(ProgramRefused, match=f"{code} is {before}|activated already"):
            await STEPS[step](ProgramCodes(connection, minters, spring.id), code)
        after = before
    else:
        await STEPS[step](ProgramCodes(connection, minters, spring.id), code)

    assert await state(connection, minters, spring.id, code) == after
    assert await audit(connection) == []
    stock = await overview.stock(connection, "SPRING")
    assert stock.made == stock.pooled + stock.attached + stock.expired + stock.deleted == 10


async def test_a_returned_code_goes_to_somebody_else(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await stocked(connection, minters, 1)
    request = message("SPRING", profile_id="p-0")
    first = (await claims.attach([request])).rows[request.id]
    [code] = codes({request.id: first}, [request])
    assert code is not None

    for owner in ("p-1", "p-2"):
        facts = await lifecycle.detach(ProgramCodes(connection, minters, spring.id), code)
        assert (facts.state, facts.profile_id, facts.fields) == ("pooled", None, '{"discount": "5"}')
        again = message("SPRING", profile_id=owner)
        assert codes((await claims.attach([again])).rows, [again]) == [code]
        held = await find(ProgramCodes(connection, minters, spring.id), code)
        assert held is not None
        assert (held.state, held.profile_id) == ("attached", owner)
        assert await audit(connection) == []

    # What was answered once is answered for ever.
    assert (await claims.attach([request])).rows[request.id] == first
    stock = await overview.stock(connection, "SPRING")
    assert (stock.made, stock.attached, stock.pooled) == (1, 1, 0)


async def test_a_returned_code_is_given_again_to_who_gets_his_own_again(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await stocked(connection, minters, 5, reuse="profile")
    [code] = await attached(claims, 1)
    await lifecycle.detach(ProgramCodes(connection, minters, spring.id), code)
    [other] = await attached(claims, 1)
    assert other != code
    await lifecycle.delete(ProgramCodes(connection, minters, spring.id), other)
    [third] = await attached(claims, 1)
    assert third not in {code, other}
    assert await audit(connection) == []


@pytest.mark.parametrize("ttl_from", ["creation", "attachment"])
async def test_a_returned_code_lives_as_long_as_it_would_have(
    connection: Connection, claims: Claims, minters: Minters, ttl_from: str
) -> None:
    spring = await stocked(connection, minters, 1, ttl="P1D", ttl_from=ttl_from)
    [code] = await attached(claims, 1)
    created = await connection.fetchval("SELECT expires_at FROM block")

    facts = await lifecycle.detach(ProgramCodes(connection, minters, spring.id), code)

    assert facts.expires_at == created
    assert (created is None) == (ttl_from == "attachment")


async def test_expired_codes_are_not_used_and_can_be_brought_back(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await stocked(connection, minters, 2, ttl="P1D")
    [code] = await attached(claims, 1)
    await lifecycle.change(ProgramCodes(connection, minters, spring.id), code, lambda _: CodeChange(EARLIER, None))
    assert await state(connection, minters, spring.id, code) == "expired"
    for step in ("detach", "activate", "deactivate"):
        with pytest.raises(ProgramRefused, match=f"{code} is expired"):
            await STEPS[step](ProgramCodes(connection, minters, spring.id), code)

    await lifecycle.change(
        ProgramCodes(connection, minters, spring.id), code, lambda _: CodeChange(None, '{"note": "kept"}')
    )
    facts = await till.activate(ProgramCodes(connection, minters, spring.id), code)

    assert (facts.state, facts.expires_at, facts.fields) == ("activated", None, '{"note": "kept"}')
    assert await audit(connection) == []


async def test_a_changed_pooled_code_is_given_with_what_it_has_now(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await stocked(connection, minters, 3, ttl="P1D")
    code = (await minters.get(connection, spring.id, 1)).mint(1, 1)[0]
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    await lifecycle.change(
        ProgramCodes(connection, minters, spring.id), code, lambda _: CodeChange(soon, '{"colour": "red"}')
    )
    requests = [message("SPRING") for _ in range(3)]
    rows = {row.code: row for found in (await claims.attach(requests)).rows.values() for row in found}

    assert len(rows) == 3
    assert (rows[code].expires_at, rows[code].fields) == (soon, '{"colour": "red"}')
    assert await audit(connection) == []


async def test_one_of_a_hundred_activations_succeeds(connections: Pool, minters: Minters) -> None:
    async with connections.acquire() as connection:
        spring = await stocked(connection, minters, 1)
        [code] = await attached(Claims(connections, minters), 1)

    async def activates() -> bool:
        async with connections.acquire() as own:
            try:
                await till.activate(ProgramCodes(own, minters, spring.id), code)
            except ProgramRefused:
                return False
            return True

    assert sum(await asyncio.gather(*(activates() for _ in range(100)))) == 1


async def test_steps_that_meet_leave_one_state(connections: Pool, minters: Minters) -> None:
    """Whatever wins, the code is in one state, and stock is conserved."""
    claims = Claims(connections, minters)
    async with connections.acquire() as connection:
        spring = await stocked(connection, minters, 40)
    for _ in range(20):
        [code] = await attached(claims, 1)

        async def step(name: str, code: str = code) -> bool:
            async with connections.acquire() as own:
                try:
                    await STEPS[name](ProgramCodes(own, minters, spring.id), code)
                except ProgramRefused:
                    return False
                return True

        done = dict(zip(STEPS, await asyncio.gather(*map(step, STEPS)), strict=True))
        async with connections.acquire() as connection:
            facts = await find(ProgramCodes(connection, minters, spring.id), code)
            assert facts is not None
            if done["delete"]:
                assert facts.state == "deleted"
            assert await audit(connection) == []


async def test_programs_say_whether_codes_can_be_used(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await stocked(connection, minters, 1)
    [code] = await attached(claims, 1)
    for setting, words, reason in (
        ("active = false", "switched off or removed", "program_inactive"),
        ("active = true, valid_from = now() + interval '1 h'", "has not begun.* before 2.* UTC", "program_not_started"),
        ("removed_at = now()", "switched off or removed", "program_inactive"),
    ):
        await connection.execute(f"UPDATE program SET {setting}")
        with pytest.raises(ProgramRefused, match=words) as refused:
            await till.activate(ProgramCodes(connection, minters, spring.id), code)
        assert refused.value.reason == reason
    await connection.execute("UPDATE program SET removed_at = NULL, valid_from = NULL, valid_until = now()")
    assert (await till.activate(ProgramCodes(connection, minters, spring.id), code)).state == "activated"


async def test_a_shared_code_stays_with_everybody(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await stocked(connection, minters, 2, shared=True)
    [code, same] = await attached(claims, 2)
    assert code == same
    with pytest.raises(ProgramRefused, match="share"):
        await lifecycle.detach(ProgramCodes(connection, minters, spring.id), code)
    await lifecycle.delete(ProgramCodes(connection, minters, spring.id), code)
    assert await attached(claims, 1) != [code]
    assert await audit(connection) == []


async def test_what_is_no_code_is_unknown(connection: Connection, minters: Minters) -> None:
    spring = await stocked(connection, minters, 1)
    for step in STEPS.values():
        for text in ("", "nonsense", "🎁", "\x00"[:0] + "'; --"):
            with pytest.raises(CodeUnknown, match="There is no code"):
                await step(ProgramCodes(connection, minters, spring.id), text)
    assert await connection.fetchval("SELECT count(*) FROM code_state") == 0


async def test_a_step_outlives_a_block_that_is_cut(connections: Pool, minters: Minters) -> None:
    """The generator cuts blocks in two while codes of their second halves are being deleted."""
    async with connections.acquire() as connection:
        spring = await stocked(connection, minters, 4_000)
        texts = (await minters.get(connection, spring.id, 1)).mint(0, 4_000)

    async def delete(code: str) -> None:
        async with connections.acquire() as own:
            await lifecycle.delete(ProgramCodes(own, minters, spring.id), code)

    async def cut() -> None:
        async with connections.acquire() as own:
            await top_up(own, minters, spring.id)

    doomed = texts[3_000:3_030]
    await asyncio.gather(*(delete(code) for code in doomed), *(cut() for _ in range(5)))

    async with connections.acquire() as connection:
        for code in doomed:
            assert await state(connection, minters, spring.id, code) == "deleted"
        assert await audit(connection) == []


async def test_pages_of_one_state_or_profile(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await stocked(connection, minters, 30, ttl="P1D")
    await list_block(connection, spring.id, ["A", "B", "C"], lives=timedelta(hours=1))
    given = await attached(claims, 8)
    await till.activate(ProgramCodes(connection, minters, spring.id), given[0])
    await till.activate(ProgramCodes(connection, minters, spring.id), given[5])
    await lifecycle.delete(ProgramCodes(connection, minters, spring.id), given[1])
    await lifecycle.detach(ProgramCodes(connection, minters, spring.id), given[6])
    await lifecycle.change(ProgramCodes(connection, minters, spring.id), given[2], lambda _: CodeChange(EARLIER, None))

    async def listed(state: State | None = None, profile_id: str | None = None) -> list[str]:
        found: list[str] = []
        after: CodePlace | None = START
        while after is not None:
            one = await page(ProgramCodes(connection, minters, spring.id), after, 2, CodeFilter(state, profile_id))
            found += [facts.code for facts in one.codes]
            after = one.next
        assert len(found) == len(set(found))
        return sorted(found)

    assert await listed("activated") == sorted([given[0], given[5]])
    assert await listed("deleted") == [given[1]]
    assert await listed("expired") == [given[2]]
    assert await listed("attached") == sorted([given[3], given[4], given[7]])
    assert given[6] in await listed("pooled")
    assert len(await listed()) == 33
    assert await listed(profile_id="p-3") == [given[3]]
    assert await listed(profile_id="p-6") == []
    assert await listed("activated", "p-0") == [given[0]]
    assert await listed("activated", "p-3") == []


async def test_the_database_forbids_two_ends(connection: Connection, minters: Minters) -> None:
    spring = await stocked(connection, minters, 1)
    code = (await minters.get(connection, spring.id, 1)).mint(0, 1)[0]
    await lifecycle.delete(ProgramCodes(connection, minters, spring.id), code)
    with pytest.raises(asyncpg.CheckViolationError, match="code_state_check"):
        await connection.execute("UPDATE code_state SET returned_at = now()")


@pytest.mark.parametrize(
    ("first", "second"),
    [("activate", "detach"), ("activate", "delete"), ("detach", "activate"), ("delete", "activate"),
     ("detach", "delete"), ("change", "detach")],
)  # fmt: skip
async def test_who_comes_second_waits_and_sees_what_the_first_did(
    connections: Pool, connection: Connection, minters: Minters, first: str, second: str
) -> None:
    async with connections.acquire() as one, connections.acquire() as two:
        spring = await stocked(connection, minters, 1)
        [code] = await attached(Claims(connections, minters), 1)
        # Its row is there already, as after any step that was taken back.
        await till.activate(ProgramCodes(one, minters, spring.id), code)
        await till.deactivate(ProgramCodes(one, minters, spring.id), code)
        transaction = one.transaction()
        await transaction.start()
        await STEPS[first](ProgramCodes(one, minters, spring.id), code)
        waiting = asyncio.ensure_future(STEPS[second](ProgramCodes(two, minters, spring.id), code))
        await until_waiting(connection)
        await transaction.commit()
        if (first, second) in {("detach", "delete"), ("change", "detach")}:
            await waiting
        else:
            with pytest.raises(ProgramRefused, match=f"{code} is"):
                await waiting
    assert await audit(connection) == []


async def test_a_code_that_expired_while_somebody_had_it_is_not_activated(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await stocked(connection, minters, 1, ttl="P1D")
    [code] = await attached(claims, 1)
    await connection.execute("UPDATE answer SET expires_at = now()")
    with pytest.raises(ProgramRefused, match=f"{code} is expired"):
        await till.activate(ProgramCodes(connection, minters, spring.id), code)
    assert await state(connection, minters, spring.id, code) == "expired"


async def test_a_code_is_locked_before_its_block(connections: Pool, connection: Connection, minters: Minters) -> None:
    """Else it could be activated between being judged and being deleted."""
    async with connections.acquire() as one, connections.acquire() as two:
        spring = await stocked(connection, minters, 1)
        [code] = await attached(Claims(connections, minters), 1)
        # Its row is there already, so that making it holds nobody up.
        await till.activate(ProgramCodes(one, minters, spring.id), code)
        await till.deactivate(ProgramCodes(one, minters, spring.id), code)
        async with connection.transaction():
            await connection.execute("SELECT FROM block FOR NO KEY UPDATE")
            deleting = asyncio.ensure_future(lifecycle.delete(ProgramCodes(one, minters, spring.id), code))
            await until_waiting(connection)
            activating = asyncio.ensure_future(till.activate(ProgramCodes(two, minters, spring.id), code))
            await until_waiting(connection, 2)
        await deleting
        with pytest.raises(ProgramRefused, match=f"{code} is deleted"):
            await activating


async def test_what_an_order_holds_or_used_stays_with_its_holder(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await stocked(connection, minters, 2)
    held, used = await attached(claims, 2)
    await hold_code(connection, spring.id, held)
    codes_of = ProgramCodes(connection, minters, spring.id)
    assert await state(connection, minters, spring.id, held) == "held"
    for step in (lifecycle.detach, change_expiry, lifecycle.delete):
        with pytest.raises(ProgramRefused, match="is held") as refused:
            await step(codes_of, held)
        assert refused.value.reason == "code_held"
    # One of two uses: the code stays its holder's, and can still be withdrawn.
    await hold_code(connection, spring.id, used)
    await connection.execute("UPDATE code_state SET uses = 1, held_until = NULL WHERE position = 1")
    with pytest.raises(ProgramRefused, match="was used"):
        await lifecycle.detach(codes_of, used)
    await lifecycle.delete(codes_of, used)
    await connection.execute("UPDATE code_state SET held_until = now() WHERE position = 0")
    assert await state(connection, minters, spring.id, held) == "attached"
    await lifecycle.detach(codes_of, held)
