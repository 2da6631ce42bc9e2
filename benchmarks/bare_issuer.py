"""A ceiling, not a product: the issuer's loop over Kafka without a database. All requests get the same code.

It reads batches of the same size, validates each request with the same model, answers with as many bytes and headers
through the same whole record batches, and commits offsets when the answers are acknowledged. The product's distance
to this rate is the cost of its database work and its fault tolerance.
"""

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecord

from benchmarks.backlog import REPLY_TOPIC, TOPIC
from codewell.infra.config.settings import read_settings
from codewell.infra.kafka import clients
from codewell.infra.kafka.record_batches import RecordBatches
from codewell.infra.kafka.record_encoding import encode_headers
from codewell.infra.process.lifecycle import run
from schemas.events import CODES_ATTACHED, MessageRender, schema_uri
from services.issuer.settings import IssuerSettings

GROUP: Final = "bare-issuer"
_POLL_MS: Final = 500
_VALIDATE: Final = MessageRender.__pydantic_validator__.validate_json
_ANY_ID: Final = b"00000000-0000-7000-8000-000000000000"
HEADERS: Final = [
    ("ce_id", _ANY_ID),
    ("ce_specversion", b"1.0"),
    ("ce_source", b"/codewell/issuer"),
    ("ce_type", CODES_ATTACHED.encode()),
    ("ce_time", b"2026-12-23T00:00:00.123456Z"),
    ("ce_dataschema", schema_uri(CODES_ATTACHED).encode()),
    ("content-type", b"application/json"),
]
_BEFORE_ID, _, _AFTER_ID = encode_headers(HEADERS).partition(_ANY_ID)


async def issue(settings: IssuerSettings, stop: asyncio.Event) -> None:
    """Answer until `stop` is set."""
    bootstrap, prefix = settings.kafka_bootstrap, settings.topic_prefix
    consumer = clients.consumer(bootstrap, prefix + GROUP)
    consumer.subscribe([prefix + TOPIC])
    async with clients.started_producer(bootstrap) as producer:
        await consumer.start()
        try:
            while not stop.is_set():
                await _batch(consumer, producer, prefix + REPLY_TOPIC, settings.batch_size_max)
        finally:
            await consumer.stop()


async def _batch(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, reply_topic: str, size_max: int) -> None:
    fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=size_max)
    if not fetched:
        return
    batches = RecordBatches(producer)
    for tp, records in fetched.items():
        for record in records:
            batches.add(reply_topic, tp.partition, record.raw.key, *answer(record.raw))
    await batches.send()
    await consumer.commit({partition: records[-1].offset + 1 for partition, records in fetched.items()})


def answer(record: DefaultRecord) -> tuple[bytes, bytes]:
    """An answer's value and encoded headers in the product's form, except for the values of the code and the ids."""
    request_id = dict(record.headers)["ce_id"]
    return data(request_id, record.value), b"".join((_BEFORE_ID, request_id, _AFTER_ID))


def data(request_id: bytes, request: bytes) -> bytes:
    """An answer's value."""
    event = _VALIDATE(request)
    return (
        f'{{"request_id":"{request_id.decode()}","profile_id":"{event.profile_id}","outcome":"attached","codes":['
        f'{{"program":"{event.programs[0]}","code":"smFg-2497-DMPB","expires_at":"2026-12-23T00:00:00.123456Z",'
        '"fields":{}}]}'
    ).encode()


if __name__ == "__main__":
    _settings = read_settings(IssuerSettings)
    run(lambda stop: issue(_settings, stop))
