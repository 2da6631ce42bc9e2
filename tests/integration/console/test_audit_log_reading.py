"""The audit log over HTTP: who did what, by program for tokens with groups, and how far its chain is verified."""

import asyncio
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest

from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection, Pool
from services.console.background import chain_verifier
from tests.integration.audit.test_audit_log import tamper
from tests.support.consoles import Consoles, is_problem, settings


async def listed(client: httpx.AsyncClient, **query: Any) -> list[tuple[str, str | None]]:
    answer = await client.get("/audit-log", params=query)
    assert answer.status_code == 200, answer.text
    return [(one["verb"], one["program"]) for one in answer.json()["items"]]


@pytest.fixture
async def name(consoles: Consoles) -> str:
    """The token that made a program of each group, and forgot a profile."""
    name, secret = await consoles.token("admin")
    client = await consoles.with_secret(secret)
    for program, group in (("SPRING", "ours"), ("AUTUMN", "theirs")):
        assert (await client.post("/programs", json=settings(program, groups=[group]))).status_code == 201
        assert (await client.post(f"/programs/{program}/deactivate")).status_code == 200
    await client.delete("/profiles/p-1")
    return name


async def test_entries_are_listed_newest_first_by_filters(consoles: Consoles, name: str) -> None:
    client = await consoles.client("read")
    everything = [
        ("profile.forget", None), ("program.deactivate", "AUTUMN"), ("program.create", "AUTUMN"),
        ("program.deactivate", "SPRING"), ("program.create", "SPRING"),
    ]  # fmt: skip
    assert await listed(client) == everything
    assert await listed(client, program="SPRING") == everything[3:]
    assert await listed(client, verb="program") == everything[1:]
    assert await listed(client, verb="program.create") == [everything[2], everything[4]]
    assert await listed(client, actor=name) == everything
    assert await listed(client, actor="somebody") == await listed(client, since="2090-01-01") == []
    assert await listed(client, since="2020-01-01") == everything
    first = (await client.get("/audit-log", params={"limit": 2})).json()
    second = (await client.get("/audit-log", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [one["place"] for one in first["items"] + second["items"]] == [5, 4, 3, 2, 1]
    assert second["next_cursor"] is None
    assert (first["items"][0]["via"], first["items"][0]["actor"]) == ("token", name)
    for query in ({"verb": "%"}, {"program": "a b"}, {"since": "soon"}, {"cursor": "x"}):
        is_problem(await client.get("/audit-log", params=query), 422)


@pytest.mark.usefixtures("name")
async def test_a_token_with_groups_sees_its_programs_only(consoles: Consoles) -> None:
    ours = await consoles.client("read", groups=["ours"])
    assert await listed(ours) == [("program.deactivate", "SPRING"), ("program.create", "SPRING")]
    assert await listed(ours, program="AUTUMN") == await listed(ours, program="NONE") == []
    assert await listed(await consoles.client("admin", groups=["others"])) == []


@pytest.mark.usefixtures("name")
async def test_a_page_examines_few_entries_and_the_next_ones_go_on(
    consoles: Consoles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "_SCANNED_MAX", 2)
    client = await consoles.client("read")
    found, cursor, asked = [], None, 0
    while asked == 0 or cursor is not None:
        answer = await client.get("/audit-log", params={"program": "SPRING"} | ({"cursor": cursor} if cursor else {}))
        found += [one["verb"] for one in answer.json()["items"]]
        cursor, asked = answer.json()["next_cursor"], asked + 1
    assert (found, asked) == (["program.deactivate", "program.create"], 3)


@pytest.mark.usefixtures("name")
async def test_the_chain_is_verified_and_a_change_between_two_verifications_is_found(
    consoles: Consoles, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await consoles.client("read", groups=["ours"])
    first = (await client.get("/audit-log/verification")).json()
    assert (first["state"], first["verified_up_to"], first["fault"]) == ("intact", 5, None)
    assert first["head"] == str((await audit_log.verify(connection)).head)
    await tamper(
        connection,
        "DELETE FROM audit_chain WHERE place = 5",
        "DELETE FROM audit_entry WHERE verb = 'profile.forget'",
    )
    assert (await client.get("/audit-log/verification")).json() == first
    monkeypatch.setattr(chain_verifier, "INTERVAL_S", 0.0)
    cut = (await client.get("/audit-log/verification")).json()
    assert (cut["state"], cut["verified_up_to"]) == ("broken", 4)
    assert "the last entries were removed" in cut["fault"]


@pytest.mark.usefixtures("name")
async def test_a_changed_entry_ends_what_is_verified(consoles: Consoles, connection: Connection) -> None:
    await tamper(connection, "UPDATE audit_entry SET actor = 'somebody' WHERE program = 'AUTUMN'")
    found = (await (await consoles.client("read")).get("/audit-log/verification")).json()
    assert (found["state"], found["verified_up_to"]) == ("broken", 2)
    assert "Entry 3" in found["fault"]


async def test_all_that_wait_for_a_verification_see_its_error_and_the_next_one_works(
    connections: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = chain_verifier.ChainVerifier(connections)
    with monkeypatch.context() as patched:
        patched.setattr(audit_log, "verify_step", AsyncMock(side_effect=ConnectionResetError))
        found = await asyncio.gather(*(verifier.state() for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in found] == [ConnectionResetError] * 3
    assert (await verifier.state()).ended_at is not None


async def test_a_token_that_may_not_read_sees_no_log(consoles: Consoles) -> None:
    client = await consoles.client("write", "redeem")
    for path in ("/audit-log", "/audit-log/verification"):
        is_problem(await client.get(path), 403, reason="scope_missing")
