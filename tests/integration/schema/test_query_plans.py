"""The statements that a request waits for find their rows by an index, however many rows there are.

The server itself says what it did (`auto_explain`), so what is looked at is each statement as the services run it:
prepared, with its real parameters, also after the fifth time, when Postgres may settle on one plan for all.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from codewell.codes import lifecycle, lookup
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import claim_queries
from codewell.issuing.assignments import assign_runs, assigned_codes
from codewell.issuing.decision import Decision
from codewell.issuing.model import AssignmentKey, Run
from codewell.pool import fill
from codewell.pool.fill_many import top_up_many
from codewell.pool.minter_cache import Minters
from codewell.redemption import till, untouched
from codewell.redemption.batch import Applied
from codewell.redemption.model import TillRequest
from tests.support.factories import program

PROGRAMS = 40
EXECUTIONS = 8
# 4,000 closed and 160 open blocks, 60,000 answers, 60,000 holdings.
_FILL = f"""
    INSERT INTO program (name, title, description, groups, active, source, scenario_can_create, campaign_can_create,
                         shared, codes_max, pool_max, ttl_from, fields, reuse, allow_guessable, made)
    SELECT 'P' || n, '', '', '{{}}', true, source, true, true, false, codes_max, pool_max, 'creation', '[]', 'profile',
           true, 10000
    FROM program, generate_series(1, {PROGRAMS}) n WHERE name = 'SPRING';
    INSERT INTO template_version (program_id, version, template, algorithm, key, key_wrapped)
    SELECT id, 1, '{{number 9}}', 1, '', false FROM program WHERE name <> 'SPRING';
    INSERT INTO block (program_id, kind, version, first, size, next, attached, open, origin)
    SELECT p.id, 'range', 1, n * 100, 100, CASE WHEN n % 26 = 0 THEN 0 ELSE 100 END,
           CASE WHEN n % 26 = 0 THEN 0 ELSE 100 END, n % 26 = 0, 'pool'
    FROM generate_series(0, 103) n, program p;
    INSERT INTO answer (request_id, ordinal, program_id, block_id, position, profile_id, code)
    SELECT md5(b.id || ' ' || n)::uuid, 0, b.program_id, b.id, n, 'p-' || b.id || '-' || n, 'CODE'
    FROM block b, generate_series(0, 14) n WHERE NOT open;
    INSERT INTO holding SELECT program_id, profile_id, '', block_id, position, code FROM answer;
    """


class Plans:
    """The plans of the statements that one connection has run, as the server tells them."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def listen(self, _: object, said: asyncpg.PostgresLogMessage) -> None:
        """Keep a plan; the server says other things too."""
        _, start, plan = said.message.partition("plan:\n")
        if start:
            self.told.append(json.loads(plan))

    def of(self, words: str) -> list[list[tuple[str, str]]]:
        """For each execution of the statement with these words, its scans: (kind, table or index)."""
        return [list(_scans(told["Plan"])) for told in self.told if words in told["Query Text"]]


def _scans(node: dict[str, Any]) -> Any:
    if "Relation Name" in node or node["Node Type"] == "Bitmap Index Scan":
        yield node["Node Type"], node.get("Index Name", node.get("Relation Name"))
    for inner in node.get("Plans", []):
        yield from _scans(inner)


@pytest.fixture
async def plans(connection: Connection, minters: Minters) -> AsyncIterator[Plans]:
    """A database with many rows, and what the server tells of the statements of `connection`."""
    await program(connection, minters)
    await connection.execute(_FILL)
    await connection.execute("VACUUM ANALYZE")
    async with told(connection) as plans:
        yield plans


@asynccontextmanager
async def told(connection: Connection) -> AsyncIterator[Plans]:
    """What the server tells of the statements of a connection, those of functions too."""
    await connection.execute(
        "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_format = json; "
        "SET auto_explain.log_nested_statements = on; SET client_min_messages = log"
    )
    plans = Plans()
    connection.add_log_listener(plans.listen)
    yield plans
    connection.remove_log_listener(plans.listen)


def indexes(plans: Plans, words: str, table: str) -> set[str]:
    """The indexes by which each execution found its rows; fails where one read the whole table."""
    executions = plans.of(words)
    assert len(executions) == EXECUTIONS
    used = set()
    for scans in executions:
        assert ("Seq Scan", table) not in scans
        used |= {name for kind, name in scans if "Index" in kind}
    return used


async def test_open_blocks_are_found_by_their_own_index(connection: Connection, plans: Plans) -> None:
    for size in range(EXECUTIONS):
        async with connection.transaction():
            locked = await claim_queries.lock(connection, {f"P{n}": 4 for n in range(1, 2 + 2 * size)})
        assert all(len(blocks) == 4 for blocks in locked.blocks.values())

    assert indexes(plans, "UPDATE SKIP LOCKED", "block") >= {"block_open"}


async def test_a_block_to_wait_for_is_found_by_the_same(connection: Connection, plans: Plans) -> None:
    for number in range(EXECUTIONS):
        async with connection.transaction():
            await claim_queries.wait_for_block(connection, 2 + number, 1_000)

    assert indexes(plans, "LIMIT 1 FOR", "block") == {"block_open"}


@pytest.mark.parametrize("count", [1, 100, 4_000])
async def test_stored_answers_are_found_by_their_request(connection: Connection, plans: Plans, count: int) -> None:
    known = await connection.fetch("SELECT request_id FROM answer ORDER BY md5(profile_id) LIMIT $1", count // 2)
    ids = [row["request_id"] for row in known] + [uuid7() for _ in range(count - len(known))]
    for _ in range(EXECUTIONS):
        assert len(await claim_queries.stored_answers(connection, ids)) == len(known)

    assert indexes(plans, "FROM answer WHERE request_id", "answer") == {"answer_once"}


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("is_one_scope", [True, False])
async def test_held_codes_are_found_by_their_key(
    connection: Connection, plans: Plans, count: int, is_one_scope: bool
) -> None:
    rows = await connection.fetch(
        "SELECT program_id, profile_id FROM holding WHERE program_id = 1 ORDER BY md5(profile_id) LIMIT $1", count
    )
    keys = [AssignmentKey(row["program_id"], row["profile_id"], "") for row in rows]
    if not is_one_scope:
        keys.append(AssignmentKey(1, "p-1", "campaign:spring"))
    for _ in range(EXECUTIONS):
        assert len(await assigned_codes(connection, keys)) == count

    statement = "profile_id = ANY" if is_one_scope else "JOIN holding h USING"
    assert indexes(plans, statement, "holding") == {"holding_once"}


async def test_answers_are_assigned_by_their_positions(connection: Connection, plans: Plans) -> None:
    block_id, last = await connection.fetchrow(
        "SELECT block_id, max(position) FROM answer WHERE NOT again GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
    )
    run = Run([], [], 1, block_id, range(last + 1), [], None, None, datetime.now(UTC), "hand")
    for _ in range(EXECUTIONS):
        await assign_runs(connection, [run])
        await connection.execute("DELETE FROM holding WHERE scope = 'hand'")

    assert indexes(plans, "JOIN answer USING", "answer") == {"answer_code_once"}


async def test_a_code_is_found_by_its_number_and_by_its_text(
    connection: Connection, plans: Plans, minters: Minters
) -> None:
    await connection.execute("UPDATE template_version SET next_number = 10000")
    minter = await minters.get(connection, 1, 1)
    for number in range(EXECUTIONS):
        text = minter.mint(number * 1_000, 1)[0]
        assert await lookup.find(ProgramCodes(connection, minters, 1), text) is not None

    assert "block_numbers_once" in indexes(plans, "int8range(b.first, b.first + b.size) @>", "block")
    assert "answer_code_once" in indexes(plans, "LEFT JOIN answer a ON", "answer")


@pytest.mark.parametrize("count", [1, 100])
async def test_what_a_till_holds_is_found_and_locked_by_its_key(
    connection: Connection, plans: Plans, minters: Minters, count: int
) -> None:
    await connection.execute("UPDATE template_version SET next_number = 10000")
    minter = await minters.get(connection, 1, 1)
    texts = [minter.mint(100 + number // 10 * 100 + number % 10, 1)[0] for number in range(count)]
    for _ in range(EXECUTIONS):
        async with connection.transaction():
            held = await till.apply_all(
                ProgramCodes(connection, minters, 1), [TillRequest("hold", text, order_id="o-1") for text in texts]
            )
        assert all(isinstance(one, Applied) for one in held), held

    assert indexes(plans, "found AS MATERIALIZED", "answer") >= {"answer_code_once"}
    assert indexes(plans, "count(*) FROM code_use", "answer") >= {"answer_code_once"}


async def test_what_is_planned_while_the_tables_are_empty_suits_large_ones(
    connection: Connection, minters: Minters
) -> None:
    async with told(connection) as plans:
        await untouched.warm_up(ProgramCodes(connection, minters, 0))

    # The client asks for the names of types.
    scans = {(kind, name) for one in plans.told for kind, name in _scans(one["Plan"]) if not name.startswith("pg_")}
    assert {name for kind, name in scans if kind != "Seq Scan"} >= {
        "answer_code_once", "code_state_pkey", "code_once", "block_numbers", "idempotency_age", "idempotency",
    }  # fmt: skip
    assert {name for kind, name in scans if kind == "Seq Scan"} == set()


async def test_the_level_of_a_pool_is_read_from_its_open_blocks(
    connection: Connection, minters: Minters, plans: Plans
) -> None:
    for number in range(EXECUTIONS):
        await fill.top_up(connection, minters, 2 + number)

    assert indexes(plans, "count(*) AS blocks", "block") == {"block_open"}
    assert indexes(plans, "SET open = false WHERE id IN", "block") >= {"block_open"}


async def test_the_levels_of_many_pools_are_read_from_their_open_blocks(connection: Connection, plans: Plans) -> None:
    for number in range(EXECUTIONS):
        await top_up_many(connection, range(2 + number, 2 + 3 * number))

    assert indexes(plans, "AS divisible", "block") == {"block_open"}
    assert indexes(plans, "program_id = ANY($1::bigint[]) AND open", "block") >= {"block_open"}


async def test_a_claim_moves_its_blocks_by_their_ids(connection: Connection, plans: Plans) -> None:
    for number in range(EXECUTIONS):
        await claim_queries.write(connection, Decision.empty()._replace(taken={number + 1: (100, 100)}))

    assert indexes(plans, "SET next = t.next", "block") == {"block_pkey"}


async def test_what_is_given_again_is_found_by_its_profile(
    connection: Connection, plans: Plans, minters: Minters
) -> None:
    await connection.execute("UPDATE template_version SET next_number = 10000")
    minter = await minters.get(connection, 1, 1)
    # Most that is given again is this program's.
    await connection.execute(
        "INSERT INTO holding SELECT 1, 'q-' || n, '', 0, n, 'CODE' FROM generate_series(1, 100000) n; ANALYZE holding"
    )
    [held] = await connection.fetchrow("SELECT count(*) FROM holding")
    for number in range(EXECUTIONS):
        deleted, changed = minter.mint(100 + number, 1)[0], minter.mint(200 + number, 1)[0]
        for first, text in ((100, deleted), (200, changed)):
            await connection.execute(
                "UPDATE answer a SET code = $1 FROM block b WHERE b.program_id = 1 AND b.first = $2 AND "
                "a.block_id = b.id AND a.position = $3",
                text, first, number,
            )  # fmt: skip
        await lifecycle.delete(ProgramCodes(connection, minters, 1), deleted)
        await lifecycle.change(
            ProgramCodes(connection, minters, 1), changed, lambda _: lifecycle.CodeChange(None, '{"a": "b"}')
        )

    assert indexes(plans, "DELETE FROM holding", "holding") == {"holding_once"}
    assert indexes(plans, "UPDATE holding", "holding") == {"holding_once"}
    assert await connection.fetchval("SELECT count(*) FROM holding") == held - EXECUTIONS
    assert await connection.fetchval("SELECT count(*) FROM holding WHERE fields IS NOT NULL") == EXECUTIONS
