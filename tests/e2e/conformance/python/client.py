"""`client.py core|v1 BOOTSTRAP PLAN`: sends the plan's requests with the CloudEvents SDK, prints the answers it reads.

The SDK has two programming interfaces: that of its versions 2, and that of its versions 1, which it still has.
"""

import asyncio
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from cloudevents.core.bindings import kafka as core
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import kafka as first
from cloudevents.v1.http import CloudEvent as FirstEvent

Message = core.KafkaMessage | first.KafkaMessage


def message_core(plan: dict[str, Any], request: dict[str, Any]) -> Message:
    attributes = {"id": request["id"], "source": plan["source"], "type": plan["type"], "specversion": "1.0"}
    given = request["attributes"] | {"time": datetime.fromisoformat(request["attributes"]["time"])}
    event = CloudEvent({**attributes, **given}, request["data"])
    write = core.to_binary if request["mode"] == "binary" else core.to_structured
    return write(event, JSONFormat())


def message_first(plan: dict[str, Any], request: dict[str, Any]) -> Message:
    attributes = {"id": request["id"], "source": plan["source"], "type": plan["type"], **request["attributes"]}
    event = FirstEvent.create(attributes, request["data"])
    return first.to_binary(event) if request["mode"] == "binary" else first.to_structured(event)


def read_core(record: ConsumerRecord, headers: dict[str, bytes]) -> dict[str, Any]:
    event = core.from_kafka(core.KafkaMessage(headers=headers, key=record.key, value=record.value), JSONFormat())
    return {**event.get_attributes(), "data": event.get_data()}


def read_first(record: ConsumerRecord, headers: dict[str, bytes]) -> dict[str, Any]:
    message = first.KafkaMessage(headers=headers, key=record.key.decode(), value=record.value)
    event = first.from_binary(message) if "ce_id" in headers else first.from_structured(message)
    return {**event.get_attributes(), "data": event.get_data()}


async def send(bootstrap: str, plan: dict[str, Any], message: Any) -> None:
    for batch in plan["batches"]:
        transaction = batch["transaction"]
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            compression_type=None if batch["compression"] == "none" else batch["compression"],
            transactional_id=None if transaction is None else batch["requests"][0]["id"],
        )
        async with producer:
            if transaction is not None:
                await producer.begin_transaction()
            for request in batch["requests"]:
                made = message(plan, request)
                key = made.key.encode() if isinstance(made.key, str) else made.key
                headers = [*made.headers.items(), ("kafka_correlationId", request["id"].encode())]
                await producer.send(plan["topic"], made.value, key=key, headers=headers)
            await producer.flush()
            if transaction is not None:
                await (producer.commit_transaction() if transaction == "commit" else producer.abort_transaction())


async def receive(bootstrap: str, plan: dict[str, Any], read: Any) -> None:
    waiting = set(plan["answered"])
    consumer = AIOKafkaConsumer(
        plan["reply"], bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    async with consumer, asyncio.timeout(plan["timeout_s"]):
        while waiting:
            record = await consumer.getone()
            headers = dict(record.headers)
            correlation = headers.pop("kafka_correlationId", b"").decode()
            if correlation in waiting:
                waiting.discard(correlation)
                mode = "binary" if "ce_id" in headers else "structured"
                answer = {**read(record, headers), "mode": mode, "correlation": correlation}
                print(json.dumps(answer, default=_text), flush=True)  # noqa: T201  its output


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(getattr(value, "isoformat", value.__str__)())


async def main(interface: str, bootstrap: str, file: str) -> None:
    plan = json.loads(Path(file).read_text())
    is_core = interface == "core"
    await send(bootstrap, plan, message_core if is_core else message_first)
    await receive(bootstrap, plan, read_core if is_core else read_first)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
