"""Situations that tests create or wait for: list blocks, holes, workers that wait for one another."""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from asyncpg.transaction import Transaction

from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.issuing.model import AnswerRow, Request
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from schemas.program import Program
from tests.support.factories import OFF, program
from tests.support.running import until

TIMEOUT_S: Final = 30.0


async def until_waiting(connection: Connection, count: int = 1) -> None:
    """Wait until `count` sessions of this database wait for a lock."""

    async def waits() -> bool:
        waiting: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return waiting >= count

    await until(waits, "session that waits for a lock")


async def list_block(
    connection: Connection,
    program_id: int,
    texts: Sequence[str],
    *,
    lives: timedelta | None = None,
    fields: str | None = None,
) -> int:
    """Store texts as an import does, and return their block. A negative life means expired codes."""
    async with connection.transaction():
        block_id: int = await connection.fetchval(
            """
            INSERT INTO block (program_id, kind, size, expires_at, fields, origin)
            VALUES ($1, 'list', $2, now() + $3::interval, $4::jsonb, 'generate') RETURNING id
            """,
            program_id,
            len(texts),
            lives,
            fields,
        )
        await connection.copy_records_to_table(
            "code", records=[(block_id, position, program_id, text) for position, text in enumerate(texts)]
        )
        await connection.execute("UPDATE program SET imported = imported + $2 WHERE id = $1", program_id, len(texts))
    return block_id


async def delete_codes(connection: Connection, block_id: int, positions: Iterable[int]) -> None:
    """Delete pooled codes, as by hand."""
    given = list(positions)
    async with connection.transaction():
        await connection.executemany(
            "INSERT INTO code_state (block_id, position, deleted_at, hole) VALUES ($1, $2, now(), true)",
            [(block_id, position) for position in given],
        )
        await connection.execute(
            """
            UPDATE block SET deleted = deleted + $2, holes = holes + $2, open = next + holes + $2 < size WHERE id = $1
            """,
            block_id,
            len(given),
        )


async def hold_code(connection: Connection, program_id: int, code: str) -> None:
    """An order holds an attached code for an hour."""
    await connection.execute(
        """
        WITH at AS (
            SELECT block_id, position FROM answer WHERE program_id = $1 AND code = $2 AND NOT again
        ), held AS (
            INSERT INTO code_state AS s (block_id, position, held_until) SELECT *, now() + interval '1 h' FROM at
            ON CONFLICT (block_id, position) DO UPDATE SET held_until = excluded.held_until
        )
        INSERT INTO code_use (program_id, block_id, position, order_id, per_code, taken_at, held_until)
        SELECT $1, block_id, position, 'o-1', 1, now(), now() + interval '1 h' FROM at
        """,
        program_id,
        code,
    )


async def stop_in_the_middle(bystander: Connection, request: Request) -> Transaction:
    """Block the claim that answers this request when it stores the answer, with its blocks locked and codes drawn."""
    answer = AnswerRow(request.id, 0, None, None, None, False, False, "p-0", None, None, None, "[]", datetime.now(UTC))
    transaction = bystander.transaction()
    await transaction.start()
    await bystander.copy_records_to_table("answer", records=[answer], columns=AnswerRow._fields)
    return transaction


async def attach_all(claims: Claims, requests: Iterable[Request]) -> dict[UUID, list[AnswerRow]]:
    """Pass deferred requests to the next claim, as the retry topic does, until all are answered."""
    rows: dict[UUID, list[AnswerRow]] = {}
    pending = list(requests)
    deadline = time.monotonic() + TIMEOUT_S
    while pending:
        assert time.monotonic() < deadline, f"{len(pending)} requests still wait"
        claimed = await claims.attach(pending)
        assert not claimed.undecidable
        rows |= claimed.rows
        rows |= {UUID(bytes=id_): run.answer(number) for id_, (run, number) in claimed.given.items()}
        pending = claimed.waiting
    return rows


def codes(rows: dict[UUID, list[AnswerRow]], requests: Iterable[Request]) -> list[str | None]:
    """The code of each request for one program, in the order of the requests; None for a refusal."""
    return [rows[request.id][0].code for request in requests]


def reasons(rows: Sequence[AnswerRow]) -> str:
    """The refusals of an answer as they are stored."""
    [row] = rows
    assert row.refusals is not None
    return row.refusals


async def after_billions(connection: Connection, minters: Minters, count: int, **changed: Any) -> Program:
    """A program with codes whose numbers are no longer of 32 bits, as those of a program with billions before them."""
    source = {"kind": "template", "template": "{safe 14}"}
    made = await program(connection, minters, source=source, codes_max=2**40, pool_max=10, **{**OFF, **changed})
    await connection.execute("UPDATE template_version SET next_number = $1 WHERE program_id = $2", 2**31 - 2, made.id)
    await generate(connection, minters, made.id, count, None)
    return made
