"""Publishes requests at a given rate and reads the answers, in a process of its own.

It reads a plan from standard input and prints the latency of each answer. Request n is due at n / rate, and its
latency counts from then until the answer was read, even if earlier requests are late: neither a late answer nor a late
publisher is hidden. The delay until each request reached the producer is printed too.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks import loader
from benchmarks.backlog import PARTITIONS, REPLY_TOPIC, TOPIC
from codewell.client.exchange import OutgoingRequest, build_request
from codewell.infra.kafka import clients
from schemas.events import CODES_ATTACHED

ANSWER_TIMEOUT_S: Final = 30.0
_POLL_MS: Final = 500
# An answer begins with its request's id.
_HEAD: Final = b'{"request_id":"'
_ID: Final = slice(len(_HEAD), len(_HEAD) + 36)


class Plan(NamedTuple):
    """The requests to publish, and their topic."""

    bootstrap: str
    prefix: str
    program: str
    requests: int
    rate: float
    """Requests a second."""


class Seen(NamedTuple):
    """The times of each request, in the order in which they were due (ms)."""

    times_ms: list[float]
    """From the due time until the answer was read."""
    late_ms: list[float]
    """From the due time until the producer had it."""


async def load(plan: Plan) -> Seen:
    """Publish all and wait for each answer. Raises ValueError for a refusal or a second answer, and TimeoutError."""
    requests = [
        build_request(TOPIC, {"profile_id": f"p-{number}", "campaign_id": "spring", "message_id": f"m-{number}",
                         "programs": [plan.program]})
        for number in range(plan.requests)
    ]  # fmt: skip
    async with clients.started_producer(plan.bootstrap) as producer, _at_the_end(plan) as consumer:
        began = time.perf_counter()
        reading = asyncio.create_task(read_answers(consumer, plan.requests))
        try:
            handed = await _publish(producer, plan, requests, began)
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                read = await reading
        finally:
            reading.cancel()
    due = [began + number / plan.rate for number in range(plan.requests)]
    ids = [str(request.request_id).encode() for request in requests]
    return Seen(
        [1_000 * (read[one] - at) for one, at in zip(ids, due, strict=True)],
        [1_000 * (sent - at) for sent, at in zip(handed, due, strict=True)],
    )


@asynccontextmanager
async def _at_the_end(plan: Plan) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of the answers from the current end on."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=plan.bootstrap, enable_auto_commit=False, auto_offset_reset="latest", check_crcs=False
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(plan.prefix + REPLY_TOPIC, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await asyncio.gather(*(consumer.position(partition) for partition in partitions))
        yield consumer
    finally:
        await consumer.stop()


async def _publish(
    producer: AIOKafkaProducer, plan: Plan, requests: Sequence[OutgoingRequest], began: float
) -> list[float]:
    """Give each request to the producer when it is due, and return those times."""
    handed: list[float] = []
    sent = []
    for number, request in enumerate(requests):
        pause = began + number / plan.rate - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        topic = plan.prefix + TOPIC
        sent.append(await producer.send(topic, request.value, key=request.key, headers=request.headers))
        handed.append(time.perf_counter())
    await asyncio.gather(*sent)
    return handed


async def read_answers(consumer: AIOKafkaConsumer, count: int) -> dict[bytes, float]:
    """The time of each answer's arrival. Raises ValueError for a refusal or a second answer."""
    read: dict[bytes, float] = {}
    while len(read) < count:
        fetched = await consumer.getmany(timeout_ms=_POLL_MS)
        now = time.perf_counter()
        for record in (record for records in fetched.values() for record in records):
            request_id = record.value[_ID]
            if request_id in read or dict(record.headers)["ce_type"] != CODES_ATTACHED.encode():
                raise ValueError(f"{request_id.decode()} was answered twice or refused: {record.value.decode()}")
            read[request_id] = now
    return read


if __name__ == "__main__":
    # Its own garbage collection pauses must not be measured.
    gc.disable()
    loader.run(lambda given: load(Plan(*given)))
