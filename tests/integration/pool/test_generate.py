"""Codes that somebody asks for by number: exactly as many, whatever the switches say, or none."""

import pytest

from codewell.audit.promises import audit
from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.pool.block_sizes import BLOCKS_AT_ONCE_MAX
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from tests.support.factories import message, program


async def test_a_hundred_million_codes_are_few_rows(connection: Connection, claims: Claims, minters: Minters) -> None:
    source = {"kind": "template", "template": "{safe 10}"}
    spring = await program(connection, minters, source=source, codes_max=100_000_000)

    await generate(connection, minters, spring.id, 100_000_000, None)
    request = message("SPRING")
    claimed = await claims.attach([request])

    assert await connection.fetchval("SELECT count(*) FROM block") == BLOCKS_AT_ONCE_MAX
    assert claimed.rows[request.id][0].code is not None
    stock = await overview.stock(connection, "SPRING")
    assert (stock.made, stock.pooled) == (100_000_000, 99_999_999)
    assert await audit(connection) == []


async def test_exactly_as_many_codes_are_generated_as_asked_for_or_none(
    connection: Connection, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=1_000, campaign_can_create=False, scenario_can_create=False)
    await generate(connection, minters, spring.id, 900, None)

    with pytest.raises(ProgramRefused) as raised:
        await generate(connection, minters, spring.id, 101, None)
    assert str(raised.value) == (
        "SPRING may have 1,000 codes and has room for 100 more: generate fewer, or raise its maximum."
    )
    assert (await overview.stock(connection, "SPRING")).made == 900
    await generate(connection, minters, spring.id, 100, None)

    assert (await overview.stock(connection, "SPRING")).made == 1_000
    with pytest.raises(ProgramRefused, match="has room for 0 more"):
        await generate(connection, minters, spring.id, 1, None)
    assert await audit(connection) == []


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("active = false", "SPRING is switched off or removed. Change that before generating codes."),
        ("removed_at = now()", "SPRING is switched off or removed. Change that before generating codes."),
        (
            "valid_from = now() + interval '1 h'",
            "The validity period of SPRING has not begun. Change that before generating codes.",
        ),
        ("valid_until = now()", "The validity period of SPRING has ended. Change that before generating codes."),
    ],
)
async def test_nothing_is_generated_outside_the_programs_time(
    connection: Connection, minters: Minters, setting: str, sentence: str
) -> None:
    spring = await program(connection, minters)
    await connection.execute(f"UPDATE program SET {setting}")

    with pytest.raises(ProgramRefused) as raised:
        await generate(connection, minters, spring.id, 10, None)

    assert str(raised.value) == sentence
    assert (await overview.stock(connection, "SPRING")).made == 0


async def test_an_unknown_program_generates_nothing(connection: Connection, minters: Minters) -> None:
    with pytest.raises(ProgramRefused, match="There is no program 4711"):
        await generate(connection, minters, 4_711, 1, None)
