"""Profiles as the events of `profile-changed` tell them, whatever else is in the topic."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.client.exchange import OutgoingRequest
from codewell.errors import StackUnavailable
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import Connection
from codewell.infra.telemetry.health import Health
from codewell.infra.uuid7 import uuid7
from codewell.profiles import forgetting, profiles
from schemas.events import PROFILE_CHANGED
from services.generator import profile_reader as reading
from services.generator.profile_reader import ProfileReader
from services.generator.settings import GeneratorSettings
from tests.integration.issuer.test_poison import NotUtf8, publish_raw
from tests.support.running import soon, until
from tests.support.sender_records import messages
from tests.support.site import Site

TOPIC = "profile-changed"
HEADERS = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/t"), ("ce_type", PROFILE_CHANGED.encode())]
ENVELOPE = {"specversion": "1.0", "id": "1", "source": "/t", "type": PROFILE_CHANGED}
STRUCTURED = [("content-type", b"application/cloudevents+json; charset=UTF-8")]


async def tell(site: Site, profile_id: str, fields: Mapping[str, str] | None, partition: int = 0) -> None:
    """A change, or that the profile is to be forgotten."""
    value = None if fields is None else json.dumps({"profile_id": profile_id, "fields": fields, "more": 1}).encode()
    await site.put(TOPIC, value, HEADERS, profile_id.encode(), partition)


async def until_kept(site: Site, expected: dict[str, dict[str, str]]) -> None:
    async def kept() -> bool:
        rows = await site.database.fetch("SELECT profile_id, fields FROM profile")
        return {row["profile_id"]: json.loads(row["fields"]) for row in rows} == expected

    await until(kept, f"profiles {expected}")


async def committed(site: Site) -> bool:
    return await site.uncommitted(TOPIC, "codewell-profiles") == 0


async def test_the_last_change_of_a_profile_counts(site: Site) -> None:
    for number in range(5):
        await tell(site, "p-1", {"n": str(number)})
        await tell(site, "p-ü", {"n": str(number)}, partition=1)
    async with site.generator():
        await until_kept(site, {"p-1": {"n": "4"}, "p-ü": {"n": "4"}})
        await tell(site, "p-1", None)
        await tell(site, "p-2", {"a": "b"})
        await tell(site, "p-2", None)
        await tell(site, "p-3", None)
        await tell(site, "p-3", {"late": "1"})
        await until_kept(site, {"p-ü": {"n": "4"}, "p-3": {"late": "1"}})
        await until(lambda: committed(site), "end of the topic")
    await tell(site, "p-1", {"n": "again"})
    async with site.generator():
        await until_kept(site, {"p-ü": {"n": "4"}, "p-3": {"late": "1"}, "p-1": {"n": "again"}})


async def test_a_record_without_a_value_forgets_the_profile_and_its_answers(site: Site) -> None:
    await site.program("SPRING", 5)
    asked = messages(1, "SPRING")
    async with site.issuer():
        await site.publish(asked)
        await site.came("message-render.reply", 1)
    [who] = [json.loads(one.value)["profile_id"] for one in asked]
    async with site.generator():
        await tell(site, who, {"a": "b"})
        await until_kept(site, {who: {"a": "b"}})
        await tell(site, who, None)
        await until_kept(site, {})
        await until(lambda: committed(site), "end of the topic")
    assert await site.database.fetchval("SELECT count(*) FROM answer WHERE profile_id = $1", who) == 0
    assert (await site.stock("SPRING")).attached == 1
    assert await audit(site.database) == []


async def test_what_cannot_be_read_is_stepped_over(site: Site) -> None:
    good = {"profile_id": "p-1", "fields": {"a": "b"}}
    data: list[Any] = [
        {}, [], "x", {"profile_id": "p-1"}, {**good, "profile_id": "p-2"}, {**good, "fields": {"two words": ""}},
        {**good, "fields": {"a": 1}}, {**good, "fields": {"a": "\0"}}, {**good, "fields": {"a": "x" * 2_001}},
        {**good, "fields": {f"f{n}": "" for n in range(65)}}, {**good, "more": "x" * 300_000},
    ]  # fmt: skip
    values = [b"", b"\xff", b"{", b"[" * 9_000, *(json.dumps(one).encode() for one in data)]
    await tell(site, "p-1", {"before": "1"})
    for value in values:
        await site.put(TOPIC, value, HEADERS, b"p-1")
    # A compacted topic takes no record without a key.
    for key in (b"", b"\xff", b"a\nb", b"x" * 257):
        await site.put(TOPIC, json.dumps(good).encode(), HEADERS, key)
        await site.put(TOPIC, None, HEADERS, key)
    await site.put(TOPIC, json.dumps(good).encode(), [("ce_type", b"other")], b"p-1")
    await site.put(TOPIC, json.dumps({**ENVELOPE, "type": "other", "data": good}).encode(), STRUCTURED, b"p-1")
    async with site.generator():
        await until(lambda: committed(site), "end of the topic")
        await until_kept(site, {"p-1": {"before": "1"}})
        await site.put(TOPIC, json.dumps({**ENVELOPE, "data": good}).encode(), STRUCTURED, b"p-1")
        await until_kept(site, {"p-1": {"a": "b"}})
        await site.put(TOPIC, json.dumps({"profile_id": "p-2", "fields": {}}).encode(), (), b"p-2")
        await until_kept(site, {"p-1": {"a": "b"}, "p-2": {}})


async def test_a_header_whose_name_is_not_utf8_holds_nobody_up(site: Site) -> None:
    def change(who: str, *headers: tuple[str, bytes]) -> OutgoingRequest:
        value = json.dumps({"profile_id": who, "fields": {"n": "1"}}).encode()
        return OutgoingRequest(uuid7(), TOPIC, who.encode(), value, list(headers))

    bad = change("p-2", (NotUtf8("x"), b""))
    async with site.generator():
        await publish_raw(site, [change("p-1"), bad])
        await publish_raw(site, [change("p-3")])
        await publish_raw(site, [bad, change("p-5")])
        await tell(site, "p-4", {"n": "1"})
        await until(lambda: committed(site), "end of the topic")
        await until_kept(site, {f"p-{number}": {"n": "1"} for number in (1, 3, 4, 5)})


async def test_who_looks_for_such_a_record_reads_no_partition_without_end(site: Site) -> None:
    bad = OutgoingRequest(uuid7(), TOPIC, b"p-9", b"{}", [(NotUtf8("x"), b"")])
    over = asyncio.Event()

    async def write_on() -> None:
        """More often than a reader waits for the next record."""
        number = 0
        while not over.is_set():
            await tell(site, "p-1", {"n": str(number := number + 1)})
            await asyncio.sleep(0.1)

    async with site.generator():
        await tell(site, "p-1", {"n": "0"})
        await until_kept(site, {"p-1": {"n": "0"}})
        writing = asyncio.create_task(write_on())
        await publish_raw(site, [bad])
        await tell(site, "p-2", {"n": "1"}, partition=1)

        async def other_kept() -> bool:
            return bool(await site.database.fetchval("SELECT count(*) FROM profile WHERE profile_id = 'p-2'"))

        await until(other_kept, "profile of another partition")
        over.set()
        await writing


async def test_what_is_forgotten_is_committed_in_pieces(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real, forgotten = forgetting.forget, 0

    async def forget(connection: Connection, profile_id: str) -> int:
        nonlocal forgotten
        if forgotten == 50:
            raise StackUnavailable("Requests are being decided without end.")
        forgotten += 1
        return await real(connection, profile_id)

    monkeypatch.setattr(forgetting, "forget", forget)
    for number in range(60):
        await tell(site, f"p-{number}", None)
    async with site.generator():

        async def two_pieces() -> bool:
            return await site.uncommitted(TOPIC, "codewell-profiles") == 20

        await until(two_pieces, "commit of what is forgotten")


async def test_what_was_in_hand_before_a_rebalance_is_not_written_behind_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another reader may have written what came after it."""
    monkeypatch.setattr(reading, "_REVOKE_TIMEOUT_S", 0.1)
    waiting = asyncio.Event()

    async def put(*_: object) -> None:
        waiting.set()
        raise ConnectionRefusedError

    monkeypatch.setattr(profiles, "put", put)
    settings = GeneratorSettings(**site.settings("generator"))
    async with postgres.pool(site.postgres_url, "codewell-test", 1) as pool:
        reader = ProfileReader(settings, pool, Health(), asyncio.Event())
        running = asyncio.create_task(reader.run())
        await tell(site, "p-1", {"n": "0"})
        await soon(waiting)
        await reader.on_partitions_revoked([])
        monkeypatch.undo()
        await tell(site, "p-2", {"n": "1"}, partition=1)
        await until_kept(site, {"p-2": {"n": "1"}})
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_i7_it_goes_on_when_its_connections_were_cut(site: Site) -> None:
    async with site.generator():
        await tell(site, "p-1", {"a": "1"})
        await until_kept(site, {"p-1": {"a": "1"}})
        for number in range(3):
            assert await site.terminate_connections("codewell-generator") >= 1
            await tell(site, "p-1", {"a": f"again {number}"})
            await until_kept(site, {"p-1": {"a": f"again {number}"}})


async def test_two_generators_share_the_topic(site: Site) -> None:
    async with site.generator(), site.generator():
        for number in range(20):
            await tell(site, f"p-{number}", {"n": "1"}, partition=number % 2)
        await until_kept(site, {f"p-{number}": {"n": "1"} for number in range(20)})
    assert (await profiles.get(site.database, "p-7")).fields == {"n": "1"}
