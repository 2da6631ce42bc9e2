"""Receipts over HTTP: each is answered, copies alike, within the caller's programs."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection, pool
from codewell.infra.telemetry.health import Health
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.returns import queries
from codewell.usage.tally import UsageTally
from services.generator.quarantine_ender import QuarantineEnder
from tests.support.consoles import Consoles, is_problem
from tests.support.factories import OFF, message, program
from tests.support.servers import as_role


async def settled(client: httpx.AsyncClient, *receipts: tuple[object, str, str]) -> list[dict[str, Any]]:
    """What became of receipts, each as (request, profile, receipt)."""
    given = [
        {"request_id": str(request_id), "profile_id": profile_id, "receipt": receipt}
        for request_id, profile_id, receipt in receipts
    ]
    answer = await client.post("/receipts", json={"receipts": given})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["receipts"]
    assert [{name: one[name] for name in given[0]} for one in found] == given
    return found


async def test_receipts_over_http(
    consoles: Consoles, connection: Connection, claims: Claims, minters: Minters, database_url: str
) -> None:
    for name, group in (("SPRING", "ours"), ("HIDDEN", "theirs")):
        made = await program(
            connection, minters, name, **{**OFF, "groups": (group,), "return_after": timedelta(seconds=1)}
        )
        await generate(connection, minters, made.id, 5, None)
    lost, bounced, hidden = message("SPRING"), message("SPRING", profile_id="p-2"), message("SPRING", "HIDDEN")
    await claims.attach([lost, bounced, hidden])
    client = await consoles.client("write", groups=["ours"])
    unknown = uuid4()

    first = await settled(
        client, (lost.id, "p-1", "before_handoff"), (bounced.id, "p-2", "permanent"), (hidden.id, "p-1", "permanent"),
        (unknown, "p-1", "permanent"), (bounced.id, "p-1", "before_handoff"),
    )  # fmt: skip

    assert [[(code["outcome"], code["reason"]) for code in one["codes"]] for one in first] == [
        [("returned", "before_handoff")], [("quarantined", "after_handoff")], [], [], [],
    ]  # fmt: skip
    assert [one["reason"] for one in first] == [None, None, "unknown_request", "unknown_request", "other_profile"]
    assert (await settled(client, (bounced.id, "p-2", "permanent")))[0] == first[1]
    # A token that sees all programs may report on all of the request's codes.
    [both] = await settled(await consoles.client("write"), (hidden.id, "p-1", "delivered"))
    assert [code["reason"] for code in both["codes"]] == ["delivered", "delivered"]
    await connection.execute("UPDATE send_receipt SET due_at = now() - interval '1 s' WHERE due_at IS NOT NULL")
    usage = UsageTally()
    async with pool(as_role(database_url, "generator"), "codewell-test", 1) as own:
        ender = QuarantineEnder(own, Health(), usage, stop=asyncio.Event())
        assert await ender.end_due()
    assert [(row.outcome, row.number) for row in usage.take()] == [("returned", 1)]
    assert await connection.fetchval("SELECT attached FROM block WHERE kind = 'range' AND program_id = 1") == 1
    assert await audit(connection) == []


async def test_a_request_of_others_that_is_answered_just_now_is_unknown(
    consoles: Consoles, connection: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = await program(connection, minters, "HIDDEN", **{**OFF, "groups": ("theirs",)})
    await generate(connection, minters, hidden.id, 5, None)
    request = message("HIDDEN")
    read = queries.requests

    async def read_answered(own: Connection, ids: Sequence[UUID]) -> Sequence[asyncpg.Record]:
        await claims.attach([request])
        return await read(own, ids)

    monkeypatch.setattr(queries, "requests", read_answered)
    client = await consoles.client("write", groups=["ours"])

    [one] = await settled(client, (request.id, "p-1", "before_handoff"))

    assert (one["codes"], one["reason"]) == ([], "unknown_request")
    assert await connection.fetchval("SELECT count(*) FROM send_receipt") == 0
    assert await audit(connection) == []


async def test_what_is_no_receipt_is_refused(consoles: Consoles) -> None:
    client = await consoles.client("write")
    right = {"request_id": str(uuid4()), "profile_id": "p-1", "receipt": "permanent"}
    for wrong in ({"request_id": "no"}, {"profile_id": ""}, {"receipt": "lost"}, {"more": 1}):
        is_problem(await client.post("/receipts", json={"receipts": [right | wrong]}), 422, reason="field_invalid")
    assert (await client.post("/receipts", json={"receipts": []})).status_code == 422
    assert (await client.post("/receipts", json={"receipts": [right] * 1_001})).status_code == 422
    is_problem(await (await consoles.client("read")).post("/receipts", json={"receipts": [right]}), 403,
               reason="scope_missing")  # fmt: skip


async def test_receipts_whose_codes_change_all_the_time_are_to_be_sent_again(
    consoles: Consoles, connection: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await program(connection, minters, **OFF)
    await generate(connection, minters, made.id, 1, None)
    lost = message("SPRING")
    await claims.attach([lost])
    client = await consoles.client("write")
    receipt = {"request_id": str(lost.id), "profile_id": "p-1", "receipt": "before_handoff"}

    async def raced(*_: object) -> None:
        raise queries.Raced

    with monkeypatch.context() as patched:
        patched.setattr(queries, "store", raced)
        busy = await client.post("/receipts", json={"receipts": [receipt]})

    is_problem(busy, 503, reason="database_unavailable")
    assert busy.headers["Retry-After"]
    assert (await settled(client, (lost.id, "p-1", "before_handoff")))[0]["codes"] != []
