"""A load that goes on: requests are published as long as few enough of them wait for their answers."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from schemas import topics
from services.client.exchange import exchange
from services.kafka import clients
from tests.e2e.campaign import Asked, requests
from tests.e2e.consumer_groups import end_offsets

HEAL_TIMEOUT_S = 60.0
"""However hard the fault was, this long after it all goes on by itself."""

_POLL_S = 0.02
_AT_ONCE = 20
WAITING_MAX = 300
# Shares of the requests that come again: at once, and when they have long had their answer.
_TWICE_SHARE = 0.05
_REPLAY_SHARE = 0.03


class Load:
    """What was asked so far, and what is answered."""

    def __init__(self, producer: AIOKafkaProducer, prefix: str, chance: random.Random) -> None:
        self.asked: dict[str, Asked] = {}
        self.answered: set[str] = set()
        self.copies_published = 0
        self.waiting_max = WAITING_MAX
        self._producer = producer
        self._prefix = prefix
        self._chance = chance
        self._requests = requests(chance)
        self._published: list[Asked] = []
        self._stopped = False

    @property
    def waiting(self) -> int:
        """How many requests have no answer yet."""
        return len(self.asked) - len(self.answered)

    async def answers(self, more: int, timeout_s: float = HEAL_TIMEOUT_S) -> None:
        """Wait until so many more requests are answered."""
        await self.until_answered(len(self.answered) + more, timeout_s)

    async def until_answered(self, count: int, timeout_s: float = HEAL_TIMEOUT_S) -> None:
        """Wait until so many requests are answered in all."""
        deadline = time.monotonic() + timeout_s
        while len(self.answered) < count:
            assert time.monotonic() < deadline, f"{len(self.answered)} of {count} answers after {timeout_s} s more"
            await asyncio.sleep(_POLL_S)

    async def answered_so_far(self, timeout_s: float = HEAL_TIMEOUT_S) -> None:
        """Wait until all is answered that was published before now."""
        asked = set(self.asked)
        deadline = time.monotonic() + timeout_s
        while missing := asked - self.answered:
            assert time.monotonic() < deadline, f"{len(missing)} requests have no answer after {timeout_s} s"
            await asyncio.sleep(_POLL_S)

    async def finish(self, timeout_s: float = HEAL_TIMEOUT_S) -> None:
        """Publish no more, and wait until all is answered."""
        self._stopped = True
        deadline = time.monotonic() + timeout_s
        while self.waiting:
            assert time.monotonic() < deadline, (
                f"{self.waiting} requests have no answer, {self._some_waiting()} among them"
            )
            await asyncio.sleep(_POLL_S)

    def _some_waiting(self) -> list[Asked]:
        return [self.asked[request_id] for request_id in sorted(self.asked.keys() - self.answered)[:3]]

    async def publish(self) -> None:
        """Publish until told to finish."""
        while not self._stopped:
            if self.waiting >= self.waiting_max:
                await asyncio.sleep(_POLL_S)
                continue
            for _ in range(_AT_ONCE):
                one = next(self._requests)
                # Noted first: its answer may be quicker than the acknowledgement.
                self.asked[str(one.request.request_id)] = one
                self._published.append(one)
                await self._send(one)
                if self._chance.random() < _TWICE_SHARE:
                    await self._send_again(one)
                if self._chance.random() < _REPLAY_SHARE:
                    await self._send_again(self._chance.choice(self._published))
            await self._producer.flush()

    async def listen(self, answers: AsyncIterator[str]) -> None:
        """Note which requests are answered."""
        async for request_id in answers:
            self.answered.add(request_id)

    async def _send(self, one: Asked, partition: int | None = None) -> None:
        request = one.request
        await self._producer.send(
            self._prefix + request.topic, request.value, key=request.key, headers=request.headers, partition=partition
        )

    async def _send_again(self, one: Asked) -> None:
        """The same request on any partition, so that another worker may have it at the same time."""
        self.copies_published += 1
        partitions = await self._producer.partitions_for(self._prefix + one.request.topic)
        await self._send(one, self._chance.choice(sorted(partitions)))


@asynccontextmanager
async def running_load(bootstrap: str, prefix: str, chance: random.Random) -> AsyncIterator[Load]:
    """A load that goes on during a block, and whose failure is the block's."""
    async with (
        exchange(bootstrap, prefix, from_start=True) as replies,
        clients.started_producer(bootstrap) as producer,
        asyncio.TaskGroup() as group,
    ):
        load = Load(producer, prefix, chance)

        async def request_ids() -> AsyncIterator[str]:
            async for answer in replies.answers(HEAL_TIMEOUT_S * 2):
                yield answer.data["request_id"]

        tasks = [group.create_task(load.publish()), group.create_task(load.listen(request_ids()))]
        yield load
        for task in tasks:
            task.cancel()


async def read_all(bootstrap: str, names: Iterable[str]) -> list[ConsumerRecord]:
    """Every record that is in these topics, from the first one on."""
    ends = {partition: end for partition, end in (await end_offsets(bootstrap, list(names))).items() if end > 0}
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    records: list[ConsumerRecord] = []
    try:
        consumer.assign(list(ends))
        await consumer.seek_to_beginning()
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for found in (await consumer.getmany(timeout_ms=1_000, max_records=5_000)).values():
                records += [
                    record for record in found if record.offset < ends[TopicPartition(record.topic, record.partition)]
                ]
    finally:
        await consumer.stop()
    return records


def reply_topics(prefix: str) -> list[str]:
    """Where answers go."""
    return [prefix + topics.reply_to(name) for name in topics.REQUESTS]


def retry_topics(prefix: str) -> list[str]:
    """Where requests wait that could not be decided yet."""
    return [prefix + topics.retry_of(name) for name in topics.REQUESTS]


def dead_letter_topics(prefix: str) -> list[str]:
    """Where what could not be answered goes."""
    return [prefix + topics.dead_letters_of(name) for name in topics.REQUESTS]
