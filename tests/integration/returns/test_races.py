"""Receipts beside requests and changes of the same codes: nobody gets a code that another has, and nothing hangs."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import pytest

from codewell.audit.promises import audit
from codewell.codes import bulk_apply
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import claim_queries, reissue
from codewell.issuing.claim import Claims
from codewell.issuing.claim_result import ClaimResult
from codewell.issuing.decision import Decision
from codewell.issuing.model import AssignmentKey, Request
from codewell.issuing.reissue import ReissueWanted
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.profiles.deciding_lock import wait_for_deciding
from codewell.profiles.forgetting import forget
from codewell.redemption import till
from codewell.returns import attempts
from codewell.returns.attempts import keep_others
from codewell.returns.detaching import detach, letting_go
from codewell.returns.settle import Settled
from schemas.changes import ChangeFilter
from schemas.reports import ReceiptKind
from tests.integration.codes.test_bulk import EXTEND, VOID, begin, done
from tests.integration.issuing.test_reissue import SUPPORT
from tests.integration.returns.test_settle import OVER, RETURNS, receipt, settle
from tests.support import old_answers
from tests.support.factories import OFF, message, program
from tests.support.open_alerts import is_open
from tests.support.running import until
from tests.support.stock import until_waiting


@asynccontextmanager
async def being_decided(
    claims: Claims, request: Request, connection: Connection, bystander: Connection
) -> AsyncIterator["asyncio.Future[ClaimResult]"]:
    """A claim that has read assignments, and stores its answers after the block."""
    write = claim_queries.write

    async def slowly(own: Connection, decision: Decision, stored: Collection[AssignmentKey] | None = None) -> None:
        await own.execute("SELECT pg_advisory_xact_lock(1)")
        await write(own, decision, stored)

    await bystander.execute("BEGIN")
    await bystander.execute("SELECT pg_advisory_xact_lock(1)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claim_queries, "write", slowly)
        deciding = asyncio.ensure_future(claims.attach([request]))
        await until_waiting(connection)
    yield deciding
    await bystander.execute("COMMIT")


async def codes_of_others(claims: Claims, count: int) -> list[str | None]:
    requests = [message("SPRING", profile_id=f"p-{number}") for number in range(10, 10 + count)]
    rows = (await claims.attach(requests)).rows
    return [rows[one.id][0].code for one in requests]


@pytest.mark.parametrize(
    ("kind", "returns"), [("before_handoff", "reuse"), ("permanent", "reuse"), ("permanent", "void")]
)
async def test_i1_a_code_that_is_being_given_again_does_not_come_back(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, others: Claims, minters: Minters,
    kind: ReceiptKind, returns: str,
) -> None:  # fmt: skip
    spring = await program(connection, minters, reuse="profile", returns=returns, **OFF)
    await generate(connection, minters, spring.id, 1, None)
    first = message("SPRING", profile_id="p-1")
    [row] = (await claims.attach([first])).rows[first.id]
    await generate(connection, minters, spring.id, 3, None)
    if kind == "permanent":
        await settle(connection, receipt(first, kind))
        await connection.execute(OVER)

    async def settled() -> list[str]:
        async with connections.acquire() as own:
            if kind == "permanent":
                return [outcome for _, outcome in await RETURNS.end_quarantines(own, 10)]
            return [code.outcome for one in await settle(own, receipt(first, kind)) for code in one.codes]

    async def both_wait() -> bool:
        waiting: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%FROM pg_locks%' AND pid <> pg_backend_pid()"
        )
        return waiting == 2 or any(one.done() for one in settling)

    later = [message("SPRING", profile_id="p-1") for _ in range(2)]
    async with being_decided(claims, later[0], connection, bystander) as deciding:
        # Receipts come twice, and two workers may settle them at once.
        settling = [asyncio.ensure_future(settled()) for _ in range(2)]
        await until(both_wait, "workers that wait for what is being decided")
    [again] = (await deciding).rows[later[0].id]

    assert (again.code, again.again) == (row.code, True)
    assert sorted(await asyncio.gather(*settling)) in ([[], ["kept"]], [["kept"], ["kept"]])
    assert row.code not in await codes_of_others(others, 3)
    # The profile keeps it for its next requests too.
    assert (await claims.attach(later[1:])).rows[later[1].id][0].code == row.code
    assert await audit(connection) == []


async def test_a_code_whose_quarantine_another_worker_ends_stays_its_profiles(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spring = await program(connection, minters, reuse="profile", returns="reuse", **OFF)
    await generate(connection, minters, spring.id, 3, None)
    first, again, later = (message("SPRING", profile_id="p-1") for _ in range(3))
    code = (await claims.attach([first])).rows[first.id][0].code
    await settle(connection, receipt(first, "permanent"))
    await connection.execute(OVER)
    of_others: list[str] = []

    async def wait_longer(own: Connection) -> None:
        await wait_for_deciding(own)
        monkeypatch.setattr(attempts, "wait_for_deciding", wait_for_deciding)
        async with connections.acquire() as other:
            of_others.extend(outcome for _, outcome in await RETURNS.end_quarantines(other, 10))

    async with connections.acquire() as own:
        async with being_decided(claims, again, connection, bystander) as deciding:
            monkeypatch.setattr(attempts, "wait_for_deciding", wait_longer)
            ending = asyncio.ensure_future(RETURNS.end_quarantines(own, 10))

            async def is_let_go() -> bool:
                held: int = await connection.fetchval("SELECT count(*) FROM holding")
                return held == 0

            await until(is_let_go, "code that its profile would not get again")
        assert (await deciding).rows[again.id][0].code == code
        assert (await ending, of_others) == ([], ["kept"])

    assert (await claims.attach([later])).rows[later.id][0].code == code
    assert await audit(connection) == []


async def test_a_code_that_stays_is_not_kept_for_a_profile_that_was_forgotten_meanwhile(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile", **OFF)
    await generate(connection, minters, spring.id, 2, None)
    await claims.attach([message("SPRING", profile_id="p-1"), message("SPRING", profile_id="p-2")])
    freed = await connection.fetch("DELETE FROM holding RETURNING *")
    await forget(connection, "p-1")

    await keep_others(connection, freed, [])

    assert [row["profile_id"] for row in await connection.fetch("SELECT profile_id FROM holding")] == ["p-2"]
    assert await audit(connection) == []


async def test_i6_a_code_that_stays_keeps_the_expiry_that_it_got_meanwhile(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile", **OFF)
    await generate(connection, minters, spring.id, 1, None)
    first, later = message("SPRING", profile_id="p-1"), message("SPRING", profile_id="p-1")
    await claims.attach([first])

    async def is_let_go() -> bool:
        held: int = await connection.fetchval("SELECT count(*) FROM holding")
        return held == 0

    async with connections.acquire() as own:
        async with being_decided(claims, later, connection, bystander) as deciding:
            settling = asyncio.ensure_future(settle(own, receipt(first, "before_handoff")))
            await until(is_let_go, "code that its profile would not get again")
            await done(ProgramCodes(connection, minters, spring.id), EXTEND, ChangeFilter(state="attached"))
        await deciding
        assert reason(await settling) == "assigned"

    assert await connection.fetchval("SELECT expires_at FROM holding") == EXTEND.expires_at


@pytest.mark.parametrize("by_hand", [False, True])
async def test_a_code_that_is_reissued_while_its_assignment_is_let_go_leaves_it_to_the_new_one(
    connections: Pool, connection: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch,
    by_hand: bool,
) -> None:  # fmt: skip
    spring = await program(connection, minters, reuse="profile", reissues_max=2, **OFF)
    await generate(connection, minters, spring.id, 5, None)
    first, later = message("SPRING", profile_id="p-1"), message("SPRING", profile_id="p-1")
    code = (await claims.attach([first])).rows[first.id][0].code or ""
    codes = ProgramCodes(connection, minters, spring.id)
    new: list[str] = []

    async def reissued() -> None:
        for _ in range(2):
            wanted = ReissueWanted(None, "p-1", "lost", "same")
            new.append((await reissue.reissue(codes, wanted, uuid7(), SUPPORT, is_last=True)).code.code)

    async def wait_longer(own: Connection) -> None:
        await wait_for_deciding(own)
        await reissued()

    if by_hand:
        async with letting_go(connections.acquire, minters, spring.id, code):
            await reissued()
            with pytest.raises(ProgramRefused):
                await detach(codes, code)
    else:
        monkeypatch.setattr(attempts, "wait_for_deciding", wait_longer)
        async with connections.acquire() as own:
            await settle(own, receipt(first, "before_handoff"))

    assert len(new) == 2
    assert (await claims.attach([later])).rows[later.id][0].code == new[-1]
    assert await audit(connection) == []


async def test_a_late_report_on_a_code_that_was_deleted_in_the_pool_is_settled(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 4, None)
    first = message("SPRING", profile_id="p-1")
    await claims.attach([first])
    await settle(connection, receipt(first, "before_handoff"))
    await done(ProgramCodes(connection, minters, spring.id), VOID, ChangeFilter(state="pooled"))

    assert reason(await settle(connection, receipt(first, "delivered"))) == "before"

    # Nobody has it, and nobody will.
    assert not await is_open(connection, spring.id, "return-conflict", str(first.id))
    assert await audit(connection) == []


async def test_a_late_report_on_a_code_whose_next_answer_has_left_is_settled(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, ttl="P1D", ttl_from="creation", **OFF)
    await generate(connection, minters, spring.id, 2, None)
    first = message("SPRING", profile_id="p-1", request_id=old_answers.old_id())
    await claims.attach([first])
    await settle(connection, receipt(first, "before_handoff"))
    await claims.attach([message("SPRING", profile_id=f"p-{n}", request_id=old_answers.old_id()) for n in (2, 3)])
    await old_answers.age(connection)
    assert await old_answers.archive(connection) > 0

    assert reason(await settle(connection, receipt(first, "opened"))) in {"before", "unknown_request"}

    assert await audit(connection) == []


async def test_a_change_of_the_same_codes_does_not_fail_a_batch(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    """A batch locks codes to which something has happened before the others, and so not in order."""
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 4, None)
    requests = [message("SPRING", profile_id=f"p-{number}") for number in range(4)]
    rows = (await claims.attach(requests)).rows
    at = {rows[one.id][0].position: one for one in requests}
    codes = ProgramCodes(connection, minters, spring.id)
    last = rows[at[3].id][0]
    await till.hold(codes, last.code or "", "o-1")
    await till.release(codes, last.code or "", "o-1")
    # The change waits at the second code, with the first one locked.
    await bystander.execute("BEGIN")
    await bystander.execute("INSERT INTO code_state (block_id, position) VALUES ($1, 1)", last.block_id)
    change = await begin(codes, EXTEND, ChangeFilter(state="attached"))
    async with connections.acquire() as one, connections.acquire() as other:
        changing = asyncio.ensure_future(bulk_apply.advance(one, change))
        await until_waiting(connection)
        settling = asyncio.ensure_future(settle(other, *(receipt(at[n], "before_handoff") for n in (0, 3))))
        await until_waiting(connection, 2)
        await bystander.execute("COMMIT")
        await changing
        assert reason(await settling) == "before_handoff"
    assert await audit(connection) == []


def reason(settled: Sequence[Settled]) -> str | None:
    return settled[0].reason or settled[0].codes[0].reason
