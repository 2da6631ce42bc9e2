"""Many pools filled in one transaction, and which are left to be filled one by one."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.pool.block_sizes import BLOCK_SIZE_MAX, BLOCKS_AT_ONCE_MAX
from codewell.pool.fill import FillResult, generate, make_for_request, needy_programs, top_up
from codewell.pool.fill_many import FillManyResult, top_up_many
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import Source
from codewell.programs import overview, programs
from schemas.program import Program
from tests.support.factories import OFF, message, program
from tests.support.remote_programs import remote
from tests.support.stock import attach_all, list_block

LARGE: dict[str, Any] = {"source": {"kind": "template", "template": "{string 12}"}}


async def made(connection: Connection, *names: str) -> list[int]:
    return [(await overview.stock(connection, name)).made for name in names]


async def test_each_pool_is_filled_as_it_would_be_alone(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    settings: dict[str, dict[str, Any]] = {
        "EMPTY": {},
        "HALF": {},
        "NEARLY_ALL": {"codes_max": 120},
        "FULL": {},
        "MORTAL": {"ttl": "P10D"},
        "LATER_MORTAL": {"ttl": "P10D", "ttl_from": "attachment"},
        "BY_HAND": OFF,
        "LATER": {"valid_from": "2100-01-01T00:00:00Z"},
        "ENDED": {"valid_until": "2020-01-01T00:00:00Z"},
        "INACTIVE": {"active": False},
    }
    ids = {name: (await program(connection, minters, name, **given)).id for name, given in settings.items()}
    for name in ("HALF", "NEARLY_ALL", "FULL"):
        await top_up(connection, minters, ids[name])
    await attach_all(claims, [message(name) for name in ("HALF", "NEARLY_ALL") for _ in range(50)])
    await connection.execute("UPDATE program SET removed_at = now() WHERE name = 'INACTIVE'")

    together = await top_up_many(connection, list(ids.values()))

    assert together.left == []
    assert {one.name: (one.pooled, one.made) for one in together.filled} == {
        "EMPTY": (0, 100), "HALF": (50, 50), "NEARLY_ALL": (50, 20), "FULL": (100, 0), "MORTAL": (0, 100),
        "LATER_MORTAL": (0, 100), "BY_HAND": (0, 0), "LATER": (0, 0), "ENDED": (0, 0), "INACTIVE": (0, 0),
    }  # fmt: skip
    assert await made(connection, *ids) == [100, 150, 120, 100, 100, 100, 0, 0, 0, 0]
    lives = await connection.fetch("SELECT DISTINCT name, expires_at - b.created_at AS life FROM block b "
                                   "JOIN program p ON p.id = program_id WHERE expires_at IS NOT NULL")  # fmt: skip
    assert [(row["name"], row["life"]) for row in lives] == [("MORTAL", timedelta(days=10))]
    assert await connection.fetchval("SELECT DISTINCT origin FROM block") == "pool"
    assert await needy_programs(connection) == []
    assert await audit(connection) == []


async def test_codes_that_were_made_together_are_given_like_others(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    ids = [(await program(connection, minters, name)).id for name in ("A", "B")]
    for _ in range(3):
        await top_up_many(connection, ids)
        await attach_all(claims, [message("A", "B") for _ in range(70)])

    codes = await connection.fetch("SELECT program_id, code FROM answer")
    assert len({(row["program_id"], row["code"]) for row in codes}) == len(codes) == 420
    assert await audit(connection) == []


async def test_what_is_not_plain_is_left(connection: Connection, minters: Minters) -> None:
    imported = await program(connection, minters, "IMPORTED")
    await list_block(connection, imported.id, ["X"])
    changed = await program(connection, minters, "CHANGED")
    await generate(connection, minters, changed.id, 5, None)
    await programs.update(connection, minters, "CHANGED", LARGE, 10)
    from_files = await program(connection, minters, "FROM_FILES", source={"kind": "import"}, **OFF)
    distant = await remote(connection, minters, "DISTANT")
    to_split = await program(connection, minters, "TO_SPLIT", codes_max=4_000, pool_max=4_000)
    await generate(connection, minters, to_split.id, 4_000, None)
    await connection.execute("DELETE FROM block WHERE program_id = $1", to_split.id)
    await connection.execute(
        "INSERT INTO block (program_id, kind, version, first, size, origin) "
        "VALUES ($1, 'range', 1, 0, 4000, 'generate')",
        to_split.id,
    )
    plain = await program(connection, minters, "PLAIN")
    left = [imported.id, changed.id, from_files.id, distant.id, to_split.id, 4_711]

    assert await top_up_many(connection, [plain.id, *left]) == FillManyResult([FillResult("PLAIN", 0, 100)], left)
    assert await made(connection, "IMPORTED", "CHANGED", "FROM_FILES", "DISTANT", "TO_SPLIT") == [0, 5, 0, 0, 4_000]
    for program_id in [*left, to_split.id]:
        await top_up(connection, minters, program_id)
    assert await needy_programs(connection) == []
    # Where nothing is to be made or split, nothing is left to do for those of one template or more.
    _, left = await top_up_many(connection, [plain.id, *left])
    assert left == [from_files.id, distant.id, 4_711]
    assert await audit(connection) == []


async def test_a_new_template_of_which_no_older_code_exists_is_plain(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters)
    await programs.update(connection, minters, "SPRING", LARGE, 10)

    assert await top_up_many(connection, [spring.id]) == FillManyResult([FillResult("SPRING", 0, 100)], [])
    assert await connection.fetchval("SELECT DISTINCT version FROM block") == 2
    assert await audit(connection) == []


async def test_a_template_that_runs_out_makes_what_it_has(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters)
    await connection.execute("UPDATE template_version SET next_number = $1, skipped = $1", 26**4 * 10**6 - 30)

    assert (await top_up_many(connection, [spring.id])).filled == [FillResult("SPRING", 0, 30)]
    assert (await top_up_many(connection, [spring.id])).filled == [FillResult("SPRING", 30, 0)]
    assert await made(connection, "SPRING") == [30]


async def test_a_locked_program_is_left_and_not_waited_for(
    connection: Connection, bystander: Connection, minters: Minters
) -> None:
    ids = [(await program(connection, minters, name)).id for name in ("A", "B", "C")]
    await connection.execute("SET lock_timeout = '100 ms'")
    async with bystander.transaction():
        await bystander.execute("UPDATE program SET title = '' WHERE id = $1", ids[1])
        together = await top_up_many(connection, ids)

    assert together == FillManyResult([FillResult("A", 0, 100), FillResult("C", 0, 100)], [ids[1]])


async def test_expired_blocks_are_retired_though_one_is_in_use(
    connection: Connection, bystander: Connection, minters: Minters
) -> None:
    ids = [(await program(connection, minters, name, pool_max=10)).id for name in ("A", "B", "C")]
    await top_up_many(connection, ids)
    await connection.execute("UPDATE block SET expires_at = now()")
    in_use = await connection.fetchval("SELECT id FROM block WHERE program_id = $1", ids[0])
    await connection.execute("UPDATE program SET active = false WHERE name = 'C'")
    await connection.execute("SET lock_timeout = '100 ms'")
    async with bystander.transaction():
        await bystander.execute("SELECT FROM block WHERE id = $1 FOR UPDATE", in_use)
        filled, _ = await top_up_many(connection, ids)

    # Its codes don't count, though it could not be closed yet.
    assert filled == [FillResult("A", 0, 10), FillResult("B", 0, 10), FillResult("C", 0, 0)]
    assert [row["id"] for row in await connection.fetch("SELECT id FROM block WHERE open AND expires_at <= now()")] == [
        in_use
    ]
    await top_up_many(connection, ids)
    assert await connection.fetchval("SELECT count(*) FROM block WHERE open AND expires_at <= now()") == 0


async def test_one_transaction_writes_no_more_blocks_than_one_large_pool_has(
    connection: Connection, minters: Minters
) -> None:
    half = BLOCKS_AT_ONCE_MAX * BLOCK_SIZE_MAX * 6 // 10
    large = [
        (await program(connection, minters, name, codes_max=half, pool_max=half, **LARGE)).id for name in ("A", "B")
    ]
    small = await program(connection, minters, "SMALL")

    together = await top_up_many(connection, [*large, small.id])

    assert together == FillManyResult([FillResult("A", 0, half), FillResult("SMALL", 0, 100)], [large[1]])
    assert await audit(connection) == []


@pytest.mark.parametrize("kind", ["together", "mixed"])
async def test_ten_at_once_make_no_code_too_many(
    connection: Connection, connections: Pool, minters: Minters, kind: str
) -> None:
    many: list[Program] = [
        await program(connection, minters, f"P{number}", codes_max=130, pool_max=90) for number in range(12)
    ]
    ids = [one.id for one in many]

    async def fill(number: int) -> None:
        async with connections.acquire() as one:
            if kind == "together" or number % 2:
                for _ in range(3):
                    await top_up_many(one, ids[number % 5 :])
            for program_id in ids if kind == "mixed" else ():
                if number % 2:
                    await top_up(one, minters, program_id)
                else:
                    await make_for_request(one, minters, program_id, Source.CAMPAIGN, 120, 5_000)

    await asyncio.gather(*(fill(number) for number in range(10)))
    await top_up_many(connection, ids)

    counts = await made(connection, *(one.name for one in many))
    if kind == "together":
        assert counts == [90] * 12
    else:
        assert all(90 <= count <= 130 for count in counts)
    assert await audit(connection) == []
