"""Asks for a code for each profile id that it is given, with aiokafka alone: python plain.py p-1 p-2."""

import asyncio
import json
import os
import sys
import uuid
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

REQUESTS = "message-render"
REPLIES = "message-render.reply"
TIMEOUT_S = 30.0


def request_headers(request_id: str) -> list[tuple[str, bytes]]:
    """A CloudEvent in binary mode: its attributes are headers, its data is the value."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": request_id,
        "ce_source": "/examples/python",
        "ce_type": "dev.codewell.message-render.v1",
        "content-type": "application/json",
        "kafka_correlationId": request_id,
    }
    return [(name, text.encode()) for name, text in headers.items()]


def message_of(answer: dict[str, Any]) -> str:
    """The rendered message, or why there is none."""
    if answer["outcome"] == "attached":
        return str(answer["rendered"])
    return "refused: " + " ".join(refusal["detail"] for refusal in answer["refusals"])


async def main(profiles: list[str]) -> None:
    """Publish a request for each profile, and print the answers as they come."""
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP", "localhost:9092")
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    # Without a group: every sender reads all partitions, and skips the answers to others.
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, isolation_level="read_committed")
    async with producer, consumer:
        partitions = [TopicPartition(REPLIES, number) for number in await producer.partitions_for(REPLIES)]
        consumer.assign(partitions)
        # Before anything is asked, the present end is where reading begins.
        for partition, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(partition, end)
        waiting: dict[bytes, str] = {}
        for profile in profiles:
            # The id names the request for ever: store it, and send the same id to ask again. Version 7 is best at
            # scale (uuid.uuid7 from Python 3.14 on, or codewell_client.uuid7).
            request_id = str(uuid.uuid4())
            data = {
                "profile_id": profile,
                "campaign_id": "spring",
                "template": "Hello! Your code is {loyalty.SPRING.promocode}",
            }
            waiting[request_id.encode()] = profile
            await producer.send_and_wait(
                REQUESTS, json.dumps(data).encode(), key=profile.encode(), headers=request_headers(request_id)
            )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while waiting:
                    record = await consumer.getone()
                    profile = waiting.pop(dict(record.headers).get("kafka_correlationId", b""), "")
                    if profile:
                        print(f"{profile}: {message_of(json.loads(record.value))}", flush=True)
        except TimeoutError:
            sys.exit(f"not answered yet, ask again with these ids: {waiting}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit("usage: python plain.py PROFILE...")
    try:
        asyncio.run(main(sys.argv[1:]))
    except KafkaError as error:
        sys.exit(str(error))
