"""A peer, not a product: the usual build of an issuer.

Codes are rows with random keys, inserted ahead. Each request has a transaction of its own, which locks one free row,
skips locked ones, and updates it; each answer is produced and awaited by itself; offsets are committed once a poll.
It promises less than the product: a redelivered request gets a second code.
"""

import asyncio
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from pydantic_core import to_json

from benchmarks.backlog import REPLY_TOPIC, TOPIC
from codewell.infra.config.settings import WorkerSettings, read_settings
from codewell.infra.postgres.connection import Connection
from codewell.infra.process.lifecycle import run
from schemas.events import CODES_ATTACHED, MessageRender

GROUP: Final = "usual-issuer"
_POLL_MS: Final = 500
_POLL_RECORDS_MAX: Final = 100
_MINUTES_S: Final = 300

_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS promo_code (
        id          uuid PRIMARY KEY,
        program     text NOT NULL,
        code        text NOT NULL,
        profile_id  text,
        request_id  uuid,
        attached_at timestamptz,
        UNIQUE (program, code)
    );
    CREATE INDEX IF NOT EXISTS promo_code_free ON promo_code (program, id) WHERE profile_id IS NULL;
    """

_MAKE: Final = """
    INSERT INTO promo_code (id, program, code)
    SELECT gen_random_uuid(), $1, upper(substr(replace(gen_random_uuid()::text, '-', ''), 1, 14))
    FROM generate_series(1, $2)
    """

# Without the order, Postgres may scan the table from its start each time, past all codes that are already taken.
_LOCK: Final = """
    SELECT id, code FROM promo_code WHERE program = $1 AND profile_id IS NULL
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
    """

_GIVE: Final = "UPDATE promo_code SET profile_id = $2, request_id = $3, attached_at = now() WHERE id = $1"


async def stock(connection: Connection, program: str, count: int) -> None:
    """Insert codes, and update Postgres' statistics."""
    await connection.execute(_TABLE)
    await connection.execute(_MAKE, program, count, timeout=_MINUTES_S)
    await connection.execute("VACUUM ANALYZE promo_code", timeout=_MINUTES_S)


async def given(connection: Connection, program: str) -> int:
    """The number of attached codes of the program."""
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM promo_code WHERE program = $1 AND profile_id IS NOT NULL", program
        )
    )


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
            for records in fetched.values():
                for record in records:
                    await _answer(record, pool, producer, prefix + REPLY_TOPIC)
            await consumer.commit()


async def _answer(record: ConsumerRecord, pool: asyncpg.Pool, producer: AIOKafkaProducer, reply_topic: str) -> None:
    request_id = dict(record.headers)["ce_id"]
    event = MessageRender.model_validate_json(record.value)
    [program] = event.program_names
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(_LOCK, program)
        await connection.execute(_GIVE, row["id"], event.profile_id, request_id.decode())
    code = {"program": program, "code": row["code"], "expires_at": None, "fields": {}}
    data = {
        "request_id": request_id.decode(),
        "profile_id": event.profile_id,
        "outcome": "attached",
        "codes": [code],
    }
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", request_id),
        ("ce_source", b"/usual"),
        ("ce_type", CODES_ATTACHED.encode()),
    ]
    await producer.send_and_wait(reply_topic, to_json(data), key=record.key, headers=headers)


if __name__ == "__main__":
    _settings = read_settings(WorkerSettings)
    run(lambda stop: issue(_settings, stop))
