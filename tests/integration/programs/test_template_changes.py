"""A text enters a program once, whatever templates it had and whatever was imported."""

from pathlib import Path
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.codes.listing import page
from codewell.codes.lookup import START, find
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused, TemplateInvalid
from codewell.imports.undo import undo
from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.pool import range_allocation
from codewell.pool.fill import generate, make_for_request, top_up
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import Source
from codewell.programs import overview, programs
from tests.support.factories import OFF, message, program
from tests.support.import_runs import Files, lines
from tests.support.stock import attach_all, codes, list_block

GUESSES_PER_S = 10.0
HUNDRED = "{number 2}"
SAME_HUNDRED = "{[9876543210] 1}{number 1}"
HALF_OF_THEM = "{[13579] 1}{number 1}"


def template(text: str) -> dict[str, Any]:
    return {"source": {"kind": "template", "template": text}}


async def texts(connection: Connection, minters: Minters, program_id: int) -> list[str]:
    return [one.code for one in (await page(ProgramCodes(connection, minters, program_id), START, 1_000)).codes]


async def numbers(connection: Connection, version: int) -> tuple[int, int, int]:
    """Next number, skipped ones, and how many are in blocks."""
    row = await connection.fetchrow(
        "SELECT next_number, skipped, (SELECT coalesce(sum(size), 0)::bigint FROM block b "
        "WHERE b.version = v.version) FROM template_version v WHERE version = $1",
        version,
    )
    return tuple(row)


@pytest.mark.parametrize("texts_max", [1, 7, range_allocation.TEXTS_MAX])
@pytest.mark.parametrize("again", ["{number 02}", SAME_HUNDRED])
async def test_the_texts_of_an_older_template_are_left_out(
    connection: Connection,
    claims: Claims,
    minters: Minters,
    monkeypatch: pytest.MonkeyPatch,
    again: str,
    texts_max: int,
) -> None:
    monkeypatch.setattr(range_allocation, "TEXTS_MAX", texts_max)
    spring = await program(connection, minters, codes_max=100, pool_max=100, **template(HUNDRED), **OFF)
    await generate(connection, minters, spring.id, 60, None)
    await programs.update(connection, minters, "SPRING", template(again), GUESSES_PER_S)

    for count in (15, 15, 10):
        await generate(connection, minters, spring.id, count, None)
        assert await audit(connection) == []

    assert sorted(await texts(connection, minters, spring.id)) == [f"{n:02}" for n in range(100)]
    next_number, skipped, in_blocks = await numbers(connection, 2)
    assert (next_number - skipped, in_blocks) == (40, 40)
    assert (await overview.stock(connection, "SPRING")).made == 100
    requests = [message("SPRING", profile_id=f"p-{n}") for n in range(100)]
    given = codes(await attach_all(claims, requests), requests)
    assert len(set(given)) == 100
    assert await audit(connection) == []


async def test_three_templates_share_one_space(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, codes_max=50, pool_max=50, **template(HALF_OF_THEM), **OFF)
    await generate(connection, minters, spring.id, 20, None)
    await programs.update(connection, minters, "SPRING", template(HUNDRED) | {"codes_max": 100}, GUESSES_PER_S)
    await generate(connection, minters, spring.id, 30, None)
    await programs.update(connection, minters, "SPRING", template(SAME_HUNDRED), GUESSES_PER_S)
    await generate(connection, minters, spring.id, 50, None)

    assert sorted(await texts(connection, minters, spring.id)) == [f"{n:02}" for n in range(100)]
    assert await audit(connection) == []


async def test_listed_texts_are_left_out(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, codes_max=100, pool_max=100, **template(HUNDRED))
    await list_block(connection, spring.id, [f"{n:02}" for n in range(0, 100, 3)] + ["not of the template"])

    await top_up(connection, minters, spring.id)

    stock = await overview.stock(connection, "SPRING")
    assert (stock.made, stock.imported, stock.pooled) == (65, 35, 100)
    found = await texts(connection, minters, spring.id)
    assert len(set(found)) == 100
    assert await audit(connection) == []


async def test_a_template_that_can_share_no_text_is_not_looked_through(
    connection: Connection, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 10, None)
    await programs.update(connection, minters, "SPRING", template("{number 11}"), GUESSES_PER_S)
    monkeypatch.setattr(range_allocation, "TEXTS_MAX", 0)

    await generate(connection, minters, spring.id, 1_000, None)

    assert await numbers(connection, 2) == (1_000, 0, 1_000)


async def test_what_was_left_out_is_the_older_templates_code(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, codes_max=100, pool_max=100, **template(HUNDRED), **OFF)
    await generate(connection, minters, spring.id, 60, None)
    await programs.update(connection, minters, "SPRING", template(SAME_HUNDRED), GUESSES_PER_S)
    await generate(connection, minters, spring.id, 40, None)

    old = (await minters.get(connection, spring.id, 1)).mint(0, 60)
    for text in old:
        fact = await find(ProgramCodes(connection, minters, spring.id), text)
        assert fact is not None
        assert (fact.code, fact.place[:2]) == (text, (0, 1))


async def test_a_template_without_any_text_left_makes_no_more(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=100, pool_max=100, **template(HUNDRED), **OFF)
    await generate(connection, minters, spring.id, 60, None)
    # More than any update accepts.
    await connection.execute("UPDATE program SET codes_max = 1000, version = 2")
    await connection.execute(
        "INSERT INTO template_version (program_id, version, template, algorithm, key, key_wrapped) "
        "SELECT program_id, 2, template, algorithm, sha256(key), key_wrapped FROM template_version"
    )

    with pytest.raises(ProgramRefused, match="The template of SPRING has 40 unused texts left"):
        await generate(connection, minters, spring.id, 41, None)
    assert (await overview.stock(connection, "SPRING")).made == 60

    await connection.execute("UPDATE program SET campaign_can_create = true, pool_max = 200")
    filled = await top_up(connection, minters, spring.id)
    assert filled is not None
    assert filled.made == 40
    request = message("SPRING")
    await make_for_request(connection, minters, spring.id, Source.CAMPAIGN, 150, 1_000)
    assert codes((await claims.attach([request])).rows, [request]) != [None]
    assert (await overview.stock(connection, "SPRING")).made == 100
    assert await audit(connection) == []


async def test_numbers_that_were_left_out_are_not_there_when_an_import_is_undone(
    connection: Connection, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=100, pool_max=100, **template(HUNDRED), **OFF)
    block_id = await list_block(connection, spring.id, [f"{n:02}" for n in range(100) if n % 2])
    await generate(connection, minters, spring.id, 50, None)
    skipped = (await numbers(connection, 1))[1]
    async with connection.transaction():
        await connection.execute("DELETE FROM code")
        await connection.execute("DELETE FROM block WHERE id = $1", block_id)
        await connection.execute("UPDATE program SET imported = 0")

    with pytest.raises(ProgramRefused, match=f"has {50 - skipped} unused texts? left"):
        await generate(connection, minters, spring.id, 50, None)

    assert await audit(connection) == []


async def test_a_maximum_cannot_grow_by_numbers_that_were_left_out(
    connection: Connection, minters: Minters, tmp_path: Path
) -> None:
    spring = await program(connection, minters, codes_max=99, pool_max=99, **template(HUNDRED))
    brought = await Files(connection, minters, tmp_path).bring_in(lines([f"{n:02}" for n in range(50)]))
    await top_up(connection, minters, spring.id)
    left = 100 - (await numbers(connection, 1))[0]
    await undo(connection, brought.id)

    with pytest.raises(TemplateInvalid, match=f"has {left} unused texts? left for up to 51 more codes"):
        await programs.update(connection, minters, "SPRING", {"codes_max": 100}, GUESSES_PER_S)
    await programs.update(connection, minters, "SPRING", {"description": "All other changes are made"}, GUESSES_PER_S)


async def test_one_block_of_a_usual_pool_stays_one_block(connection: Connection, minters: Minters) -> None:
    """Where nothing is left out, a look through the texts cuts nothing."""
    spring = await program(connection, minters, codes_max=200_000, pool_max=1_000, **template("{safe 10}"), **OFF)
    await generate(connection, minters, spring.id, 1_000, None)
    await programs.update(connection, minters, "SPRING", template("{upstring 10}"), GUESSES_PER_S)
    before = await connection.fetchval("SELECT count(*) FROM block")

    await generate(connection, minters, spring.id, 120_000, None)

    sizes = await connection.fetch("SELECT size FROM block WHERE version = 2")
    assert before == 2
    assert [row["size"] for row in sizes] == [60_000, 60_000]
    assert await audit(connection) == []
