"""Codes that are reserved for a campaign or scenario: it gets them first, and nothing else gets one."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from codewell.audit.promises import audit
from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual
from codewell.issuing.claim import Claims
from codewell.issuing.model import Request
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from codewell.reservations import reservations
from schemas.reservations import ReservationAnswer, ReservationChanges, ReservationRequest
from tests.support.factories import OFF, message, program, step
from tests.support.stock import attach_all, codes, list_block, reasons, stop_in_the_middle, until_waiting

# The statement by which the release before reservations locks blocks of the pool, word for word.
OLD_LOCK = """
    SELECT b.id AS block_id
    FROM unnest($1::text[], $2::integer[]) AS w (name, blocks)
    LEFT JOIN program p ON p.name = w.name
    LEFT JOIN LATERAL (
        SELECT coalesce(sum((size - next - holes)), 0)::bigint AS pooled FROM block
        WHERE program_id = p.id AND (open AND (expires_at IS NULL OR expires_at > statement_timestamp() AND (
        p.min_life_at_attach IS NULL OR expires_at > statement_timestamp() + p.min_life_at_attach)))
    ) level ON true
    LEFT JOIN LATERAL (
        SELECT * FROM block
        WHERE program_id = p.id AND (open AND (expires_at IS NULL OR expires_at > statement_timestamp() AND (
        p.min_life_at_attach IS NULL OR expires_at > statement_timestamp() + p.min_life_at_attach)))
        ORDER BY expires_at, id LIMIT w.blocks FOR NO KEY UPDATE SKIP LOCKED
    ) b ON true
    """
# By which it attaches a code by its text.
OLD_TAKE_OUT = """
    UPDATE block SET attached = attached + 1, holes = holes + 1, open = open AND next + holes + 1 < size WHERE id = $1
    """


def wanted(count: int, campaign: str = "spring", **changed: Any) -> ReservationRequest:
    given = {"campaign_id": campaign, "count": count, "until": datetime.now(UTC) + timedelta(days=1), **changed}
    return ReservationRequest(**given)


async def reserve(
    connection: Connection, minters: Minters, program_id: int, count: int, campaign: str = "spring", **changed: Any
) -> ReservationAnswer:
    return await reservations.reserve(connection, minters, program_id, wanted(count, campaign, **changed))


async def blocks_of(connection: Connection, requests: list[Request]) -> list[int | None]:
    """The reservation of each request's code."""
    rows = await connection.fetch(
        """
        SELECT a.request_id, b.reservation_id FROM answer a LEFT JOIN block b ON b.id = a.block_id
        WHERE request_id = ANY($1::uuid[])
        """,
        [request.id for request in requests],
    )
    found = {row["request_id"]: row["reservation_id"] for row in rows}
    return [found[request.id] for request in requests]


async def test_each_campaign_gets_its_own_reserved_codes_first_and_others_get_none(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, **OFF)
    await fill.generate(connection, minters, spring.id, 20, None)
    mine = await reserve(connection, minters, spring.id, 5, "spring")
    theirs = await reserve(connection, minters, spring.id, 5, "autumn")
    journey = await reservations.reserve(
        connection, minters, spring.id,
        ReservationRequest(scenario_id="welcome", count=2, until=datetime.now(UTC) + timedelta(hours=1)),
    )  # fmt: skip

    asked = [message("SPRING", campaign_id=name) for name in ["spring"] * 7 + ["autumn"] * 3 + ["winter"] * 4]
    asked += [step("SPRING"), message("SPRING", campaign_id="welcome")]
    rows = await attach_all(claims, asked)

    assert len({*codes(rows, asked)} - {None}) == len(asked)
    by_campaign: dict[str, list[int | None]] = {}
    for request, reservation in zip(asked, await blocks_of(connection, asked), strict=True):
        scope = getattr(request.event, "campaign_id", None) or "step"
        by_campaign.setdefault(scope, []).append(reservation)
    assert sorted(by_campaign["spring"], key=str) == [mine.id] * 5 + [None] * 2
    assert by_campaign["autumn"] == [theirs.id] * 3
    assert by_campaign["winter"] == [None] * 4
    # A campaign that is named as a scenario has none of its codes.
    assert (by_campaign["step"], by_campaign["welcome"]) == ([journey.id], [None])
    shown = await reservations.page(connection, spring.id, 2**62, 10)
    assert [(one.id, one.used, one.left, one.state) for one in shown] == [
        (journey.id, 1, 1, "ready"), (theirs.id, 3, 2, "ready"), (mine.id, 5, 0, "used_up"),
    ]  # fmt: skip
    assert await audit(connection) == []


async def test_a_used_up_reservation_refuses_its_campaign_where_it_is_to(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    """Also where campaigns may create codes: it is not given one that was made for it either."""
    spring = await program(connection, minters)
    await fill.generate(connection, minters, spring.id, 20, None)
    mine = await reserve(connection, minters, spring.id, 1, overflow="refuse")

    asked = [message("SPRING"), message("SPRING"), message("SPRING", campaign_id="autumn")]
    rows = await attach_all(claims, asked)

    given = codes(rows, asked)
    assert sum(code is None for code in given[:2]) == 1
    assert given[2] is not None
    [refusal] = json.loads(reasons(rows[asked[given.index(None)].id]))
    assert refusal["reason"] == "pool_empty"
    assert refusal["detail"] == (
        f"The reservation {mine.id} of SPRING is used up, and its overflow is refuse. Raise its count, or release it."
    )
    await reservations.release(connection, spring.id, mine.id)
    later = message("SPRING")
    assert codes(await attach_all(claims, [later]), [later]) != [None]
    assert await audit(connection) == []


async def test_all_programs_of_a_request_are_given_or_none(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    """One of its programs has a reservation that is used up and refuses: the other gives no code either."""
    spring = await program(connection, minters)
    other = await program(connection, minters, "OTHER")
    await fill.generate(connection, minters, other.id, 5, None)
    await reserve(connection, minters, spring.id, 1, overflow="refuse")

    asked = [message("SPRING", "OTHER") for _ in range(2)]
    rows = await attach_all(claims, asked)

    assert sorted(len(rows[request.id]) for request in asked) == [1, 2]
    assert (await overview.stock(connection, "OTHER")).attached == 1
    assert await audit(connection) == []


async def test_a_campaign_whose_reserved_codes_are_locked_waits_for_them(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    """It takes no code of the pool meanwhile, although that has some."""
    spring = await program(connection, minters, **OFF)
    await fill.generate(connection, minters, spring.id, 20, None)
    mine = await reserve(connection, minters, spring.id, 2)
    # From its first batch the worker knows that the program has reservations.
    await attach_all(claims, [message("SPRING", campaign_id="autumn")])
    stopped = message("SPRING")
    transaction = await stop_in_the_middle(bystander, stopped)
    holding = asyncio.create_task(claims.attach([stopped]))
    waiting = message("SPRING")
    other = message("SPRING", campaign_id="autumn")
    await until_waiting(connection)

    rows = await attach_all(claims, [other])
    assert codes(rows, [other]) != [None]
    claimed = await claims.attach([waiting])
    assert (claimed.rows, claimed.waiting) == ({}, [waiting])
    await transaction.rollback()
    await holding
    await attach_all(claims, [waiting])

    assert await blocks_of(connection, [stopped, waiting]) == [mine.id, mine.id]
    assert await audit(connection) == []


async def test_two_workers_share_a_reservation(connections: Pool, connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters)
    mine = await reserve(connection, minters, spring.id, 4_000, overflow="refuse")
    workers = [Claims(connections, minters) for _ in range(4)]
    asked = [[message("SPRING", profile_id=f"p-{n}") for n in range(1_050)] for _ in workers]

    found = await asyncio.gather(*(attach_all(one, mine) for one, mine in zip(workers, asked, strict=True)))

    given = [code for rows, requests in zip(found, asked, strict=True) for code in codes(rows, requests)]
    assert len({*given} - {None}) == 4_000
    assert given.count(None) == 200
    assert (await reservations.get(connection, spring.id, mine.id)).used == 4_000
    assert await audit(connection) == []


async def test_an_issuer_of_the_release_before_takes_no_reserved_code(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, source={"kind": "import"}, **OFF)
    block = await list_block(connection, spring.id, [f"C{n}" for n in range(10)])
    await reserve(connection, minters, spring.id, 10)

    rows = await connection.fetch(OLD_LOCK, ["SPRING"], [100])
    assert [row["block_id"] for row in rows] == [None]
    with pytest.raises(asyncpg.CheckViolationError, match="is reserved"):
        await connection.execute(OLD_TAKE_OUT, block)
    assert await audit(connection) == []


async def test_a_reserved_code_is_not_attached_by_its_text(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, source={"kind": "import"}, **OFF)
    await list_block(connection, spring.id, ["A-1", "A-2"])
    mine = await reserve(connection, minters, spring.id, 2)

    with pytest.raises(ProgramRefused, match=f"reserved for campaign spring .reservation {mine.id}.") as raised:
        await manual.attach_named(connection, minters, "SPRING", "A-1", "p-1", uuid7())
    assert raised.value.reason == "code_reserved"
    with pytest.raises(ProgramRefused) as raised:
        await manual.attach(claims, "SPRING", "p-1", uuid7())
    assert raised.value.reason == "pool_empty"


async def test_codes_that_live_too_short_are_not_given_of_a_reservation_either(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, source={"kind": "import"}, **OFF)
    await list_block(connection, spring.id, ["A-1", "A-2"], lives=timedelta(hours=2))
    await list_block(connection, spring.id, ["B-1"])
    await reserve(connection, minters, spring.id, 3)
    await connection.execute("UPDATE program SET min_life_at_attach = interval '1 day'")

    asked = [message("SPRING"), message("SPRING")]
    assert sorted(codes(await attach_all(claims, asked), asked), key=str) == ["B-1", None]


async def test_the_until_of_a_reservation_ends_it_for_claims_too(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    """Before the generator has given its codes back, its campaign gets those of the pool."""
    spring = await program(connection, minters, **OFF)
    await fill.generate(connection, minters, spring.id, 1, None)
    mine = await reserve(connection, minters, spring.id, 5)
    # Lowered by one, which goes to the pool.
    await reservations.change(connection, minters, spring.id, mine.id, ReservationChanges(count=4))
    await connection.execute("UPDATE reservation SET until = now()")

    asked = [message("SPRING"), message("SPRING")]
    rows = await attach_all(claims, asked)

    assert sorted(await blocks_of(connection, asked), key=str) == [None, None]
    assert [code is None for code in codes(rows, asked)].count(False) == 2
