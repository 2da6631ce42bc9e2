"""What is told of pools: few of them by name, and never one that is no longer there."""

from typing import Any

import asyncpg

from codewell.pool import fill
from codewell.pool.levels import OTHER, PoolLevel, circuits_open, levels
from codewell.pool.minter_cache import Minters
from codewell.pool.orders import FAILURES_MAX
from codewell.programs import programs
from schemas.program import Program, ProgramSettings

NAMED_MAX = 200


async def program(connection: asyncpg.Connection, name: str, codes: int = 0, **given: Any) -> Program:
    minters = Minters(None)
    settings = {
        "name": name, "source": {"kind": "template", "template": name + "-{string 12}"}, "codes_max": 1_000,
        "pool_max": 100, "campaign_can_create": True, **given,
    }  # fmt: skip
    made = await programs.create(connection, minters, ProgramSettings.model_validate(settings), 10)
    if codes:
        await fill.generate(connection, minters, made.id, codes, None)
    return made


async def told(connection: asyncpg.Connection, named_max: int = NAMED_MAX) -> dict[str, PoolLevel]:
    found = await levels(connection, named_max)
    assert len({level.program for level in found}) == len(found)
    return {level.program: level for level in found}


async def test_a_pool_its_mark_and_its_maximum(connection: asyncpg.Connection) -> None:
    await program(connection, "FILLED", 60)
    await program(connection, "BY_HAND", 7, campaign_can_create=False)
    await program(connection, "BARE")
    assert await told(connection) == {
        "FILLED": PoolLevel("FILLED", 60, 100, 60, 1_000),
        "BY_HAND": PoolLevel("BY_HAND", 7, None, 7, 1_000),
        "BARE": PoolLevel("BARE", 0, 100, 0, 1_000),
    }


async def test_what_gives_no_codes_now_is_not_told(connection: asyncpg.Connection) -> None:
    await program(connection, "OFF", active=False)
    await program(connection, "SOON", valid_from="2099-01-01T00:00:00Z")
    await program(connection, "OVER", valid_until="2020-01-01T00:00:00Z")
    await program(connection, "EVERYBODY", 1, shared=True)
    removed = await program(connection, "REMOVED", 1)
    await connection.execute("UPDATE program SET removed_at = now() WHERE id = $1", removed.id)
    assert await told(connection) == {}


async def test_expired_codes_stand_ready_no_more(connection: asyncpg.Connection) -> None:
    await program(connection, "A", 10)
    await connection.execute("UPDATE block SET expires_at = now() - interval '1 second'")
    assert (await told(connection))["A"].pooled == 0


async def test_beyond_the_cap_the_lowest_have_names_and_the_rest_is_one_sum(connection: asyncpg.Connection) -> None:
    for number in range(6):
        await program(connection, f"P{number}", 10 * (6 - number), pool_max=100 + number)
    await connection.execute("UPDATE program SET codes_max = 2::bigint ^ 62")
    found = await told(connection, 2)
    # Against their marks, not by number; and so many maxima are beyond a bigint.
    assert found.keys() == {"P5", "P4", OTHER}
    assert found[OTHER] == PoolLevel(OTHER, 60 + 50 + 40 + 30, 100 + 101 + 102 + 103, 180, 4 * 2.0**62)


async def test_a_program_may_have_the_name_of_the_sum(connection: asyncpg.Connection) -> None:
    await program(connection, OTHER, 1)
    for number in range(3):
        await program(connection, f"P{number}", 50)
    assert (await told(connection))[OTHER].pooled == 1
    found = await told(connection, 2)
    assert found.keys() == {"P0", OTHER}
    assert found[OTHER].pooled == 101


async def test_circuits(connection: asyncpg.Connection) -> None:
    source = {"kind": "remote", "url": "https://codes.example/", "request_max": 10}
    made = [await program(connection, name, source=source) for name in ("WELL", "ILL", "OFF")]
    assert await circuits_open(connection) == 0
    await connection.execute(
        "UPDATE remote_service SET failures = $1 WHERE program_id = ANY($2::bigint[])",
        FAILURES_MAX, [one.id for one in made[1:]],
    )  # fmt: skip
    await connection.execute("UPDATE program SET active = false WHERE id = $1", made[2].id)
    assert await circuits_open(connection) == 1
