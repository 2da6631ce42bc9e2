"""A consumer with fetch sessions reads every record once and in order, whatever becomes of the session."""

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.conn import CloseReason

from codewell.infra.kafka import clients
from codewell.infra.kafka.fetch_sessions import FetchSession
from tests.support.running import LIMIT_S, until

NAMES = ("message-render", "scenario-step", "message-render.reply")


class Fetch(NamedTuple):
    epoch: int
    wanted: set[TopicPartition]
    named: set[TopicPartition]
    ended: set[TopicPartition]


class Log:
    """What a member of a group has read, and what its fetches named."""

    def __init__(self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, tps: list[TopicPartition]) -> None:
        self.consumer, self.producer, self.tps = consumer, producer, tps
        self.fetches: list[Fetch] = []
        self.errors: set[int] = set()
        self.read: defaultdict[TopicPartition, list[bytes]] = defaultdict(list)
        self.sent: defaultdict[TopicPartition, list[bytes]] = defaultdict(list)

    async def send(self, *tps: TopicPartition) -> None:
        for tp in tps:
            value = b"%d" % len(self.sent[tp])
            self.sent[tp].append(value)
            await self.producer.send_and_wait(tp.topic, value, partition=tp.partition)

    async def all_read(self) -> None:
        async def done() -> bool:
            for tp, records in (await self.consumer.getmany(timeout_ms=20)).items():
                self.read[tp] += [record.value for record in records]
            return self.read == self.sent

        await until(done, "the same records")

    async def hold(self) -> None:
        """Let no fetch be sent, and wait for the end of the last one."""

        async def is_held() -> bool:
            return not self.consumer._fetcher._in_flight

        # So long, aiokafka waits for nothing but its own events.
        self.consumer._fetcher._fetcher_timeout = 2 * LIMIT_S
        self.consumer._fetcher.hold()
        await until(is_held, "end of the last fetch")

    @property
    def session(self) -> FetchSession:
        [session] = self.consumer._fetcher._sessions.values()
        return session  # type: ignore[no-any-return]


@pytest.fixture
async def log(kafka_bootstrap: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Log]:
    tps = [TopicPartition(prefix + name, partition) for name in NAMES for partition in (0, 1)]
    begin, end = FetchSession.begin, FetchSession.end
    consumer = clients.consumer(kafka_bootstrap, f"{prefix}sessions")
    consumer._fetch_max_wait_ms = 20
    consumer.subscribe([prefix + name for name in NAMES])
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        log = Log(consumer, producer, tps)

        def noted(session: FetchSession, positions: Any) -> Any:
            named, gone = begin(session, positions)
            log.fetches.append(Fetch(session.epoch, set(positions), set(named), set(gone)))
            return named, gone

        def ended(session: FetchSession, response: Any) -> None:
            log.errors.add(response.error_code)
            end(session, response)

        monkeypatch.setattr(FetchSession, "begin", noted)
        monkeypatch.setattr(FetchSession, "end", ended)
        await consumer.start()
        try:
            await log.send(*tps)
            await log.all_read()
            yield log
        finally:
            await consumer.stop()


async def test_a_fetch_names_what_has_moved(log: Log) -> None:
    quiet, busy = log.tps[0], log.tps[-1]
    before, polled = len(log.fetches), log.consumer.last_poll_timestamp(quiet)
    for _ in range(3):
        await log.send(busy)
        await log.all_read()
    # The first one has the positions of the last records of the others.
    fetches = log.fetches[before + 1 :]
    assert [fetch.epoch for fetch in fetches] == list(range(fetches[0].epoch, fetches[0].epoch + len(fetches)))
    assert fetches[0].epoch > 1
    assert set().union(*(fetch.named for fetch in fetches)) == {busy}

    # A partition that no response names was polled all the same.
    async def again() -> bool:
        await log.all_read()
        return log.consumer.last_poll_timestamp(quiet) > polled  # type: ignore[no-any-return]

    await until(again, "later poll")
    assert log.consumer.highwater(quiet) == 1


@pytest.mark.parametrize(("id_more", "epoch_more", "error"), [(1, 0, 70), (0, 7, 71)])
async def test_a_session_that_the_broker_refuses_is_begun_anew(
    log: Log, id_more: int, epoch_more: int, error: int
) -> None:
    await log.hold()
    before = len(log.fetches)
    log.session.id += id_more
    log.session._next += epoch_more
    await log.send(*log.tps)
    log.consumer._fetcher.release()
    await log.all_read()
    assert error in log.errors
    assert log.fetches[before + 1] == Fetch(0, set(log.tps), set(log.tps), set())


async def test_a_session_whose_connection_is_lost_is_begun_anew(log: Log) -> None:
    async def is_out() -> bool:
        await log.all_read()
        return log.session.is_new

    await until(is_out, "fetch")
    before = len(log.fetches)
    for connection in list(log.consumer._client._conns.values()):
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
    await log.send(*log.tps)
    await log.all_read()
    assert log.fetches[before] == Fetch(0, set(log.tps), set(log.tps), set())


async def test_a_paused_partition_leaves_the_session_and_comes_back(log: Log) -> None:
    paused, other = log.tps[:2]
    log.consumer.pause(paused)
    await log.send(paused, other)
    missing = log.sent.pop(paused), log.read.pop(paused)
    await log.all_read()
    assert {paused} in [fetch.ended for fetch in log.fetches]
    assert paused not in log.fetches[-1].wanted
    log.sent[paused], log.read[paused] = missing
    log.consumer.resume(paused)
    await log.all_read()


async def test_a_position_that_is_set_back_is_read_again(log: Log) -> None:
    tp = log.tps[0]
    await log.send(tp)
    await log.all_read()
    log.consumer.seek(tp, 0)
    log.read[tp].clear()
    await log.all_read()


async def test_after_release_a_held_consumer_reads_on(log: Log) -> None:
    await log.hold()
    before = len(log.fetches)
    await log.send(*log.tps)
    assert await log.consumer.getmany(timeout_ms=300) == {}
    assert len(log.fetches) == before
    log.consumer._fetcher.release()
    await log.all_read()


async def test_a_reader_takes_no_session_of_the_broker(log: Log, kafka_bootstrap: str) -> None:
    await log.consumer.stop()
    before = len(log.fetches)
    reader = clients.reader(kafka_bootstrap, from_start=True)
    await reader.start()
    try:
        reader.assign(log.tps)
        await reader.seek_to_beginning()
        log.consumer = reader
        log.read.clear()
        await log.all_read()
    finally:
        await reader.stop()
    assert len(log.fetches) == before
