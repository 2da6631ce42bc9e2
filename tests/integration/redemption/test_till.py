"""Uses and holds of codes: who gets one, whatever others do at the same time."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from codewell.audit.promises import audit
from codewell.codes import lifecycle
from codewell.codes.lookup import CodeFacts
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodewellError, ProgramRefused
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.profiles.deciding_lock import deciding
from codewell.programs import programs
from codewell.redemption import queries, till
from codewell.redemption.batch import Applied
from codewell.redemption.model import TillRequest, TillRules
from codewell.redemption.queries import Asked, Counting
from tests.support.factories import OFF, message, program
from tests.support.running import until
from tests.support.stock import codes as codes_of
from tests.support.stock import until_waiting

RACERS = 100


async def given(
    connection: Connection, claims: Claims, minters: Minters, count: int = 1, **changed: Any
) -> tuple[ProgramCodes, list[str]]:
    """A program, and codes of it that p-0, p-1 and so on have got."""
    made = await program(connection, minters, **{**OFF, **changed})
    await generate(connection, minters, made.id, count + 2, None)
    requests = [message("SPRING", profile_id=f"p-{n}") for n in range(count)]
    found = codes_of((await claims.attach(requests)).rows, requests)
    return ProgramCodes(connection, minters, made.id), [code or "" for code in found]


async def reason(awaited: Any) -> str:
    with pytest.raises(ProgramRefused) as refused:
        await awaited
    return refused.value.reason


async def lapse(connection: Connection) -> None:
    """Let the time of all holds pass."""
    await connection.execute("UPDATE code_use SET held_until = taken_at WHERE used_at IS NULL")
    await connection.execute("UPDATE code_state SET held_until = now() WHERE held_until IS NOT NULL")


async def in_one_batch(codes: ProgramCodes, requests: list[TillRequest]) -> list[Any]:
    async with codes.connection.transaction():
        return list(await till.apply_all(codes, requests))


async def race(pool: Pool, minters: Minters, program_id: int, requests: list[TillRequest]) -> Counter[str]:
    """How often each outcome came, as each request is applied on a connection of its own, all at once."""

    async def one(request: TillRequest) -> str:
        async with pool.acquire() as own:
            try:
                await till.apply(ProgramCodes(own, minters, program_id), request)
            except CodewellError as error:
                return error.reason
            return "done"

    return Counter(await asyncio.gather(*map(one, requests)))


async def test_a_code_that_is_attached_after_the_lock_is_locked_first(
    connection: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, _ = await given(connection, claims, minters, count=0)
    [code] = await minters.texts(connection, codes.program_id, 1, 0, 1)
    read = queries.counting

    async def attached_meanwhile(
        own: Connection, program_id: int, asked: Sequence[Asked]
    ) -> tuple[TillRules, list[Counting]]:
        monkeypatch.undo()
        await claims.attach([message("SPRING", profile_id="p-1")])
        return await read(own, program_id, asked)

    monkeypatch.setattr(queries, "counting", attached_meanwhile)
    used = await till.activate(codes, code, order_id="o-1")

    assert (used.profile_id, used.state, used.uses) == ("p-1", "activated", 1)
    assert await reason(till.activate(codes, code, order_id="o-2")) == "code_used"
    assert await audit(connection) == []


async def test_of_a_hundred_tills_exactly_three_use_a_code_with_three_uses(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters
) -> None:
    codes, [code] = await given(connection, claims, minters, uses={"per_code": 3, "per_profile": None})
    tills = [TillRequest("activate", code, order_id=f"o-{n}" if n % 2 else None) for n in range(RACERS)]

    outcomes = await race(connections, minters, codes.program_id, tills)

    assert outcomes == {"done": 3, "code_used": RACERS - 3}
    assert await connection.fetchval("SELECT count(*) FROM code_use") == 3
    assert await audit(connection) == []


async def test_of_a_hundred_orders_that_hold_and_activate_each_use_is_one_orders(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters
) -> None:
    codes, [code] = await given(connection, claims, minters, uses={"per_code": 2, "per_profile": None})
    orders = [f"o-{n}" for n in range(RACERS // 4)]
    held = await race(connections, minters, codes.program_id, [
        TillRequest("hold", code, order_id=order) for order in orders * 2
    ])  # fmt: skip
    # Both calls of the two orders that got it.
    assert held == {"done": 4, "code_held": len(orders) * 2 - 4}
    used = await race(connections, minters, codes.program_id, [
        TillRequest("activate", code, order_id=order) for order in orders * 2
    ])  # fmt: skip
    assert used["done"] == 4
    assert await connection.fetchval("SELECT count(*) FROM code_use WHERE used_at IS NOT NULL") == 2
    assert await audit(connection) == []


async def test_one_batch_decides_as_single_calls_do(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes, [one, two] = await given(connection, claims, minters, 2, uses={"per_code": 3, "per_profile": 2})
    async with connection.transaction():
        outcomes = await till.apply_all(codes, [
            TillRequest("hold", one, "p-0", "o-1"),
            TillRequest("activate", one, "p-0", "o-1"),
            TillRequest("activate", f" {one} ", "p-0"),
            TillRequest("activate", one, "p-0", "o-2"),
            TillRequest("activate", one, "p-1", "o-3"),
            TillRequest("hold", one, "p-1", "o-4"),
            TillRequest("hold", two, "p-1", "o-5"),
            TillRequest("release", two, None, "o-5"),
            TillRequest("activate", "NONE", "p-0"),
            TillRequest("deactivate", one, None, "o-3"),
        ])  # fmt: skip
    reasons = [one.reason if isinstance(one, CodewellError) else None for one in outcomes]
    assert reasons == [
        None, None, None, "code_used_by_profile", None, "code_used", None, None, "code_unknown", None,
    ]  # fmt: skip
    last = outcomes[-1]
    assert isinstance(last, Applied)
    assert (last.facts.state, last.facts.uses, last.facts.held_until) == ("attached", 2, None)
    assert await audit(connection) == []


async def test_a_batch_takes_three_statements(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes, texts = await given(connection, claims, minters, 3)
    # The first steps read the template's key and the names of types.
    await till.hold(codes, texts[0], "o-0")
    await till.release(codes, texts[0], "o-0")
    said: list[str] = []
    for step in ("activate", "deactivate", "hold", "activate"):
        requests = [TillRequest(step, text, order_id=f"o-{n}") for n, text in enumerate(texts)]
        async with connection.transaction():
            with connection.query_logger(lambda record: said.append(record.query)):
                outcomes = await till.apply_all(codes, requests)
        assert all(isinstance(one, Applied) and one.is_new for one in outcomes)
        assert len(said) == 3, said
        said.clear()
    assert await audit(connection) == []


async def test_no_code_of_a_batch_is_locked_before_all_are_found(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters
) -> None:
    template = {"kind": "template", "template": "{safe 6}"}
    codes, [low, high] = await given(connection, claims, minters, 2, source=template, match="fold")
    for code in (low, high):
        await till.hold(codes, code, "o-1")
    async with connections.acquire() as own, connections.acquire() as watching:
        async with connection.transaction():
            await till.apply_all(codes, [TillRequest("release", low, order_id="o-1")])
            batch = asyncio.create_task(in_one_batch(codes._replace(connection=own), [
                TillRequest("activate", high, order_id="o-1"), TillRequest("activate", low.lower(), order_id="o-2"),
            ]))  # fmt: skip
            await until_waiting(watching)
            # Another batch that locks the code after the first one could wait for this batch, and this one for it.
            await connection.execute("SELECT FROM code_state WHERE position = 1 FOR UPDATE NOWAIT")
        outcomes = await batch
    assert [one.is_new for one in outcomes] == [True, True]
    assert await audit(connection) == []


async def test_the_last_hold_of_a_code_counts_whoever_has_it(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes, [code] = await given(connection, claims, minters, uses={"per_code": 3, "per_profile": None})
    first = await till.hold(codes, code, "o-1", ttl=timedelta(hours=1))
    assert (await till.hold(codes, code, "o-2", ttl=timedelta(minutes=5))).held_until == first.held_until
    assert (await till.activate(codes, code, order_id="o-3")).held_until == first.held_until
    assert await audit(connection) == []
    second = await till.release(codes, code, "o-1")
    assert second.held_until is not None
    assert first.held_until is not None
    assert second.held_until < first.held_until
    assert (await till.release(codes, code, "o-2")).held_until is None
    assert await audit(connection) == []


async def test_an_order_takes_a_use_back_and_uses_the_code_again_in_one_batch(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes, [code] = await given(connection, claims, minters)
    await till.activate(codes, code, order_id="o-1")
    outcomes = await in_one_batch(codes, [
        TillRequest("deactivate", code, order_id="o-1"),
        TillRequest("activate", code, order_id="o-1"),
    ])  # fmt: skip
    assert [one.is_new for one in outcomes] == [True, True]
    assert await connection.fetchval("SELECT count(*) FROM code_use WHERE ended_at IS NOT NULL") == 1
    assert await audit(connection) == []


async def test_a_hold_keeps_others_away_until_it_ends(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes, [code, other] = await given(connection, claims, minters, 2)
    held = await till.hold(codes, code, "o-1", profile_id="p-0", ttl=timedelta(minutes=5))
    assert (held.state, held.uses) == ("held", 0)
    assert held.held_until is not None
    longer = await till.hold(codes, code, "o-1", ttl=timedelta(hours=1))
    assert longer.held_until is not None
    assert longer.held_until > held.held_until
    for another in (
        till.hold(codes, code, "o-2"),
        till.activate(codes, code),
        till.activate(codes, code, order_id="o-2"),
    ):
        assert await reason(another) == "code_held"
    assert await reason(till.release(codes, code, "o-2")) == "code_not_held"
    assert await reason(lifecycle.delete(codes, code)) == "code_held"
    assert (await till.release(codes, code, "o-1")).state == "attached"
    # Repeated, it changes nothing.
    assert (await till.release(codes, code, "o-1")).held_until is None
    await till.hold(codes, code, "o-2")
    await lapse(connection)
    assert (await till.hold(codes, code, "o-3")).state == "held"
    assert await reason(till.activate(codes, code, order_id="o-2")) == "code_held"
    used = await till.activate(codes, code, order_id="o-3")
    assert (used.state, used.uses) == ("activated", 1)
    assert await till.activate(codes, code, order_id="o-3") == used
    assert await reason(till.hold(codes, code, "o-3")) == "code_used"
    assert await reason(till.release(codes, code, "o-3")) == "code_used"
    assert await reason(till.hold(codes, code, "o-4")) == "code_used"
    # An order whose hold has passed still gets the code while it is free.
    await till.hold(codes, other, "o-9")
    await lapse(connection)
    assert (await till.activate(codes, other, order_id="o-9")).state == "activated"
    assert await audit(connection) == []


async def test_uses_are_taken_back_by_order(connection: Connection, claims: Claims, minters: Minters) -> None:
    codes, [code, old] = await given(connection, claims, minters, 2, uses={"per_code": 3, "per_profile": None})
    assert await reason(till.deactivate(codes, code)) == "code_not_used"
    for order in ("o-1", "o-2", "o-3"):
        used = await till.activate(codes, code, order_id=order)
    assert (used.state, used.uses) == ("activated", 3)
    assert await reason(till.deactivate(codes, code)) == "order_required"
    assert await reason(till.deactivate(codes, code, "o-4")) == "code_not_used"
    back = await till.deactivate(codes, code, "o-2")
    assert (back.state, back.uses, back.activated_at) == ("attached", 2, None)
    assert await till.deactivate(codes, code, "o-2") == back
    assert await reason(lifecycle.detach(codes, code)) == "code_used"
    # The order may use it again, and so may a till without an order, whose use is the first to be taken back.
    await till.activate(codes, code, order_id="o-2")
    await till.deactivate(codes, code, "o-1")
    await till.activate(codes, code)
    assert (await till.deactivate(codes, code)).uses == 2
    # An activation by a console of the release before, which wrote no row.
    await connection.execute(
        "INSERT INTO code_state (block_id, position, activated_at) SELECT block_id, position, now() FROM answer "
        "WHERE code = $1", old,
    )  # fmt: skip
    assert await reason(till.activate(codes, old, order_id="o-1")) == "code_used"
    assert (await till.deactivate(codes, old)).state == "attached"
    assert await audit(connection) == []


async def test_a_shared_code_is_used_once_by_each_profile_that_has_it(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes, [code, same, *_] = await given(connection, claims, minters, 3, shared=True, holder_only=True)
    assert code == same
    assert await reason(till.activate(codes, code)) == "profile_required"
    assert await reason(till.activate(codes, code, profile_id="p-9")) == "not_the_holder"
    for profile in ("p-0", "p-1"):
        await till.activate(codes, code, profile_id=profile, order_id=f"of-{profile}")
    assert await reason(till.activate(codes, code, profile_id="p-1", order_id="o-2")) == "code_used_by_profile"
    held = await till.hold(codes, code, "o-3", profile_id="p-2")
    assert (held.state, held.uses) == ("held", 2)
    assert await reason(till.hold(codes, code, "o-4", profile_id="p-2")) == "code_used_by_profile"
    assert (await till.activate(codes, code, order_id="o-3")).uses == 3
    await till.deactivate(codes, code, "of-p-1")
    await till.activate(codes, code, profile_id="p-1")
    assert await audit(connection) == []


async def test_a_shared_code_that_is_used_up_is_given_to_nobody_else(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes, [code] = await given(connection, claims, minters, shared=True, uses={"per_code": 2, "per_profile": 1})
    for profile in ("p-0", "p-1"):
        await till.activate(codes, code, profile_id=profile)
    request = message("SPRING", profile_id="p-7")
    [following] = codes_of((await claims.attach([request])).rows, [request])
    assert following not in {code, None}
    # A lower limit uses codes up too.
    await till.activate(codes, following or "", profile_id="p-7")
    await programs.update(connection, codes.minters, "SPRING", {"uses": {"per_code": 1, "per_profile": 1}}, 10)
    assert await state_of(codes, following or "") == "activated"
    request = message("SPRING", profile_id="p-8")
    [third] = codes_of((await claims.attach([request])).rows, [request])
    assert third not in {code, following, None}
    # Another limit by profile opens none; without a limit of the code's own, all that were used up are open again.
    await programs.update(connection, codes.minters, "SPRING", {"uses": {"per_code": 1, "per_profile": 2}}, 10)
    assert await reason(till.activate(codes, following or "", profile_id="p-8")) == "code_used"
    await programs.update(connection, codes.minters, "SPRING", {"uses": None}, 10)
    assert (await till.activate(codes, following or "", profile_id="p-8")).uses == 2
    # And the next customer still gets the code that is given now.
    request = message("SPRING", profile_id="p-9")
    assert codes_of((await claims.attach([request])).rows, [request]) == [third]
    assert await audit(connection) == []


@pytest.mark.parametrize(("old", "new", "ends"), [(2, 1, "activated"), (1, 2, "attached")])
async def test_a_limit_that_changes_while_a_code_is_used_counts_for_it(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters, old: int, new: int, ends: str
) -> None:
    codes, [code] = await given(connection, claims, minters, shared=True, uses={"per_code": old, "per_profile": 1})
    async with connections.acquire() as own, connections.acquire() as other:
        async with deciding(own):
            till_codes = codes._replace(connection=own)
            decided = await till.decide_all(till_codes, [TillRequest("activate", code, "p-0")])
            changes = {"uses": {"per_code": new}}
            updating = asyncio.create_task(programs.update(other, minters, "SPRING", changes, 10))

            async def changed() -> bool:
                limit: int = await connection.fetchval("SELECT (uses->>'per_code')::integer FROM program")
                return limit == new

            await until(changed, "new limit")
            await till.write(till_codes, decided)
        await updating
    assert await state_of(codes, code) == ends
    if ends == "activated":
        request = message("SPRING", profile_id="p-7")
        assert codes_of((await claims.attach([request])).rows, [request]) != [code]
    assert await audit(connection) == []


async def test_a_higher_limit_opens_exactly_the_codes_that_it_leaves_uses(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes, [once, twice, deleted, before, fresh] = await given(connection, claims, minters, 5, uses={"per_code": 2})
    for code in (once, twice, twice, deleted):
        await till.activate(codes, code, profile_id=f"p-{code}-{await uses_of(codes, code)}")
    await till.activate(codes, before, profile_id="q")
    await connection.execute(
        "UPDATE code_state SET uses = 0, activated_at = now() WHERE (block_id, position) = "
        "(SELECT block_id, position FROM answer WHERE code = $1)",
        before,
    )
    await connection.execute("DELETE FROM code_use WHERE profile_id = 'q'")
    await lifecycle.delete(codes, deleted)

    async def limited(per_code: int) -> list[str]:
        changes = {"uses": {"per_code": per_code}}
        await programs.update(connection, codes.minters, "SPRING", changes, 10)
        return [await state_of(codes, code) for code in (once, twice, deleted, before, fresh)]

    assert await limited(1) == ["activated", "activated", "deleted", "activated", "attached"]
    assert await limited(2) == ["attached", "activated", "deleted", "activated", "attached"]
    assert await limited(3) == ["attached", "attached", "deleted", "activated", "attached"]
    assert (await till.activate(codes, twice, profile_id="r")).state == "activated"
    assert await audit(connection) == []


async def uses_of(codes: ProgramCodes, code: str) -> int:
    from codewell.codes.lookup import find

    found = await find(codes, code)
    assert isinstance(found, CodeFacts)
    return found.uses


async def state_of(codes: ProgramCodes, code: str) -> str:
    from codewell.codes.lookup import find

    found = await find(codes, code)
    assert isinstance(found, CodeFacts)
    return found.state


async def test_only_attached_codes_of_an_open_program_are_held_or_used(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes, [code, gone] = await given(connection, claims, minters, 2, ttl=timedelta(minutes=10))
    held = await till.hold(codes, code, "o-1", ttl=timedelta(hours=2))
    # An expired code is nobody's to use.
    assert held.held_until == held.expires_at
    await till.release(codes, code, "o-1")
    await lifecycle.delete(codes, gone)
    pooled = (await lifecycle.detach(codes, code)).code
    for step in (till.activate, lambda codes, code: till.hold(codes, code, "o-2")):
        assert await reason(step(codes, pooled)) == "code_not_attached"
        assert await reason(step(codes, gone)) == "code_deleted"
        assert await reason(step(codes, "NONE")) == "code_unknown"
    request = message("SPRING", profile_id="p-1")
    [next_one] = codes_of((await claims.attach([request])).rows, [request])
    await programs.set_active(connection, "SPRING", active=False)
    assert await reason(till.hold(codes, next_one or "", "o-2")) == "program_inactive"
    await programs.set_active(connection, "SPRING", active=True)
    await connection.execute("UPDATE answer SET expires_at = answered_at")
    assert await reason(till.hold(codes, next_one or "", "o-2")) == "code_expired"


async def test_an_order_uses_a_code_once_whatever_writes_the_row(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes, [code] = await given(connection, claims, minters, uses={"per_code": None, "per_profile": None})
    await till.activate(codes, code, order_id="o-1")
    copy = (
        "INSERT INTO code_use (program_id, block_id, position, order_id, taken_at, used_at) "
        "SELECT program_id, block_id, position, order_id, now(), now() FROM code_use"
    )
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(copy)
