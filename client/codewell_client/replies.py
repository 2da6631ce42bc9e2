"""Reads the reply topics of one sender and hands each answer to the requests that wait for it."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from codewell_client import answers
from codewell_client.answers import Answer
from codewell_client.closing import close
from codewell_client.errors import InvalidAnswer, KafkaUnavailable

log = logging.getLogger("codewell_client")

CORRELATION_ID: Final = "kafka_correlationId"
POLL_S: Final = 1.0
RETRY_PAUSE_S: Final = 1.0
SINGLE_POLL_MS: Final = 200
# How soon partitions that an operator adds to a reply topic are read.
METADATA_AGE_MAX_MS: Final = 30_000


class Replies:
    """A consumer without a group: every sender reads its reply topics itself, from the moment it was opened.

    Answers to other senders are skipped by their correlation id, without a look at their values.
    """

    def __init__(self, topics: Iterable[str], partition: int | None, kafka: Mapping[str, Any]) -> None:
        self._topics = tuple(topics)
        self._partition = partition
        # From the start where nothing else is said: an answer is read twice rather than missed.
        self._consumer = AIOKafkaConsumer(
            **kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            metadata_max_age_ms=METADATA_AGE_MAX_MS,
        )
        self._waiting: dict[bytes, list[asyncio.Future[Answer]]] = {}
        self._reading: asyncio.Task[None] | None = None
        # Where to read on in each partition.
        self._next: dict[TopicPartition, int] = {}
        self.failure: str | None = None
        """Why reading fails at the moment; None while it works."""

    async def start(self, producer: AIOKafkaProducer) -> None:
        """Begin to read at the end of the topics. Raises KafkaError, and KafkaUnavailable for a missing topic."""
        await self._consumer.start()
        there = await self._consumer.topics()
        partitions = []
        for topic in self._topics:
            # Asking for the partitions of a topic that is not there would wait for it.
            numbers = await producer.partitions_for(topic) if topic in there else ()
            found = [TopicPartition(topic, number) for number in numbers if self._partition in {None, number}]
            if not found:
                where = "" if self._partition is None else f" with partition {self._partition}"
                raise KafkaUnavailable(f"Kafka has no reply topic {topic}{where}, or this client may not read it.")
            partitions += found
        self._consumer.assign(partitions)
        for partition, end in (await self._consumer.end_offsets(partitions)).items():
            self._consumer.seek(partition, end)
            self._next[partition] = end
        self._reading = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """Stop reading; requests that still wait are cancelled."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await close(self._consumer)
        for future in [one for waiting in self._waiting.values() for one in waiting]:
            future.cancel()

    def expect(self, correlation_id: bytes) -> asyncio.Future[Answer]:
        """The coming answer; call `forget` in the end."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(correlation_id, []).append(future)
        return future

    def forget(self, correlation_id: bytes, future: asyncio.Future[Answer]) -> None:
        """Wait for this answer no longer."""
        waiting = self._waiting[correlation_id]
        waiting.remove(future)
        if not waiting:
            del self._waiting[correlation_id]

    async def _read(self) -> None:
        looked = time.monotonic()
        is_unreadable = False
        while True:
            try:
                if is_unreadable:
                    await self._step_over_unreadable()
                    is_unreadable = False
                self._hand_out_all(await self._consumer.getmany(timeout_ms=int(POLL_S * 1000)))
                if time.monotonic() - looked > POLL_S:
                    await self._add_partitions()
                    looked = time.monotonic()
                self.failure = None
            except UnicodeDecodeError:
                is_unreadable = True
            except Exception as error:  # noqa: BLE001  an end of this task would lose all answers to come
                self.failure = f"reading the replies failed: {error!r}"
                log.warning("Cannot read replies, trying again: %r", error)
                await asyncio.sleep(RETRY_PAUSE_S)

    def _hand_out_all(self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        for partition, records in fetched.items():
            for record in records:
                self._hand_out(record)
            self._next[partition] = records[-1].offset + 1

    async def _step_over_unreadable(self) -> None:
        """Read again what that fetch has lost, one by one, and step over records whose header names are not UTF-8.

        aiokafka raises on them without the partition and the offset.
        """
        for partition in self._consumer.assignment():
            if partition in self._next:
                self._consumer.seek(partition, self._next[partition])
        for partition in self._consumer.assignment():
            while True:
                try:
                    fetched = await self._consumer.getmany(partition, timeout_ms=SINGLE_POLL_MS, max_records=1)
                except UnicodeDecodeError:
                    position = await self._consumer.position(partition)
                    log.warning("Skipped a record with a header name that is not UTF-8: %s, %d", partition, position)
                    self._consumer.seek(partition, position + 1)
                    self._next[partition] = position + 1
                    continue
                if not fetched:
                    break
                self._hand_out_all(fetched)

    def _hand_out(self, record: ConsumerRecord) -> None:
        headers = dict(record.headers)
        waiting = self._waiting.get(headers.get(CORRELATION_ID) or b"")
        if waiting is None:
            return
        try:
            attributes = {name: (headers[name] or b"").decode() for name in ("ce_type", "ce_id")}
            time = headers.get("ce_time")
            answer = answers.parse(
                attributes["ce_type"], attributes["ce_id"], None if time is None else time.decode(), record.value
            )
        except answers.UNREADABLE as error:
            place = f"{record.topic}, partition {record.partition}, offset {record.offset}"
            for future in waiting:
                if not future.done():
                    future.set_exception(InvalidAnswer(f"Cannot read the answer at {place}: {error!r}"))
            return
        for future in waiting:
            if not future.done():
                future.set_result(answer)

    async def _add_partitions(self) -> None:
        """Read partitions that were added to a topic, from their start."""
        assigned = self._consumer.assignment()
        known = {
            TopicPartition(topic, number)
            for topic in self._topics
            for number in self._consumer.partitions_for_topic(topic) or ()
            if self._partition in {None, number}
        }
        added = known - assigned
        if not added:
            return
        positions = {partition: await self._consumer.position(partition) for partition in assigned}
        self._consumer.assign([*assigned, *added])
        self._next |= dict.fromkeys(added, 0)
        for partition, position in positions.items():
            self._consumer.seek(partition, position)
