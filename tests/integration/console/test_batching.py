"""Requests that are decided together over HTTP, one of which can't be decided at all."""

import asyncio

import asyncpg

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing.claim_result import ClaimResult
from codewell.issuing.model import ManualRequest, Request
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from services.console.batching.attachments import ClaimBatcher
from tests.support.factories import program


async def test_a_request_that_can_not_be_stored_fails_alone(
    connection: Connection, connections: Pool, minters: Minters
) -> None:
    await generate(connection, minters, (await program(connection, minters)).id, 5, None)
    claims = ClaimBatcher(connections, minters, lambda _: None)
    profiles = ["p-1", "p-2", "p-\x00", "p-4"]
    requests = [Request(uuid7(), ManualRequest(profile_id, "SPRING"), ("SPRING",)) for profile_id in profiles]

    results = await asyncio.gather(*(claims.attach([one]) for one in requests), return_exceptions=True)

    for place, (request, result) in enumerate(zip(requests, results, strict=True)):
        if place == 2:
            assert isinstance(result, asyncpg.DataError)
        else:
            assert isinstance(result, ClaimResult)
            [row] = result.rows_of(request.id) or []
            assert row.code is not None
    assert await audit(connection) == []
