"""The batching peer gives each request its code, or it would be no peer."""

from uuid import uuid4

import asyncpg

from benchmarks import usual_issuer
from benchmarks.usual_batches import Wanted, give
from codewell.infra.postgres.connection import Pool


async def test_each_request_gets_a_code_of_its_program_that_nobody_else_has(
    connection: asyncpg.Connection, connections: Pool
) -> None:
    for program in ("A", "B"):
        await usual_issuer.stock(connection, program, 60)
    batches = [[Wanted("AB"[number % 2], f"p-{number}", uuid4()) for number in range(50)] for _ in range(2)]

    given = [await give(batch, connections) for batch in batches]

    rows = await connection.fetch("SELECT program, code, request_id FROM promo_code WHERE profile_id IS NOT NULL")
    stored = {row["request_id"]: (row["program"], row["code"]) for row in rows}
    answered = {
        one.request_id: (one.program, code)
        for batch, codes in zip(batches, given, strict=True)
        for one, code in zip(batch, codes, strict=True)
    }
    assert stored == answered
    assert len(set(answered.values())) == 100
