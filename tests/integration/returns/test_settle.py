"""Receipts on a real database: what comes back, what waits, what stays, and that stock is conserved."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from codewell.alerts import alerts
from codewell.audit.promises import audit
from codewell.codes import history, lifecycle, lookup, typed
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing.claim import Claims
from codewell.issuing.model import Request
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.profiles.forgetting import forget
from codewell.programs import overview
from codewell.redemption import till
from codewell.reservations import reservations
from codewell.returns.answers import answer_data, receipt_answer_id
from codewell.returns.settle import Receipt, Returns, Settled
from schemas.program import Program, Stock
from schemas.reports import CodesReturned, ReceiptKind
from schemas.reservations import ReservationRequest
from tests.support.factories import OFF, message, program, step
from tests.support.open_alerts import is_open

RETURNS = Returns(share_max=0.2)
OVER = "UPDATE send_receipt SET due_at = now() - interval '1 s' WHERE due_at IS NOT NULL"


async def stocked(connection: Connection, minters: Minters, count: int, **changed: object) -> Program:
    made = await program(connection, minters, **{**OFF, **changed})
    await generate(connection, minters, made.id, count, '{"discount": "5"}')
    return made


async def sent(claims: Claims, count: int, *names: str) -> list[Request]:
    """Requests of p-0, p-1 and so on that got their codes."""
    requests = [message(*(names or ("SPRING",)), profile_id=f"p-{number}") for number in range(count)]
    claimed = await claims.attach(requests)
    assert all(row.code for rows in claimed.rows.values() for row in rows)
    return requests


def receipt(request: Request, kind: ReceiptKind, profile_id: str | None = None) -> Receipt:
    return Receipt(UUID(str(request.id)), profile_id or request.event.profile_id, kind)


async def settle(connection: Connection, *receipts: Receipt, returns: Returns = RETURNS) -> list[Settled]:
    settlement = await returns.settle(connection, receipts)
    assert settlement.unknown == []
    return [settlement.settled[one] for one in receipts]


def outcomes(settled: Sequence[Settled]) -> list[tuple[str, str]]:
    return [(code.outcome, code.reason) for one in settled for code in one.codes]


async def stock(connection: Connection, name: str = "SPRING") -> Stock:
    return await overview.stock(connection, name)


async def test_a_code_that_nobody_saw_comes_back_and_is_given_again(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await stocked(connection, minters, 10)
    requests = await sent(claims, 10)

    settled = await settle(connection, *(receipt(one, "before_handoff") for one in requests[:6]))

    assert outcomes(settled) == [("returned", "before_handoff")] * 6
    now = await stock(connection)
    assert (now.made, now.pooled, now.attached) == (10, 6, 4)
    # In one block, however many there are.
    assert await connection.fetchval("SELECT count(*) FROM block WHERE origin = 'return'") == 1
    again = await sent(claims, 6)
    codes = [row.code or "" for one in again for row in (await claims.attach([one])).rows[one.id]]
    assert sorted(codes) == sorted(code.code for one in settled for code in one.codes)
    assert await audit(connection) == []
    # Its history follows it to its new place.
    facts = await lookup.find(ProgramCodes(connection, minters, spring.id), settled[3].codes[0].code)
    assert facts is not None
    life = await history.read(ProgramCodes(connection, minters, spring.id), "SPRING", facts)
    assert [event.kind for event in life.events] == ["made", "attached", "returned", "attached"]
    assert life.is_complete


async def test_a_text_that_is_typed_in_finds_its_code_before_and_after_it_comes_back(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await stocked(connection, minters, 3)
    codes = ProgramCodes(connection, minters, spring.id)
    [request] = await sent(claims, 1)
    [row] = (await claims.attach([request])).rows[request.id]
    text = row.code or ""
    first = [await typed.find(codes, text) for _ in range(2)]

    await settle(connection, receipt(request, "before_handoff"))

    again = [await typed.find(codes, one) for one in (text, f" {text} ")]
    assert [one and (one.state, one.place.listed) for one in (*first, *again)] == [("attached", 0)] * 2 + [
        ("pooled", 1)
    ] * 2


async def test_a_copy_gets_the_same_bytes_and_returns_nothing_again(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    await stocked(connection, minters, 3)
    [request, other, third] = await sent(claims, 3)
    failed, bounced = receipt(request, "before_handoff"), receipt(other, "permanent")
    first = await settle(connection, failed, bounced)
    await settle(connection, receipt(third, "before_handoff"))

    copies = await settle(connection, bounced, failed)

    for one, before, copy in zip((bounced, failed), reversed(first), copies, strict=True):
        assert answer_data(one, copy) == answer_data(one, before)
        assert receipt_answer_id(one, copy) == receipt_answer_id(one, before)
        assert copy.decided_at == before.decided_at
        CodesReturned.model_validate_json(answer_data(one, copy))
    # Another report about the same message is no copy, and says how it stands.
    assert outcomes(await settle(connection, receipt(request, "permanent"))) == [("returned", "before")]
    assert outcomes(await settle(connection, receipt(other, "before_handoff"))) == [("quarantined", "before")]
    assert (await stock(connection)).pooled == 2
    assert await audit(connection) == []


async def test_what_may_have_been_seen_waits_and_then_follows_the_program(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    policies = {"SPRING": "reuse", "SUMMER": "void", "AUTUMN": "keep"}
    for name, policy in policies.items():
        await stocked(connection, minters, 5, name=name, returns=policy, return_after=timedelta(days=1))
    requests = await sent(claims, 4, *policies)
    used, arrived, late, plain = requests
    settled = await settle(connection, *(receipt(one, "permanent") for one in requests))
    assert outcomes(settled) == [("quarantined", "after_handoff")] * 12
    for code in settled[0].codes:
        made = await overview.stock(connection, code.program)
        assert made.attached == 4
    spring = await connection.fetchval("SELECT id FROM program WHERE name = 'SPRING'")
    await till.activate(ProgramCodes(connection, minters, spring), settled[0].codes[0].code)
    assert outcomes(await settle(connection, receipt(arrived, "delivered"))) == [("kept", "delivered")] * 3
    assert await RETURNS.end_quarantines(connection, 100) == []

    await connection.execute(OVER)
    ended = await RETURNS.end_quarantines(connection, 100)

    assert len(ended) == 9
    by_name = {name: await stock(connection, name) for name in policies}
    assert [(one.pooled, one.attached, one.activated, one.deleted) for one in by_name.values()] == [
        (1 + 2, 2, 1, 0), (1, 1, 0, 3), (1, 4, 0, 0),
    ]  # fmt: skip
    assert await RETURNS.end_quarantines(connection, 100) == []
    assert used.id != late.id != plain.id
    assert await audit(connection) == []


async def test_a_report_on_something_else_changes_nothing(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await stocked(connection, minters, 4)
    [request] = await sent(claims, 1)
    preview, refused = message("SPRING", preview=True), message("NOPE")
    await claims.attach([preview, refused])
    unknown = Receipt(UUID(str(uuid7())), "p-1", "permanent")

    settled = await settle(
        connection, receipt(request, "before_handoff", "p-9"), receipt(preview, "before_handoff"),
        receipt(refused, "permanent"),
    )  # fmt: skip

    assert [one.reason for one in settled] == ["other_profile", None, "request_refused"]
    assert outcomes(settled) == [("kept", "preview")]
    assert (await stock(connection)).attached == 1
    # The right report is not taken for a copy of the wrong one.
    assert outcomes(await settle(connection, receipt(request, "before_handoff"))) == [("returned", "before_handoff")]
    waiting = await RETURNS.settle(connection, [unknown])
    assert (waiting.unknown, waiting.settled) == ([unknown], {})
    opened = unknown._replace(kind="opened")
    given_up = await RETURNS.settle(connection, [unknown, opened], frozenset([unknown.request_id]))
    assert [given_up.settled[one].reason for one in (unknown, opened)] == ["unknown_request"] * 2
    # And is answered the same, though its request is decided by then.
    late = message("SPRING", request_id=unknown.request_id)
    await claims.attach([late])
    assert (await settle(connection, unknown))[0] == given_up.settled[unknown]
    assert (await overview.stock(connection, "SPRING")).attached == 1
    assert spring.id > 0
    assert await audit(connection) == []


async def test_what_was_used_detached_or_forgotten(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await stocked(connection, minters, 5)
    requests = await sent(claims, 4)
    used, detached, forgotten, deleted = requests
    of = {one.id: (await claims.attach([one])).rows[one.id][0].code or "" for one in requests}
    codes = ProgramCodes(connection, minters, spring.id)
    await till.activate(codes, of[used.id])
    await lifecycle.detach(codes, of[detached.id])
    await lifecycle.delete(codes, of[deleted.id])
    await forget(connection, forgotten.event.profile_id)

    settled = await settle(connection, *(receipt(one, "before_handoff") for one in requests))

    assert outcomes(settled) == [
        ("kept", "used"), ("kept", "detached"), ("returned", "before_handoff"), ("kept", "deleted"),
    ]  # fmt: skip
    assert await audit(connection) == []


async def test_a_reused_code_stays_while_a_later_message_has_it(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await stocked(connection, minters, 5, reuse="profile")
    await stocked(connection, minters, 1, name="SHARED", shared=True, pool_max=1)
    first, second = message("SPRING"), step("SPRING")
    alone = message("SPRING", profile_id="p-2")
    shared = message("SHARED")
    await claims.attach([first])
    await claims.attach([second, alone, shared])

    kept = await settle(connection, receipt(first, "before_handoff"), receipt(alone, "before_handoff"))
    assert outcomes(kept) == [("kept", "assigned"), ("returned", "before_handoff")]
    assert outcomes(await settle(connection, receipt(shared, "before_handoff"))) == [("kept", "shared")]
    # It is free: the profile gets the next code of the pool, and none that another has by then.
    assert await connection.fetchval("SELECT count(*) FROM holding WHERE profile_id = 'p-2'") == 0
    assert outcomes(await settle(connection, receipt(second, "before_handoff"))) == [("kept", "assigned")]
    assert spring.id > 0
    assert await audit(connection) == []


async def test_a_message_that_arrives_after_all(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await stocked(connection, minters, 2)
    gone, pooled = await sent(claims, 2)
    await settle(connection, receipt(gone, "before_handoff"))
    given = message("SPRING", profile_id="p-9")
    await claims.attach([given])
    await settle(connection, receipt(pooled, "before_handoff"))

    settled = await settle(connection, receipt(gone, "opened"), receipt(pooled, "delivered"))

    assert outcomes(settled) == [("returned", "before")] * 2
    found = {one.key: one.details["other_request_id"] for one in await alerts.page(connection, spring.id, 10)}
    assert found == {str(gone.id): str(given.id), str(pooled.id): None}
    # Its customer has seen the one that was still in the pool: nobody else gets it.
    now = await stock(connection)
    assert (now.pooled, now.attached, now.deleted) == (0, 1, 1)
    assert await settle(connection, receipt(pooled, "clicked")) != []
    assert (await stock(connection)).deleted == 1
    assert await audit(connection) == []


async def test_a_message_that_fails_and_arrives_in_one_batch(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await stocked(connection, minters, 2)
    gone, waiting = await sent(claims, 2)
    reports: dict[Request, tuple[ReceiptKind, ...]] = {
        gone: ("before_handoff", "delivered", "opened"),
        waiting: ("permanent", "delivered", "opened"),
    }

    settled = await settle(connection, *(receipt(one, kind) for one, kinds in reports.items() for kind in kinds))

    assert outcomes(settled) == [
        ("returned", "before_handoff"), ("returned", "before"), ("returned", "before"),
        ("quarantined", "after_handoff"), ("kept", "delivered"), ("kept", "opened"),
    ]  # fmt: skip
    # Its customer has seen the one that has just come back: nobody else gets it.
    [found] = await alerts.page(connection, spring.id, 10)
    assert (found.kind, found.key, found.count) == ("return-conflict", str(gone.id), 1)
    assert found.details["other_request_id"] is None
    await connection.execute(OVER)
    assert await RETURNS.end_quarantines(connection, 100) == []
    now = await stock(connection)
    assert (now.pooled, now.attached, now.deleted) == (0, 1, 1)
    assert await audit(connection) == []


async def test_codes_that_came_back_are_found_where_a_reservation_has_moved_them(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await stocked(connection, minters, 4, codes_max=4, pool_max=4)
    requests = await sent(claims, 4)
    await settle(connection, *(receipt(one, "before_handoff") for one in requests[:3]))
    until = datetime.now(UTC) + timedelta(days=1)
    wanted = ReservationRequest(campaign_id="spring", count=2, until=until)
    await reservations.reserve(connection, minters, spring.id, wanted)

    await settle(
        connection, *(receipt(one, "delivered") for one in requests[:3]), receipt(requests[3], "before_handoff")
    )

    now = await stock(connection)
    assert (now.pooled, now.reserved, now.deleted) == (1, 0, 3)
    assert await audit(connection) == []


async def test_many_returns_stop_until_somebody_says_go_on(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await stocked(connection, minters, 450)
    requests = await sent(claims, 400)
    # The workers report on their usage later, and only minutes that are over count.
    await connection.execute("UPDATE answer SET answered_at = answered_at - interval '10 minutes'")
    await connection.execute("UPDATE program_history SET held_from = held_from - interval '1 hour'")
    await connection.execute(
        "INSERT INTO usage_minute SELECT $1, date_trunc('minute', now() - interval '10 minutes'), 'campaign', "
        "'attached', 500",
        spring.id,
    )
    await settle(connection, *(receipt(one, "before_handoff") for one in requests[:100]))
    assert not await is_open(connection, spring.id, "returns-stopped")
    await settle(connection, receipt(requests[100], "before_handoff"))
    assert await is_open(connection, spring.id, "returns-stopped")

    stopped = await settle(connection, *(receipt(one, "before_handoff") for one in requests[101:103]))
    assert outcomes(stopped) == [("quarantined", "returns_stopped")] * 2
    await connection.execute(OVER)
    assert await RETURNS.end_quarantines(connection, 100) == []

    await alerts.clear_alerts(connection, spring.id, "ana")
    assert len(await RETURNS.end_quarantines(connection, 100)) == 2
    # What came back before counts no more.
    await settle(connection, receipt(requests[103], "before_handoff"))
    assert not await is_open(connection, spring.id, "returns-stopped")
    assert (await stock(connection)).pooled == 50 + 104
    assert await audit(connection) == []


async def test_two_reports_at_once_agree(
    connections: Pool, connection: Connection, claims: Claims, minters: Minters
) -> None:
    await stocked(connection, minters, 20)
    requests = await sent(claims, 20)
    kinds: tuple[ReceiptKind, ...] = ("before_handoff", "delivered", "permanent", "before_handoff")

    async def report(kind: ReceiptKind) -> None:
        async with connections.acquire() as own:
            for request in requests:
                await RETURNS.settle(own, [receipt(request, kind)])

    await asyncio.gather(*map(report, kinds))

    rows = await connection.fetch(
        "SELECT request_id, array_agg(kind ORDER BY number) AS kinds, array_agg(outcome ORDER BY number) AS outcomes "
        "FROM send_receipt GROUP BY request_id"
    )
    assert {len(row["kinds"]) for row in rows} == {3}
    for row in rows:
        if row["kinds"][0] == "delivered":
            assert row["outcomes"] == ["kept"] * 3
    assert await audit(connection) == []
