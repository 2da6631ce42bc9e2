"""What happens when a pool has less than is asked for."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.imports.undo import undo
from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.issuing.model import Request
from codewell.pool.fill import generate, top_up
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from tests.support.factories import OFF, message, program, step
from tests.support.import_runs import Files, lines
from tests.support.stock import attach_all, codes, reasons


@pytest.mark.parametrize(("wanted", "made"), [(3, 100), (100, 100), (250, 250)])
@pytest.mark.parametrize("make", [message, step])
async def test_codes_are_made_in_place(
    connection: Connection, claims: Claims, minters: Minters, make: Any, wanted: int, made: int
) -> None:
    await program(connection, minters, pool_max=100)
    requests: list[Request] = [make("SPRING") for _ in range(wanted)]

    claimed = await claims.attach(requests)

    assert len(set(codes(claimed.rows, requests)) - {None}) == wanted
    assert (await overview.stock(connection, "SPRING")).made == made
    assert await connection.fetchval("SELECT DISTINCT origin FROM block") == "request"
    assert await audit(connection) == []


async def test_what_is_there_is_given_before_more_is_made(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, pool_max=100)
    await generate(connection, minters, spring.id, 4, None)
    requests = [message("SPRING") for _ in range(10)]

    claimed = await claims.attach(requests)

    assert None not in codes(claimed.rows, requests)
    stock = await overview.stock(connection, "SPRING")
    assert (stock.made, stock.attached, stock.pooled) == (104, 10, 94)
    assert await audit(connection) == []


@pytest.mark.parametrize("campaigns_may", [False, True])
async def test_a_source_whose_switch_is_off_gets_what_is_there(
    connection: Connection, claims: Claims, minters: Minters, campaigns_may: bool
) -> None:
    spring = await program(
        connection, minters, campaign_can_create=campaigns_may, scenario_can_create=not campaigns_may
    )
    await generate(connection, minters, spring.id, 2, None)
    make = step if campaigns_may else message
    requests = [make("SPRING") for _ in range(5)]

    claimed = await claims.attach(requests)

    whose = "scenarios" if campaigns_may else "campaigns"
    sentence = f"SPRING has no code left and {whose} may not create any."
    refused = [request for request in requests if claimed.rows[request.id][0].code is None]
    assert len(refused) == 3
    assert all(sentence in reasons(claimed.rows[request.id]) for request in refused)
    assert (await overview.stock(connection, "SPRING")).made == 2
    assert await audit(connection) == []


async def test_one_batch_of_both_sources_makes_codes_for_one(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    """In the same round the other one is refused: nothing was there that it may use."""
    await program(connection, minters, campaign_can_create=False)
    of_campaign, of_scenario = message("SPRING"), step("SPRING")

    claimed = await claims.attach([of_campaign, of_scenario])

    assert "pool_empty" in reasons(claimed.rows[of_campaign.id])
    assert claimed.rows[of_scenario.id][0].code is not None


@pytest.mark.parametrize("switches", [{}, OFF])
async def test_the_last_code_before_the_maximum_is_given(
    connection: Connection, claims: Claims, minters: Minters, switches: dict[str, Any]
) -> None:
    spring = await program(connection, minters, codes_max=7, pool_max=3, **switches)
    if switches:
        await generate(connection, minters, spring.id, 7, None)
    requests = [message("SPRING") for _ in range(12)]

    claimed = await claims.attach(requests)

    refused = [request for request in requests if claimed.rows[request.id][0].code is None]
    assert len(refused) == 5
    assert all("maximum_reached" in reasons(claimed.rows[request.id]) for request in refused)
    stock = await overview.stock(connection, "SPRING")
    assert (stock.made, stock.attached, stock.pooled) == (7, 7, 0)
    assert await audit(connection) == []


async def test_a_template_without_unused_texts_is_at_its_maximum(
    connection: Connection, claims: Claims, minters: Minters, tmp_path: Path
) -> None:
    """An undone import gives room back, but not the numbers that were skipped for its texts."""
    source = {"kind": "template", "template": "A{number 2}"}
    spring = await program(connection, minters, source=source, codes_max=100, pool_max=100)
    await program(connection, minters, "OTHER")
    brought = await Files(connection, minters, tmp_path).bring_in(lines([f"A{n:02}" for n in range(40)]))
    await top_up(connection, minters, spring.id)
    await undo(connection, brought.id)
    # Texts of the file behind the last number that was made are there again.
    made = (
        60
        + 100
        - await connection.fetchval("SELECT next_number FROM template_version WHERE program_id = $1", spring.id)
    )
    requests = [message("SPRING") for _ in range(100)] + [step("SPRING"), message("OTHER")]

    claimed = await claims.attach(requests)

    refused = [request for request in requests if claimed.rows[request.id][0].code is None]
    assert refused == requests[made:101]
    assert all('"reason":"maximum_reached"' in reasons(claimed.rows[request.id]) for request in refused)
    stock = await overview.stock(connection, "SPRING")
    assert (stock.made, stock.attached, stock.pooled) == (made, made, 0)
    assert await audit(connection) == []


async def test_a_maximum_holds_however_many_ask_at_once(
    connection: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    await program(connection, minters, codes_max=130, pool_max=40)
    batches = [[message("SPRING") for _ in range(25)] for _ in range(8)]

    rows = await asyncio.gather(
        *(attach_all((claims, others)[number % 2], batch) for number, batch in enumerate(batches))
    )

    given = [code for batch, answered in zip(batches, rows, strict=True) for code in codes(answered, batch) if code]
    assert len(given) == len(set(given)) == 130
    stock = await overview.stock(connection, "SPRING")
    assert (stock.made, stock.attached, stock.pooled) == (130, 130, 0)
    assert await audit(connection) == []


async def test_codes_are_made_for_each_program_of_a_request(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    for name in ("A", "B", "C"):
        await program(connection, minters, name)
    requests = [message("A", "B"), message("C", "A"), message("B")]

    claimed = await claims.attach(requests)

    assert [len(claimed.rows[request.id]) for request in requests] == [2, 2, 1]
    assert all(row.code for rows in claimed.rows.values() for row in rows)
    assert await audit(connection) == []


async def test_nothing_is_made_for_a_request_that_another_program_refuses(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    await program(connection, minters, "A")
    await program(connection, minters, "OFF", **OFF)

    await claims.attach([message("A", "OFF"), message("A", "NOPE"), message("A", preview=True)])

    assert (await overview.stock(connection, "A")).made == 0
