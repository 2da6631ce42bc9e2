"""`codewell audit --stream`: it agrees with what the worker publishes, and finds what is missing from it.

The topic is read by a consumer and by an example too, which share no code with the product.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from codewell.codes import lifecycle
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.kafka.clients import started_producer, wait_until_up
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.lifecycle import slot, stream_audit
from codewell.lifecycle.publisher import publisher
from codewell.lifecycle.stream import Stream
from codewell.lifecycle.stream_audit import StreamVerdict
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.redemption import till
from tests.support import stream_consumer
from tests.support.commands import codewell, environment, run_to_end
from tests.support.documented import ROOT
from tests.support.factories import OFF, message, program
from tests.support.fixtures import PARTITIONS, own_topics

TOPIC = "code-lifecycle"
POLL_S = 0.05
TABLE = ROOT / "examples" / "lifecycle" / "table.py"


@asynccontextmanager
async def stream(connections: Pool, kafka: str, prefix: str) -> AsyncIterator[None]:
    """A stream that has begun and goes on."""
    await wait_until_up(kafka, [prefix + TOPIC], 20)
    async with connections.acquire() as one, connections.acquire() as two, publisher(kafka, prefix + TOPIC) as topic:
        opened = Stream(one, two, topic, lambda *_: None)
        await opened.begin()

        async def read() -> None:
            while True:
                await opened.read()
                await asyncio.sleep(POLL_S)

        reading = asyncio.create_task(read())
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.wait([reading])


async def check(connections: Pool, kafka: str, prefix: str) -> StreamVerdict:
    async with connections.acquire() as one, connections.acquire() as two:
        return await stream_audit.audit(one, two, kafka, prefix, wait_s=20)


async def live(connection: Connection, minters: Minters, claims: Claims, name: str) -> None:
    """Some codes of a program: one is used, one held, one has returned, one is deleted, others are attached."""
    made = await program(connection, minters, **{**OFF, "name": name})
    codes = ProgramCodes(connection, minters, made.id)
    await generate(connection, minters, made.id, 20, None)
    requests = sorted((message(name, profile_id=f"p-{n}") for n in range(8)), key=lambda one: one.id)
    rows = (await claims.attach(requests)).rows
    used, held, returned, deleted, *_ = [rows[one.id][0].code or "" for one in requests]
    await till.activate(codes, used)
    await till.hold(codes, held, "o-1")
    await lifecycle.detach(codes, returned)
    await lifecycle.delete(codes, deleted)


async def copied(kafka: str, prefix: str, other: str, left_out: str) -> None:
    """Copy the topic without the first event of a type."""
    events = [one async for one in stream_consumer.consume(kafka, prefix + TOPIC)]
    missing = next(one for one in events if one.type == left_out)
    async with started_producer(kafka) as producer:
        for one in events:
            if one is not missing:
                key, value, headers = one.raw
                await producer.send_and_wait(other + TOPIC, value, key, one.partition, headers=list(headers))


async def test_it_agrees_with_the_stream_and_finds_what_is_missing_or_cut_off(
    connections: Pool, connection: Connection, minters: Minters, claims: Claims, kafka_bootstrap: str, prefix: str,
    database_url: str, tmp_path: Path,
) -> None:  # fmt: skip
    await live(connection, minters, claims, "BEFORE")
    env = environment(
        CODEWELL_POSTGRES_URL=database_url, CODEWELL_KAFKA_BOOTSTRAP=kafka_bootstrap, CODEWELL_TOPIC_PREFIX=prefix,
        KAFKA_BOOTSTRAP=kafka_bootstrap, LIFECYCLE_TOPIC=prefix + TOPIC,
    )  # fmt: skip
    async with stream(connections, kafka_bootstrap, prefix), own_topics(kafka_bootstrap) as other:
        await live(connection, minters, claims, "AFTER")
        verdict = await check(connections, kafka_bootstrap, prefix)
        assert verdict.is_clean, verdict
        # Each returned code is at two places.
        assert (verdict.copies, verdict.compared.codes) == (0, 42)
        said = (await codewell("audit", "--stream", env=env, cwd=tmp_path)).is_done().out
        assert "give the state of all 42 codes" in said

        await copied(kafka_bootstrap, prefix, other, "code-attached")
        verdict = await check(connections, kafka_bootstrap, other)
        assert verdict.compared.differing + verdict.breach_count > 0
        refused = await codewell(
            "audit", "--stream", "--json", env={**env, "CODEWELL_TOPIC_PREFIX": other}, cwd=tmp_path
        )
        assert refused.status == 1
        assert refused.objects[0]["clean"] is False
        lossy = await stream_consumer.judge(stream_consumer.consume(kafka_bootstrap, other + TOPIC))
        assert lossy.wrong == []
        assert len(await stream_consumer.gaps(connection, lossy)) == 2

        whole = await stream_consumer.judge(stream_consumer.consume(kafka_bootstrap, prefix + TOPIC))
        assert whole.wrong == []
        assert await stream_consumer.gaps(connection, whole) == []
        for _ in range(2):
            said = (await run_to_end(sys.executable, str(TABLE), "codes.sqlite", env=env, cwd=tmp_path)).is_done().out
            assert said.splitlines() == ["12 attached", "2 deleted", "2 moved", "26 pooled"]

        await cut_off(kafka_bootstrap, prefix)
        assert (await check(connections, kafka_bootstrap, prefix)).headless == list(range(PARTITIONS))
        cut = await codewell("audit", "--stream", env=env, cwd=tmp_path)
        cut.is_refused("has lost the beginning of 2 partitions")


@pytest.mark.parametrize("then", [lifecycle.delete, lifecycle.detach], ids=["deleted", "returned"])
async def test_a_code_that_was_given_again_and_is_gone_is_no_breach_of_a_later_epoch(
    connections: Pool, connection: Connection, minters: Minters, claims: Claims, kafka_bootstrap: str, prefix: str,
    then: Callable[[ProgramCodes, str], Awaitable[object]],
) -> None:  # fmt: skip
    made = await program(connection, minters, reuse="profile", **OFF)
    await generate(connection, minters, made.id, 5, None)
    for profile_id in ("gone", "gone", "has", "has"):
        await claims.attach([message("SPRING", profile_id=profile_id)])
    code = await connection.fetchval("SELECT code FROM answer WHERE again AND profile_id = 'gone'")
    await then(ProgramCodes(connection, minters, made.id), code)
    async with stream(connections, kafka_bootstrap, prefix):
        assert (await check(connections, kafka_bootstrap, prefix)).is_clean
    events = stream_consumer.consume(kafka_bootstrap, prefix + TOPIC)
    assert [one.type async for one in events].count("code-attached") == 1


async def test_the_place_that_is_waited_for_is_on_disk_at_once(connection: Connection, bystander: Connection) -> None:
    await connection.execute("SET synchronous_commit = off")
    # Without a commit, as reading does that tidies up a page.
    await bystander.execute("SELECT pg_logical_emit_message(false, 'test', '')")
    before: int = await bystander.fetchval("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    position = await connection.fetchval(stream_audit._POSITION)
    assert before < position <= await slot.position(connection)


async def cut_off(kafka: str, prefix: str) -> None:
    """Remove the first record of each partition, as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_records(
            {TopicPartition(prefix + TOPIC, number): RecordsToDelete(before_offset=1) for number in range(PARTITIONS)}
        )
    finally:
        await admin.close()
