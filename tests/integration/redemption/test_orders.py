"""Events of orders: paid ones use what they hold, others give it back, in whatever order they come."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from codewell.alerts import alerts
from codewell.audit.promises import audit
from codewell.codes import lifecycle
from codewell.codes.lookup import find
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import OrderUnknown
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.redemption import order_facts, orders, till
from codewell.redemption.model import TillRequest
from codewell.redemption.orders import OrderEvent
from schemas.reports import OrderState
from tests.integration.redemption.test_till import given, lapse, race
from tests.support.factories import OFF, message, program
from tests.support.open_alerts import is_open
from tests.support.stock import codes as codes_of

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


def event(state: OrderState, minute: int | None = None, order_id: str = "o-1") -> OrderEvent:
    return OrderEvent(order_id, state, None if minute is None else NOON + timedelta(minutes=minute))


async def settle(codes: ProgramCodes, *told: OrderEvent) -> list[str]:
    return [one.outcome for one in await orders.settle(codes.connection, codes.minters, told)]


async def state_of(codes: ProgramCodes, code: str) -> str:
    found = await find(codes, code)
    assert found is not None
    return found.state


async def test_a_paid_order_uses_what_it_holds_and_a_refund_gives_it_back(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes, [one, two, other] = await given(connection, claims, minters, 3)
    for code in (one, two):
        await till.hold(codes, code, "o-1")
    await till.hold(codes, other, "o-2")
    with pytest.raises(OrderUnknown):
        await order_facts.get(connection, "o-9")
    assert (await order_facts.get(connection, "o-1")).state is None

    # An order that has no code leaves no trace.
    assert await settle(codes, event("paid"), event("paid", order_id="o-9")) == ["used", "used"]
    assert await settle(codes, event("paid"), event("paid")) == []
    assert [await state_of(codes, code) for code in (one, two, other)] == ["activated", "activated", "held"]
    assert await connection.fetchval("SELECT count(*) FROM shop_order") == 1
    paid = await order_facts.get(connection, "o-1")
    assert (paid.state, paid.paid_at, [code.state for code in paid.codes]) == ("paid", None, ["used", "used"])

    assert await settle(codes, event("refunded"), event("cancelled", order_id="o-2")) == ["ended"] * 3
    assert await settle(codes, event("refunded"), event("paid"), event("paid", order_id="o-2")) == []
    assert [await state_of(codes, code) for code in (one, two, other)] == ["attached"] * 3
    refunded = await order_facts.get(connection, "o-1")
    assert (refunded.state, [code.ended_by for code in refunded.codes]) == ("refunded", ["order", "order"])
    assert (await order_facts.get(connection, "o-2")).codes[0].state == "released"
    assert await audit(connection) == []


@pytest.mark.parametrize(
    ("told", "refund", "ends"),
    [
        ([event("paid"), event("refunded")], "give_back", "attached"),
        ([event("paid"), event("cancelled")], "keep_used", "activated"),
        ([event("cancelled"), event("refunded", 1)], "keep_used", "attached"),
        ([event("cancelled", 1), event("paid", 2)], "give_back", "activated"),
        ([event("paid", 1), event("cancelled", 2), event("paid", 3)], "give_back", "activated"),
        ([event("paid", 1), event("paid", 2), event("refunded", 3)], "give_back", "attached"),
    ],
)
async def test_events_of_an_order_end_the_same_in_any_order(
    connection: Connection, claims: Claims, minters: Minters, told: list[OrderEvent], refund: str, ends: str
) -> None:
    cases = list(permutations(told))
    codes, texts = await given(connection, claims, minters, len(cases) * 2, refund=refund)
    for number, (case, code) in enumerate(zip([*cases, *cases], texts, strict=True)):
        order_id = f"o-{number}"
        own = [one._replace(order_id=order_id) for one in case]
        await till.hold(codes, code, order_id)
        # One by one and the last one twice; or all in one batch.
        batches: Sequence[Sequence[OrderEvent]] = [[one] for one in [*own, own[-1]]] if number < len(cases) else [own]
        for batch in batches:
            await settle(codes, *batch)
        assert await state_of(codes, code) == ends, (case, batches)
    assert await audit(connection) == []


@pytest.mark.parametrize("refund", ["give_back", "keep_used"])
@pytest.mark.parametrize("first", ["a", "z"])
async def test_a_paid_order_takes_the_code_that_another_gives_back_in_the_same_batch(
    connection: Connection, claims: Claims, minters: Minters, first: str, refund: str
) -> None:
    codes, [held, used] = await given(connection, claims, minters, 2, refund=refund)
    second = "z" if first == "a" else "a"
    for code in (held, used):
        await till.hold(codes, code, first)
    await lapse(connection)
    await till.hold(codes, held, second)
    await till.hold(codes, used, "m")
    await settle(codes, event("paid", 0, "m"))

    told = [event("paid", 0, first), event("cancelled", 0, second), event("refunded", 1, "m")]
    outcomes, refused = {
        "give_back": (["ended", "ended", "used", "used"], []),
        "keep_used": (["ended", "refused", "used"], ["code_used"]),
    }[refund]
    assert sorted(await settle(codes, *told)) == outcomes
    assert [await state_of(codes, code) for code in (held, used)] == ["activated"] * 2
    refusals = (await order_facts.get(connection, first)).refusals
    assert [one.reason for one in refusals] == refused
    assert await audit(connection) == []


async def test_a_paid_order_whose_hold_has_passed_takes_the_code_or_is_told_why_not(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes, [free, taken, held, gone, back, own] = await given(connection, claims, minters, 6)
    for code in (free, taken, held, gone, back, own):
        await till.hold(codes, code, "o-1")
    # What the order itself gave back is not its any more.
    await till.release(codes, own, "o-1")
    await lapse(connection)
    await till.activate(codes, taken, order_id="o-2")
    await till.hold(codes, held, "o-3")
    await lifecycle.delete(codes, gone)
    await lifecycle.detach(codes, back)

    assert sorted(await settle(codes, event("paid", 0))) == ["refused"] * 4 + ["used"]
    assert await settle(codes, event("paid", 0)) == []

    told = await order_facts.get(connection, "o-1")
    assert {one.code: one.reason for one in told.refusals} == {
        taken: "code_used", held: "code_held", gone: "code_deleted", back: "code_not_attached",
    }  # fmt: skip
    assert all(one.code in one.detail for one in told.refusals)
    assert (told.state, told.paid_at) == ("paid", NOON)
    [alert] = await alerts.page(connection, codes.program_id, 10)
    assert (alert.kind, alert.key, alert.count) == ("order-unpaid-code", "o-1", 4)
    assert await state_of(codes, own) == "attached"

    # The hold of the other order passes: the event, delivered again, takes its code too.
    await till.release(codes, held, "o-3")
    assert await settle(codes, event("paid", 0)) == ["used"]
    assert await alerts.clear_used_orders(connection) == 0
    assert await is_open(connection, codes.program_id, "order-unpaid-code", "o-1")
    assert await settle(codes, event("cancelled", 1)) == ["ended", "ended"]
    after = await order_facts.get(connection, "o-1")
    assert (after.state, after.refusals) == ("cancelled", [])
    # An order that is not paid lacks no code: the alert is over.
    [alert] = await alerts.page(connection, codes.program_id, 10, cleared=True)
    assert (alert.count, alert.cleared_by) == (4, "codewell")
    assert await alerts.page(connection, codes.program_id, 10) == []
    assert await audit(connection) == []


async def test_the_alert_of_a_paid_order_ends_once_a_till_has_used_all_its_codes_for_it(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes, [first, second, other] = await given(connection, claims, minters, 3)
    for code in (first, second):
        await till.hold(codes, code, "o-1")
    await till.hold(codes, other, "o-9")
    await lapse(connection)
    for code in (first, second):
        await till.hold(codes, code, "o-2")
    await till.activate(codes, other, order_id="o-2")
    assert sorted(await settle(codes, event("paid", 0), event("paid", 0, "o-9"))) == ["refused"] * 3

    await till.release(codes, first, "o-2")
    await till.activate(codes, first, order_id="o-1")
    assert await alerts.clear_used_orders(connection) == 0, "the second code is still another order's"
    await till.release(codes, second, "o-2")
    await till.activate(codes, second, order_id="o-1")
    assert await alerts.clear_used_orders(connection) == 1
    assert not await is_open(connection, codes.program_id, "order-unpaid-code", "o-1")
    assert await is_open(connection, codes.program_id, "order-unpaid-code", "o-9")
    assert await audit(connection) == []


async def test_batches_and_tills_that_meet_let_one_order_have_each_code(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters
) -> None:
    """Orders with codes of two programs, whose holds have passed: events, twice, race with tills of other orders."""
    programs_codes = []
    for name in ("ONE", "TWO"):
        made = await program(connection, minters, name, **OFF)
        await generate(connection, minters, made.id, 30, None)
        requests = [message(name, profile_id=f"p-{n}") for n in range(20)]
        texts = [code or "" for code in codes_of((await claims.attach(requests)).rows, requests)]
        programs_codes.append((ProgramCodes(connection, minters, made.id), texts))
    for codes, texts in programs_codes:
        for number, code in enumerate(texts):
            await till.hold(codes, code, f"o-{number // 2}")
    await lapse(connection)
    told = [event("paid", order_id=f"o-{number}") for number in range(10)]

    async def batch(some: list[OrderEvent]) -> list[orders.OrderOutcome]:
        async with connections.acquire() as own:
            return await orders.settle(own, minters, some)

    halves = [told[:6], told[4:][::-1], told[::2], told[1::2][::-1]]
    tills = [
        race(connections, minters, codes.program_id, [
            TillRequest("activate", code, order_id=f"x-{n}") for n, code in enumerate(texts)
        ])
        for codes, texts in programs_codes
    ]  # fmt: skip
    racing = asyncio.gather(*tills)
    settled = await asyncio.gather(*map(batch, halves))

    used = sum(one.outcome == "used" for some in settled for one in some)
    by_tills = sum(outcomes["done"] for outcomes in await racing)
    assert used + by_tills == 40
    refused = await connection.fetchval("SELECT sum(jsonb_array_length(refusals)) FROM shop_order")
    assert refused == by_tills
    assert await audit(connection) == []
