"""Dead letters over HTTP: read newest first, replayed and purged in steps, by operators only."""

import asyncio
import time
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from codewell.recovery import dead_letter_log
from services.console import dead_letter_access
from tests.integration.recovery.test_dead_letters import published
from tests.support.consoles import Consoles, create_console, is_problem
from tests.support.site import Site

REFUSED = "reply_topic_refused"


@pytest.fixture
def api(consoles: Consoles, site: Site) -> FastAPI:
    return create_console(consoles.pool, kafka_bootstrap=site.bootstrap, topic_prefix=site.prefix)


@pytest.fixture
async def client(consoles: Consoles, api: FastAPI) -> httpx.AsyncClient:
    return await consoles.client("admin", api=api)


async def bury(
    site: Site, profile: str, partition: int = 0, reason: str = REFUSED, topic: str = "message-render",
    value: bytes | None = None, written_ms: int | None = None,
) -> str:  # fmt: skip
    """Write a dead letter as an issuer does, and return its place."""
    headers = {"ce_id": f"id-{profile}", "codewell_reason": reason, "codewell_detail": "Why.",
               "codewell_topic": site.prefix + topic, "codewell_partition": "1", "codewell_offset": "7"}  # fmt: skip
    sent = await site.producer.send_and_wait(
        f"{site.prefix}{topic}.dlq", b'{"profile_id":"%s"}' % profile.encode() if value is None else value,
        key=profile.encode(), partition=partition, timestamp_ms=written_ms,
        headers=[(name, text.encode()) for name, text in headers.items()],
    )  # fmt: skip
    return f"{topic}:{partition}:{sent.offset}"


async def buried(site: Site, count: int) -> list[str]:
    """Letters of two hours ago in all partitions of both topics, oldest first."""
    begin_ms = int((time.time() - 7_200) * 1000)
    return [
        await bury(site, f"p-{n}", n // 2 % 2, topic=("message-render", "scenario-step")[n % 2],
                   written_ms=begin_ms + n)
        for n in range(count)
    ]  # fmt: skip


async def pages(client: httpx.AsyncClient, **query: Any) -> list[list[str]]:
    found, cursor = [], None
    while True:
        answer = await client.get("/dead-letters", params={**query, **({} if cursor is None else {"cursor": cursor})})
        assert answer.status_code == 200, answer.text
        found.append([one["at"] for one in answer.json()["items"]])
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


async def steps(client: httpx.AsyncClient, verb: str, **body: Any) -> list[dict[str, Any]]:
    """Send a request and those with its cursors, until the last one."""
    done: list[dict[str, Any]] = []
    while not done or done[-1]["next_cursor"] is not None:
        cursor = {} if not done else {"cursor": done[-1]["next_cursor"]}
        answer = await client.post(f"/dead-letters:{verb}", json=body | cursor)
        assert answer.status_code == 200, answer.text
        done.append(answer.json())
    return done


def total(done: list[dict[str, Any]], name: str) -> int:
    return sum(one[name] for one in done)


async def test_pages_hold_all_letters_once_newest_first(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = await buried(site, 23)
    assert await pages(client) == [places[::-1]]
    found = await pages(client, limit=3)
    assert [one for page in found for one in page] == places[::-1]
    assert {len(page) for page in found} == {3, 2}
    # A page that may examine few letters is short, and the next ones go on.
    monkeypatch.setattr("codewell.recovery.newest_letters._WINDOW_LETTERS", 2)
    monkeypatch.setattr(dead_letter_access, "STEP_LETTERS_MAX", 3)
    found = await pages(client, profile="p-5")
    assert [one for page in found for one in page] == [places[5]]
    assert len(found) > 2


async def test_filters_choose(site: Site, client: httpx.AsyncClient) -> None:
    first, second, third, fourth = await buried(site, 4)
    other = await bury(site, "p-0", 1, "not_json")
    assert await pages(client, topic="scenario-step") == [[fourth, second]]
    assert await pages(client, reason="not_json") == [[other]]
    assert await pages(client, profile="p-0") == [[other, first]]
    assert await pages(client, at=[first, third]) == [[third, first]]
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert await pages(client, until=hour_ago) == [[fourth, third, second, first]]
    assert await pages(client, since=hour_ago) == [[other]]
    for query in ({"at": "elsewhere:0:0"}, {"reason": "none"}, {"topic": "elsewhere"}, {"since": "soon"}):
        is_problem(await client.get("/dead-letters", params=query), 422, reason="field_invalid")
    for cursor in ("MTc", "LTE", "x", "MSwyLDM"):
        is_problem(await client.get("/dead-letters", params={"cursor": cursor}), 422, reason="cursor_invalid")


async def test_one_letter_is_shown_whole_within_bounds(site: Site, client: httpx.AsyncClient) -> None:
    plain, binary = await bury(site, "p-1"), await bury(site, "p-2", value=b"\xff\x00")
    large = await bury(site, "p-3", value=b"x" * 300_000)
    shown = (await client.get(f"/dead-letters/{plain}")).json()
    assert (shown["value"], shown["value_base64"], shown["cut"]) == ('{"profile_id":"p-1"}', None, False)
    assert (shown["profile_id"], shown["came_from"]) == ("p-1", f"{site.prefix}message-render:1:7")
    assert ["codewell_reason", REFUSED] in shown["headers"]
    shown = (await client.get(f"/dead-letters/{binary}")).json()
    assert (shown["value"], b64decode(shown["value_base64"])) == (None, b"\xff\x00")
    shown = (await client.get(f"/dead-letters/{large}")).json()
    assert (len(shown["value"]), shown["value_bytes"], shown["cut"]) == (256 * 1024, 300_000, True)
    is_problem(await client.get("/dead-letters/message-render:0:99"), 404, reason="dead_letter_unknown")
    is_problem(await client.get("/dead-letters/message-render:9:0"), 404, reason="dead_letter_unknown")
    is_problem(await client.get("/dead-letters/nothing"), 422, reason="field_invalid")


@pytest.mark.parametrize("letters_max", [1, 5_000])
async def test_a_replay_in_steps_publishes_each_event_once(
    site: Site, client: httpx.AsyncClient, connection: Connection, monkeypatch: pytest.MonkeyPatch, letters_max: int
) -> None:
    monkeypatch.setattr(dead_letter_access, "STEP_LETTERS_MAX", letters_max)
    places = await buried(site, 8)
    counted = await steps(client, "replay", dry_run=True)
    assert (total(counted, "replayed"), len(counted) > 1) == (8, letters_max == 1)
    assert await published(site, partition=1) == []
    assert await audit_log.page(connection, 10) == []
    one = await steps(client, "replay", at=[places[2]])
    assert total(one, "replayed") == 1
    rest = await steps(client, "replay")
    assert (total(rest, "replayed"), total(rest, "replayed_before")) == (7, 1)
    again = await steps(client, "replay")
    assert (total(again, "replayed"), total(again, "replayed_before")) == (0, 8)
    came = [record for topic in ("message-render", "scenario-step") for record in await published(site, topic, 1)]
    assert sorted(record.key for record in came) == [b"p-%d" % n for n in range(8)]
    entries = (await audit_log.page(connection, 100))[::-1]
    assert {entry.verb for entry in entries} == {"dlq.replay"}
    assert [entry.details for entry in entries if "begun" in entry.details] == [{"begun": True}] * 3
    assert sum(entry.details.get("count", 0) for entry in entries) == 8


async def test_one_key_one_replay(site: Site, client: httpx.AsyncClient) -> None:
    await buried(site, 3)
    key = {"Idempotency-Key": "k"}
    first = await client.post("/dead-letters:replay", json={"again": True}, headers=key)
    assert (await client.post("/dead-letters:replay", json={"again": True}, headers=key)).json() == first.json()
    assert len(await published(site, partition=1)) == 2
    is_problem(await client.post("/dead-letters:replay", json={}, headers=key), 422, reason="idempotency_key_reused")


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "k"}])
async def test_a_console_that_dies_in_a_replay_loses_nothing_and_repeats_nothing(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, key: dict[str, str]
) -> None:
    await buried(site, 6)
    reached = asyncio.Event()

    async def die(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        # Kafka has the events, and the database does not know it yet.
        patch.setattr(dead_letter_log, "record_replayed", die)
        dying = asyncio.create_task(client.post("/dead-letters:replay", json={}, headers=key))
        async with asyncio.timeout(30):
            await reached.wait()
        dying.cancel()
        await asyncio.wait((dying,))
    answer = (await client.post("/dead-letters:replay", json={}, headers=key)).json()
    assert answer["replayed"] + answer["replayed_before"] == 6
    came = [record for topic in ("message-render", "scenario-step") for record in await published(site, topic, 1)]
    assert sorted(record.key for record in came) == [b"p-%d" % n for n in range(6)]


@pytest.mark.parametrize("letters_max", [1, 5_000])
async def test_a_purge_in_steps_lists_letters_no_more_and_has_kafka_delete_them(
    site: Site, client: httpx.AsyncClient, connection: Connection, monkeypatch: pytest.MonkeyPatch, letters_max: int
) -> None:
    monkeypatch.setattr(dead_letter_access, "STEP_LETTERS_MAX", letters_max)
    places = await buried(site, 8)
    # message-render:0 holds 0, 4; message-render:1 holds 2, 6.
    kept = places[2]
    chosen = [place for place in places if place != kept]
    assert total(await steps(client, "purge", at=chosen), "purged") == 0
    counted = await steps(client, "purge", at=chosen, unreplayed=True, dry_run=True)
    assert [total(counted, name) for name in ("purged", "never_replayed", "deleted")] == [7, 7, 6]
    assert await pages(client) == [places[::-1]]
    done = await steps(client, "purge", at=chosen, unreplayed=True)
    assert [total(done, name) for name in ("purged", "never_replayed", "deleted")] == [7, 7, 6]
    assert await pages(client) == [[kept]]
    assert (await client.get(f"/dead-letters/{places[6]}")).json()["purged_at"] is not None
    is_problem(await client.get(f"/dead-letters/{places[0]}"), 404, reason="dead_letter_unknown")
    done = await steps(client, "purge", unreplayed=True)
    assert [total(done, name) for name in ("purged", "deleted")] == [1, 2]
    assert await pages(client) == [[]]
    counts = [entry.details.get("count", 0) for entry in await audit_log.page(connection, 100)]
    assert sum(counts) == 8


async def test_operators_only(site: Site, consoles: Consoles, api: FastAPI) -> None:
    grouped = await consoles.client("admin", groups=["ours"], api=api)
    writer = await consoles.client("read", "write", "redeem", "profiles", api=api)
    for method, path in (
        ("GET", "/dead-letters"), ("GET", "/dead-letters/message-render:0:0"), ("POST", "/dead-letters:replay"),
        ("POST", "/dead-letters:purge"),
    ):  # fmt: skip
        is_problem(await grouped.request(method, path, json={}), 403, "without groups", reason="group_refused")
        is_problem(await writer.request(method, path, json={}), 403, reason="scope_missing")


async def test_few_at_once_and_one_change_at_a_time(site: Site, client: httpx.AsyncClient, api: FastAPI) -> None:
    access, pool = api.state.context.dead_letters, api.state.context.pool
    async with access.opened(pool, exclusively=True):
        is_problem(await client.post("/dead-letters:replay", json={}), 503, "try again", reason="unavailable")
        assert (await client.get("/dead-letters")).status_code == 200
        async with access.opened(pool):
            answer = await client.get("/dead-letters")
            is_problem(answer, 503, reason="dead_letters_busy")
            assert answer.headers["retry-after"]
    assert (await client.get("/dead-letters")).status_code == 200


async def test_without_kafka_nobody_waits_long(
    consoles: Consoles, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_problem(await (await consoles.client("admin")).get("/dead-letters"), 503, reason="unavailable")
    monkeypatch.setattr(dead_letter_access, "REQUEST_TIMEOUT_S", 0.0)
    is_problem(await client.get("/dead-letters"), 503, "Nothing is lost", reason="unavailable")
