"""The environment of a worker test: its database, its topics, the workers it starts, and the records they publish."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.producer.message_accumulator import BatchBuilder

from codewell.client.exchange import OutgoingRequest
from codewell.infra.kafka.reading import TopicReader
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.programs import overview, programs
from schemas import topics
from schemas.program import Program, ProgramSettings, Stock
from services.generator.main import run_generator
from services.generator.settings import GeneratorSettings
from services.issuer.main import run_issuer
from services.issuer.settings import IssuerSettings
from tests.support.running import LIMIT_S, running, until
from tests.support.servers import as_role

# A consumer of the tests must be able to read the poison records that tests publish for the issuer.
_WATCHED = tuple(topic.name for topic in topics.TOPICS if topic.name not in topics.REQUESTS)
_BATCH_BYTES_MAX = 4 * 1024 * 1024
# For so long the broker holds a fetch without records, and what else is asked on the connection.
_WAIT_MS = 50


class Site:
    """One database and one set of topics, with a producer and a consumer."""

    def __init__(
        self,
        postgres_url: str,
        bootstrap: str,
        prefix: str,
        database: asyncpg.Connection,
        producer: AIOKafkaProducer,
        consumer: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
    ) -> None:
        self.postgres_url = postgres_url
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.database = database
        self.producer = producer
        self.admin = admin
        self._consumer = consumer
        self._seen: defaultdict[str, list[ConsumerRecord]] = defaultdict(list)

    def settings(self, role: str) -> dict[str, Any]:
        """The settings that all workers here share. Each has the database rights of its role."""
        return {
            "postgres_url": as_role(self.postgres_url, role),
            "kafka_bootstrap": self.bootstrap,
            "topic_prefix": self.prefix,
            "health_port": -1,
        }

    def environment(self, role: str) -> dict[str, str]:
        """The same as variables of a process."""
        return {f"CODEWELL_{name.upper()}": str(value) for name, value in self.settings(role).items()}

    def issuer(self, **given: object) -> AbstractAsyncContextManager[asyncio.Event]:
        """An issuer that runs during the block, or until the yielded event is set."""
        fast = {"retry_delay_s": 0.1, "demand_interval_s": 0.05}
        return running(run_issuer, IssuerSettings(**self.settings("issuer") | fast | given))

    def generator(self, **given: object) -> AbstractAsyncContextManager[asyncio.Event]:
        """A generator that runs during the block. By default it sweeps at its start only."""
        settings = self.settings("generator") | {"sweep_interval_s": 3_600} | given
        return running(run_generator, GeneratorSettings(**settings))

    async def program(self, name: str, codes: int = 0, **given: object) -> Program:
        """A program with `codes` codes in its pool; no codes are added unless its switches allow it."""
        settings = {
            "name": name,
            "source": {"kind": "template", "template": name + "-{string 12}"},
            "codes_max": 1_000_000,
            "pool_max": 1_000,
            **given,
        }
        minters = Minters(None)
        made = await programs.create(self.database, minters, ProgramSettings.model_validate(settings), 10)
        if codes:
            await fill.generate(self.database, minters, made.id, codes, None)
        return made

    async def stock(self, name: str) -> Stock:
        return await overview.stock(self.database, name)

    async def publish(self, requests: Iterable[OutgoingRequest], partition: int | None = None) -> None:
        """Publish in order and wait until all are stored; with a partition as one batch, which is also read as one."""
        if partition is not None:
            await self._publish_together(list(requests), partition)
            return
        sent = [
            await self.producer.send(self.prefix + one.topic, one.value, key=one.key, headers=one.headers)
            for one in requests
        ]
        await asyncio.gather(*sent)

    async def _publish_together(self, requests: Sequence[OutgoingRequest], partition: int) -> None:
        batch = self._batch(requests)
        await (await self.producer.send_batch(batch, self.prefix + requests[0].topic, partition=partition))

    def bytes_of(self, request: OutgoingRequest) -> int:
        """The size of a batch that holds only this request (bytes); a topic limits this size."""
        size: int = self._batch([request]).size()
        return size

    def _batch(self, requests: Sequence[OutgoingRequest]) -> BatchBuilder:
        batch = self.producer.create_batch()
        for one in requests:
            assert one.topic == requests[0].topic
            assert batch.append(timestamp=None, key=one.key, value=one.value, headers=one.headers) is not None
        batch.close()
        return batch

    async def put(
        self,
        topic: str,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        key: bytes | None = b"p",
        partition: int = 0,
    ) -> ConsumerRecord:
        """Publish any record, also one without key and value, and wait until it is stored."""
        batch = self.producer.create_batch()
        batch.append(timestamp=None, key=key, value=value, headers=list(headers))
        batch.close()
        sent = await self.producer.send_batch(batch, self.prefix + topic, partition=partition)
        return await sent

    async def came(self, topic: str, count: int, timeout_s: float = LIMIT_S) -> list[ConsumerRecord]:
        """All records of a topic once there are `count`; those of each partition in order."""
        seen = self._seen[topic]

        async def enough() -> bool:
            if len(seen) < count:
                await self._fetch(100)
            return len(seen) >= count

        await until(enough, f"{count} records in {topic}", timeout_s)
        return seen

    async def all_of(self, topic: str) -> list[ConsumerRecord]:
        """All records currently in a topic."""
        partitions = [tp for tp in self._consumer.assignment() if tp.topic == self.prefix + topic]
        ends = await self._consumer.end_offsets(partitions)
        for tp, end in ends.items():
            while await self._consumer.position(tp) < end:
                await self._fetch(1_000)
        return self._seen[topic]

    @asynccontextmanager
    async def own_topic(self, name: str, partitions: int) -> AsyncIterator[None]:
        """Create a topic of the test's own, consumed like the others."""
        await self.admin.create_topics([NewTopic(name, partitions, 1)])
        try:
            async with self.watched(name):
                yield
        finally:
            await self.admin.delete_topics([name])

    @asynccontextmanager
    async def watched(self, name: str) -> AsyncIterator[None]:
        """Consume a topic like the others, from its beginning."""
        # The topic exists once the broker reports its partitions.
        there = [TopicPartition(name, n) for n in await self.producer.partitions_for(name)]
        await self._watch([*self._consumer.assignment(), *there])
        try:
            yield
        finally:
            await self._watch([tp for tp in self._consumer.assignment() if tp.topic != name])
            self._seen.pop(name.removeprefix(self.prefix), None)

    async def _watch(self, partitions: Sequence[TopicPartition]) -> None:
        positions = {tp: await self._consumer.position(tp) for tp in self._consumer.assignment()}
        self._consumer.assign(partitions)
        for tp in positions.keys() & set(partitions):
            self._consumer.seek(tp, positions[tp])

    async def _fetch(self, timeout_ms: int) -> None:
        for tp, records in (await self._consumer.getmany(timeout_ms=timeout_ms)).items():
            self._seen[tp.topic.removeprefix(self.prefix)] += records

    async def uncommitted(self, topic: str = "message-render", group: str = "codewell-issuer") -> int:
        """The group's lag on a topic."""
        name = self.prefix + topic
        partitions = [TopicPartition(name, number) for number in await self.producer.partitions_for(name)]
        try:
            committed = await self.admin.list_consumer_group_offsets(self.prefix + group, partitions=partitions)
        except GroupCoordinatorNotAvailableError:
            # The broker creates its offsets topic when the first group needs it.
            return -1
        ends = await TopicReader(self._consumer).end_offsets(partitions)
        return sum(end - max(0, committed[tp].offset if tp in committed else 0) for tp, end in ends.items())

    async def record_bytes_max(self, topic: str) -> int:
        """Set the largest batch that a topic accepts (bytes), of one record or many."""
        resource = ConfigResource(ConfigResourceType.TOPIC, self.prefix + topic)
        [answer] = await self.admin.describe_configs([resource])
        [(_, _, _, _, entries)] = answer.resources
        return int(next(entry[1] for entry in entries if entry[0] == "max.message.bytes"))

    async def terminate_connections(self, application_name: str) -> int:
        """Terminate a worker's connections to Postgres, and return their number."""
        number: int = await self.database.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE application_name = $1 AND datname = current_database()",
            application_name,
        )
        return number

    async def waits_for_lock(self, application_name: str = "codewell-issuer") -> bool:
        """Whether a statement of such a worker waits for a lock."""
        waits: bool = await self.database.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1 "
            "AND datname = current_database() AND wait_event_type = 'Lock')",
            application_name,
        )
        return waits


@asynccontextmanager
async def open_site(postgres_url: str, bootstrap: str, prefix: str) -> AsyncIterator[Site]:
    database = await asyncpg.connect(postgres_url, server_settings={"timezone": "UTC"})
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, max_request_size=_BATCH_BYTES_MAX, max_batch_size=_BATCH_BYTES_MAX
    )
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=_WAIT_MS
    )
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        for client in (producer, consumer, admin):
            await client.start()
        names = [prefix + name for name in _WATCHED]
        numbers = await asyncio.gather(*map(producer.partitions_for, names))
        consumer.assign([TopicPartition(name, n) for name, some in zip(names, numbers, strict=True) for n in some])
        yield Site(postgres_url, bootstrap, prefix, database, producer, consumer, admin)
    finally:
        await producer.stop()
        await consumer.stop()
        await admin.close()
        await database.close()
