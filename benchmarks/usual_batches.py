"""A second peer, not a product: the usual build with batches.

Its tables and random keys are those of the usual build, but all requests of a poll share one transaction: one SELECT
locks as many free rows as are requested, one UPDATE attaches them, the answers are published together, and then
offsets are committed. It still promises less than the product: a redelivered request gets a second code.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from pydantic_core import to_json

from benchmarks.backlog import REPLY_TOPIC, TOPIC
from codewell.infra.config.settings import WorkerSettings, read_settings
from codewell.infra.process.lifecycle import run
from schemas.events import CODES_ATTACHED, MessageRender

GROUP: Final = "usual-batches"
_POLL_MS: Final = 500
# The default of Kafka's own consumer for records in one poll.
_POLL_RECORDS_MAX: Final = 500

_LOCK: Final = """
    SELECT id, code FROM promo_code WHERE program = $1 AND profile_id IS NULL
    ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
    """

_GIVE: Final = """
    UPDATE promo_code SET profile_id = g.profile_id, request_id = g.request_id, attached_at = now()
    FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS g (id, profile_id, request_id) WHERE promo_code.id = g.id
    """


class Wanted(NamedTuple):
    """The fields of one request."""

    program: str
    profile_id: str
    request_id: UUID


async def issue(settings: WorkerSettings, stop: asyncio.Event) -> None:
    """Answer until `stop` is set."""
    bootstrap, prefix = settings.kafka_bootstrap, settings.topic_prefix
    consumer = AIOKafkaConsumer(
        prefix + TOPIC,
        bootstrap_servers=bootstrap,
        group_id=prefix + GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    async with asyncpg.create_pool(settings.postgres_url.get_secret_value()) as pool, consumer, producer:
        while not stop.is_set():
            fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS_MAX)
            records = [record for several in fetched.values() for record in several]
            if records:
                wanted = [_read(record) for record in records]
                answers = map(_answer, wanted, await give(wanted, pool))
                sent = [
                    await producer.send(prefix + REPLY_TOPIC, value, key=record.key, headers=headers)
                    for record, (value, headers) in zip(records, answers, strict=True)
                ]
                await asyncio.gather(*sent)
                await consumer.commit()


def _read(record: ConsumerRecord) -> Wanted:
    event = MessageRender.model_validate_json(record.value)
    [program] = event.program_names
    return Wanted(program, event.profile_id, UUID(dict(record.headers)["ce_id"].decode()))


async def give(wanted: Sequence[Wanted], pool: asyncpg.Pool) -> list[str]:
    """A code for each of these, in their order. Raises StopIteration when there are too few."""
    codes: list[str] = []
    given = []
    async with pool.acquire() as connection, connection.transaction():
        counts = Counter(one.program for one in wanted)
        free = {program: iter(await connection.fetch(_LOCK, program, count)) for program, count in counts.items()}
        for one in wanted:
            row = next(free[one.program])
            codes.append(row["code"])
            given.append((row["id"], one.profile_id, one.request_id))
        await connection.execute(_GIVE, *map(list, zip(*given, strict=True)))
    return codes


def _answer(wanted: Wanted, code: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    request_id = str(wanted.request_id)
    data = {
        "request_id": request_id,
        "profile_id": wanted.profile_id,
        "outcome": "attached",
        "codes": [{"program": wanted.program, "code": code, "expires_at": None, "fields": {}}],
    }
    return to_json(data), [
        ("ce_specversion", b"1.0"),
        ("ce_id", request_id.encode()),
        ("ce_source", b"/usual"),
        ("ce_type", CODES_ATTACHED.encode()),
    ]


if __name__ == "__main__":
    _settings = read_settings(WorkerSettings)
    run(lambda stop: issue(_settings, stop))
