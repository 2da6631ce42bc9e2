"""Reservations are made with exact figures, changed, and given back."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.codes import bulk_apply, lifecycle
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused, ReservationShort, ReservationUnknown
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from codewell.reservations import reservations, states
from schemas.reservations import ReservationChanges
from tests.integration.codes.test_bulk import EXTEND, begin
from tests.integration.reservations.test_claims import reserve, wanted
from tests.support.factories import OFF, message, program
from tests.support.stock import attach_all, codes, delete_codes, list_block, until_waiting

DAY = timedelta(days=1)


async def test_ten_million_codes_of_a_template_are_a_hundred_rows(connection: Connection, minters: Minters) -> None:
    source = {"kind": "template", "template": "{safe 10}"}
    spring = await program(connection, minters, source=source, codes_max=20_000_000, **OFF)

    mine = await reserve(connection, minters, spring.id, 10_000_000)

    assert (mine.reserved, mine.left, mine.shortfall, mine.parts.minted) == (10_000_000, 10_000_000, 0, 10_000_000)
    assert await connection.fetchval("SELECT count(*) FROM block") == 100
    stock = await overview.stock(connection, "SPRING")
    assert (stock.pooled, stock.reserved, stock.made) == (10_000_000, 10_000_000, 10_000_000)
    [listed] = await overview.page(connection, [], "", 10)
    assert (listed.pooled, listed.reserved) == (10_000_000, 10_000_000)
    assert await audit(connection) == []

    ended = await reservations.release(connection, spring.id, mine.id)
    assert (ended.state, ended.left, ended.used) == ("released", 0, 0)
    assert await reservations.release(connection, spring.id, mine.id) == ended
    stock = await overview.stock(connection, "SPRING")
    assert (stock.pooled, stock.reserved) == (10_000_000, 0)
    assert (await fill.level(connection, spring.id))[1] == 10_000_000
    assert await audit(connection) == []


async def test_the_pool_is_filled_to_its_mark_beside_reservations(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, codes_max=1_000, pool_max=100)
    await reserve(connection, minters, spring.id, 300)

    filled = await fill.top_up(connection, minters, spring.id)

    assert filled is not None
    assert filled.made == 100
    stock = await overview.stock(connection, "SPRING")
    assert (stock.pooled, stock.reserved) == (400, 300)


@pytest.mark.parametrize(("lives", "ends"), [((30, 20, 10), False), ((10, 20, 30), True)])
async def test_a_change_of_many_codes_and_a_reservation_wait_for_each_other_in_turn(
    connections: Pool, connection: Connection, bystander: Connection, minters: Minters, lives: Sequence[int], ends: bool
) -> None:
    spring = await program(connection, minters, codes_max=1_000, source={"kind": "import"}, **OFF)
    blocks = [
        await list_block(connection, spring.id, [f"C{days}-{number}" for number in range(4)], lives=days * DAY)
        for days in lives
    ]
    mine = await reserve(connection, minters, spring.id, 12) if ends else None
    async with connections.acquire() as one, connections.acquire() as other:
        async with bystander.transaction():
            await bystander.execute("SELECT FROM block WHERE id = $1 FOR NO KEY UPDATE", blocks[1])
            change = await begin(ProgramCodes(connection, minters, spring.id), EXTEND)
            changing = asyncio.create_task(bulk_apply.advance(one, change))
            reserving = asyncio.create_task(
                reserve(other, minters, spring.id, 12)
                if mine is None
                else reservations.release(other, spring.id, mine.id)
            )
            await until_waiting(connection, 2)
        await changing
        assert (await reserving).left == (0 if ends else 12)
    assert await audit(connection) == []


async def test_of_two_reservations_that_race_the_second_is_told_its_exact_shortfall(
    connections: Pool, connection: Connection, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=1_000, **OFF)

    async def one(campaign: str) -> object:
        async with connections.acquire() as own:
            return await reserve(own, minters, spring.id, 600, campaign)

    found = await asyncio.gather(one("a"), one("b"), return_exceptions=True)

    [refused] = [each for each in found if isinstance(each, ReservationShort)]
    figures: Any = refused.members["figures"]
    assert (figures["reserved"], figures["shortfall"], figures["limit"]) == (400, 200, "maximum")
    assert str(refused) == (
        "SPRING can set aside 400 of 600 codes; 200 are missing, because of the program's maximum. Reserve fewer, with "
        "partial whatever there is, or remove that limit."
    )
    assert (await overview.stock(connection, "SPRING")).made == 600
    some = await reserve(connection, minters, spring.id, 600, "c", partial=True)
    assert (some.reserved, some.shortfall, some.limit) == (400, 200, "maximum")
    with pytest.raises(ReservationShort):
        await reserve(connection, minters, spring.id, 1, "d", partial=True)
    assert await audit(connection) == []


async def test_a_dry_run_has_the_figures_of_the_reservation(connection: Connection, minters: Minters) -> None:
    """A list with codes that expire before the campaign is sent."""
    spring = await program(connection, minters, source={"kind": "import"}, **OFF)
    await list_block(connection, spring.id, [f"A{n}" for n in range(30)], lives=timedelta(hours=2))
    await list_block(connection, spring.id, [f"B{n}" for n in range(40)])
    at = datetime.now(UTC) + timedelta(hours=3)

    told = await reservations.availability(connection, spring.id, 50, at)
    made = await reserve(connection, minters, spring.id, 50, send_at=at, partial=True)

    assert told.parts == made.parts
    assert (told.reserved, told.shortfall, told.limit) == (40, 10, "validity")
    assert (made.reserved, made.shortfall, made.limit) == (40, 10, "validity")
    assert told.parts.expiring_before_send == 30
    assert await audit(connection) == []


async def test_a_list_gives_whole_blocks_and_a_part_of_one(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, source={"kind": "import"}, **OFF)
    for letter in "ABC":
        await list_block(connection, spring.id, [f"{letter}{n}" for n in range(10)])
    asked = [message("SPRING") for _ in range(3)]
    await attach_all(claims, asked)

    mine = await reserve(connection, minters, spring.id, 12)

    assert (mine.reserved, mine.left) == (12, 12)
    assert (await fill.level(connection, spring.id))[1] == 15
    assert await audit(connection) == []
    asked = [message("SPRING") for _ in range(12)]
    rows = await attach_all(claims, asked)
    assert len({*codes(rows, asked)}) == 12
    assert (await reservations.get(connection, spring.id, mine.id)).state == "used_up"
    lookups = ProgramCodes(connection, minters, spring.id)
    for code in codes(rows, asked):
        assert code is not None
        assert (await lifecycle.detach(lookups, code)).state == "pooled"
    assert await audit(connection) == []


@pytest.mark.parametrize(("count", "idle"), [(3, 0), (5, 0), (7, 0), (8, 0)])
async def test_a_block_with_codes_taken_out_of_turn_gives_the_exact_number(
    connection: Connection, claims: Claims, minters: Minters, count: int, idle: int
) -> None:
    """Ten codes, of which the sixth and the eighth are deleted: neither half can simply be cut off."""
    spring = await program(connection, minters, source={"kind": "import"}, **OFF)
    block = await list_block(connection, spring.id, [f"A{n}" for n in range(10)])
    await delete_codes(connection, block, [5, 7])

    mine = await reserve(connection, minters, spring.id, count)

    assert (mine.reserved, mine.left) == (count, count)
    asked = [message("SPRING") for _ in range(count)]
    assert None not in codes(await attach_all(claims, asked), asked)
    assert (await reservations.get(connection, spring.id, mine.id)).left == 0
    assert await audit(connection) == []
    await reservations.release(connection, spring.id, mine.id)
    assert (await fill.level(connection, spring.id))[1] == 8 - count
    assert await audit(connection) == []


async def test_count_is_raised_and_lowered(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, codes_max=1_000, **OFF)
    mine = await reserve(connection, minters, spring.id, 600)
    await attach_all(claims, [message("SPRING") for _ in range(50)])

    with pytest.raises(ReservationShort) as raised:
        await reservations.change(connection, minters, spring.id, mine.id, ReservationChanges(count=1_001))
    figures: Any = raised.value.members["figures"]
    assert (figures["reserved"], figures["shortfall"]) == (400, 1)
    more = await reservations.change(connection, minters, spring.id, mine.id, ReservationChanges(count=1_000))
    assert (more.reserved, more.left, more.used, more.parts.minted) == (1_000, 950, 50, 400)
    assert await audit(connection) == []
    with pytest.raises(ProgramRefused) as refused:
        await reservations.change(connection, minters, spring.id, mine.id, ReservationChanges(count=49))
    assert refused.value.reason == "reservation_used"
    for count in (333, 50):
        less = await reservations.change(connection, minters, spring.id, mine.id, ReservationChanges(count=count))
        assert (less.reserved, less.left, less.used) == (count, count - 50, 50)
        assert await audit(connection) == []
    assert less.state == "used_up"
    assert (await overview.stock(connection, "SPRING")).pooled == 950
    until = datetime.now(UTC) + timedelta(hours=5)
    later = await reservations.change(connection, minters, spring.id, mine.id, ReservationChanges(until=until))
    assert later.until == until
    await reservations.release(connection, spring.id, mine.id)
    with pytest.raises(ProgramRefused) as refused:
        await reservations.change(connection, minters, spring.id, mine.id, ReservationChanges(count=60))
    assert refused.value.reason == "reservation_ended"


async def test_the_count_of_a_partial_reservation_is_lowered_while_there_are_no_more_codes(
    connection: Connection, minters: Minters
) -> None:
    spring = await program(connection, minters, source={"kind": "import"}, codes_max=100, pool_max=10, **OFF)
    await list_block(connection, spring.id, [f"C-{n}" for n in range(5)])
    mine = await reserve(connection, minters, spring.id, 10, partial=True)

    for count in (10, 8):
        less = await reservations.change(connection, minters, spring.id, mine.id, ReservationChanges(count=count))
        assert (less.count, less.reserved, less.shortfall, less.limit) == (count, 5, count - 5, "stock")
    with pytest.raises(ReservationShort):
        await reservations.change(connection, minters, spring.id, mine.id, ReservationChanges(count=9))
    await list_block(connection, spring.id, ["D"])
    tried = await reservations.change(connection, minters, spring.id, mine.id, ReservationChanges(count=8))
    assert (tried.reserved, tried.shortfall) == (6, 2)
    assert await audit(connection) == []


@pytest.mark.parametrize(
    ("program_settings", "request_", "reason"),
    [
        ({"valid_until": datetime.now(UTC) + DAY}, {"until": datetime.now(UTC) + 2 * DAY}, "reservation_too_long"),
        ({}, {"until": datetime.now(UTC) - DAY}, "reservation_too_long"),
        ({}, {"send_at": datetime.now(UTC) + 2 * DAY}, "reservation_too_long"),
        ({"active": False}, {}, "program_inactive"),
        ({"valid_from": datetime.now(UTC) + DAY}, {"until": datetime.now(UTC) + 2 * DAY}, "program_not_started"),
        ({"shared": True}, {}, "code_shared"),
        ({}, {"count": 10_001}, "reservation_short"),
    ],
)
async def test_what_is_refused_changes_nothing(
    connection: Connection, minters: Minters, program_settings: dict[str, Any], request_: dict[str, Any], reason: str
) -> None:
    spring = await program(connection, minters, **program_settings)

    with pytest.raises(ProgramRefused) as raised:
        await reservations.reserve(connection, minters, spring.id, wanted(**{"count": 10, **request_}))

    assert raised.value.reason == reason
    assert await connection.fetchval("SELECT count(*) FROM reservation") == 0
    assert (await overview.stock(connection, "SPRING")).made == 0


async def test_unknown_and_doubled_reservations(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters)
    other = await program(connection, minters, "OTHER")
    mine = await reserve(connection, minters, spring.id, 5)

    with pytest.raises(ProgramRefused, match=f"Campaign spring has the reservation {mine.id} in SPRING") as raised:
        await reserve(connection, minters, spring.id, 5)
    assert raised.value.reason == "reservation_exists"
    for program_id, id_ in ((spring.id, mine.id + 1), (other.id, mine.id)):
        with pytest.raises(ReservationUnknown):
            await reservations.release(connection, program_id, id_)
        with pytest.raises(ReservationUnknown):
            await reservations.get(connection, program_id, id_)
    await reserve(connection, minters, other.id, 5)
    assert await audit(connection) == []


async def test_codes_of_a_reservation_live_on(connection: Connection, minters: Minters) -> None:
    """They are found, changed, deleted and exported as other pooled codes are; what is deleted is no longer left."""
    spring = await program(connection, minters, source={"kind": "import"}, **OFF)
    await list_block(connection, spring.id, ["A-1", "A-2", "A-3"])
    mine = await reserve(connection, minters, spring.id, 3)
    of = ProgramCodes(connection, minters, spring.id)

    assert (await lifecycle.delete(of, "A-1")).state == "deleted"
    changed = await lifecycle.change(of, "A-2", lambda _: lifecycle.CodeChange(datetime.now(UTC) + DAY, None))
    assert changed.state == "pooled"

    found = await reservations.get(connection, spring.id, mine.id)
    assert (found.reserved, found.left) == (3, 1)
    # A code that is changed leaves its block, and with that the reservation.
    assert (await fill.level(connection, spring.id))[1] == 1
    assert await audit(connection) == []


async def test_deleted_codes_do_not_go_back(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, source={"kind": "import"}, **OFF)
    await list_block(connection, spring.id, ["A-1", "A-2", "A-3", "A-4"])
    mine = await reserve(connection, minters, spring.id, 4)
    for code in ("A-3", "A-4"):
        await lifecycle.delete(ProgramCodes(connection, minters, spring.id), code)

    with pytest.raises(ProgramRefused, match="2 codes of the reservation") as refused:
        await reservations.change(connection, minters, spring.id, mine.id, ReservationChanges(count=1))
    assert refused.value.reason == "reservation_used"
    assert (await reservations.get(connection, spring.id, mine.id)).left == 2
    assert await audit(connection) == []


async def test_reservations_end_when_due(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    gone = await program(connection, minters, "GONE", **OFF)
    over = await program(connection, minters, "OVER", valid_until=datetime.now(UTC) + 5 * DAY, **OFF)
    stays = await program(connection, minters, "STAYS", **OFF)
    made = [await reserve(connection, minters, one.id, 5) for one in (spring, gone, over, stays)]
    await attach_all(claims, [message("SPRING")])
    await connection.execute("UPDATE reservation SET until = now() WHERE id = $1", made[0].id)
    await connection.execute("UPDATE program SET removed_at = now() WHERE id = $1", gone.id)
    await connection.execute("UPDATE program SET valid_until = now() WHERE id = $1", over.id)
    await connection.execute("UPDATE program SET active = false WHERE id = $1", stays.id)

    ended = await states.end_due(connection)

    assert [(one.id, one.by) for one in ended] == [
        (made[0].id, "until"), (made[1].id, "program_removed"), (made[2].id, "program_ended"),
    ]  # fmt: skip
    first = await reservations.get(connection, spring.id, made[0].id)
    assert (first.state, first.ended_by, first.used, first.left) == ("released", "until", 1, 0)
    assert (await reservations.get(connection, stays.id, made[3].id)).state == "ready"
    assert await states.end_due(connection) == []
    assert await audit(connection) == []


async def test_each_state_is_noted_once_until_the_count_changes(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, **OFF)
    mine = await reserve(connection, minters, spring.id, 10)

    for given in (0, 1, 7, 2):
        await attach_all(claims, [message("SPRING") for _ in range(given)])
        await states.note_changes(connection)
        await states.note_changes(connection)
    await reservations.change(connection, minters, spring.id, mine.id, ReservationChanges(count=20))
    await states.note_changes(connection)
    await reservations.release(connection, spring.id, mine.id)
    found = await states.unpublished(connection)

    assert [(one.state, one.revision, one.wanted, one.used) for one in found] == [
        ("ready", 1, 10, 0), ("nearly_used", 1, 10, 8), ("used_up", 1, 10, 10), ("ready", 2, 20, 10),
        ("released", 2, 20, 10),
    ]  # fmt: skip
    assert len({one.event_id for one in found}) == 5
    await states.set_published(connection, found[:4])
    assert [one.state for one in await states.unpublished(connection)] == ["released"]


async def test_nothing_is_noted_of_a_reservation_that_was_released_meanwhile(
    connections: Pool, connection: Connection, minters: Minters
) -> None:
    spring = await program(connection, minters, **OFF)
    mine = await reserve(connection, minters, spring.id, 10)
    async with connections.acquire() as other:
        release = other.transaction()
        await release.start()
        await reservations.release(other, spring.id, mine.id)
        async with connections.acquire() as keeper:
            noting = asyncio.ensure_future(states.note_changes(keeper))
            await asyncio.wait(
                [noting, watching := asyncio.ensure_future(until_waiting(connection))],
                return_when=asyncio.FIRST_COMPLETED,
            )
            watching.cancel()
            await release.commit()
            await noting
    assert [one.state for one in await states.unpublished(connection)] == ["released"]


async def test_expired_reserved_codes_are_not_left_and_do_not_come_back(
    connection: Connection, minters: Minters
) -> None:
    spring = await program(connection, minters, source={"kind": "import"}, **OFF)
    await list_block(connection, spring.id, ["A-1", "A-2"], lives=timedelta(hours=1))
    await list_block(connection, spring.id, ["B-1"])
    mine = await reserve(connection, minters, spring.id, 3)
    await connection.execute("UPDATE block SET expires_at = now() WHERE expires_at IS NOT NULL")

    assert (await reservations.get(connection, spring.id, mine.id)).left == 1
    stock = await overview.stock(connection, "SPRING")
    assert (stock.pooled, stock.reserved, stock.expired) == (1, 1, 2)
    await reservations.release(connection, spring.id, mine.id)
    assert await connection.fetchval("SELECT count(*) FROM block WHERE open") == 1
    assert await audit(connection) == []


async def test_codes_whose_expiry_changes_meanwhile_are_not_reserved(
    connections: Pool, connection: Connection, bystander: Connection, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=10, pool_max=10, **OFF)
    await fill.generate(connection, minters, spring.id, 6, None)
    await fill.generate(connection, minters, spring.id, 4, None)
    until = datetime.now(UTC) + timedelta(days=5)
    sent = wanted(10, until=until, send_at=until - timedelta(hours=1), partial=True)
    await bystander.execute("BEGIN; UPDATE block SET expires_at = now() + interval '1 day' WHERE size = 6")
    async with connections.acquire() as own:
        reserving = asyncio.ensure_future(reservations.reserve(own, minters, spring.id, sent))
        await until_waiting(connection)
        await bystander.execute("COMMIT")
        made = await reserving

    assert (made.reserved, made.left, made.shortfall) == (4, 4, 6)
    assert await connection.fetch("SELECT size FROM block WHERE reservation_id IS NOT NULL") == [(4,)]
    assert await audit(connection) == []
