"""Rate of a replay: a backlog is answered again after an offset reset, and the answers must be identical copies.

Only answering is measured, both times alike: a process starts on a full topic, and the answers' timestamps give the
rate, after the first twentieth of them as a warm-up.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks import contestants
from benchmarks.backlog import PARTITIONS, REPLY_TOPIC, TOPIC, Answers
from benchmarks.contenders import PRODUCT
from benchmarks.fresh import fresh_servers
from benchmarks.machine import facts
from benchmarks.race import CODES_A_REQUEST, WARM_UP_SHARE, Heat, answered, check_given, stock
from benchmarks.report import OF_CEILING, Goal, Progress, Report
from codewell.errors import CodewellError
from codewell.infra.kafka import clients
from services.standalone.servers import Servers

RATIO_GOAL: Final = 0.4
_READ_MS: Final = 5_000


class Given(NamedTuple):
    """The answers of one run."""

    digests: dict[bytes, bytes]
    """Digest by event id, over everything that a consumer reads of an event."""
    rate: float
    """Answers a second, after the warm-up."""


async def bench_replay(requests: int, repetitions: int, progress: Progress) -> Report:
    """Answer a backlog twice, `repetitions` times. Raises CodewellError when a second answer differs from the first."""
    report = Report("replay", facts())
    first, again = [], []
    async with fresh_servers(progress) as servers:
        for repetition in range(1, repetitions + 1):
            warm_up = max(1, requests // WARM_UP_SHARE)
            heat = Heat(PRODUCT, 1, requests, warm_up, requests * CODES_A_REQUEST, f"replay_{repetition}")
            first_rate, again_rate = await _twice(heat, servers)
            first.append(first_rate)
            again.append(again_rate)
            progress(f"{repetition} of {repetitions}: {first_rate:,.0f} requests/s, again {again_rate:,.0f}")
    report.add("first run", "requests/s", first)
    report.add("again", "requests/s", again)
    ratio = report.add("again / first run", OF_CEILING, [one / other for one, other in zip(again, first, strict=True)])
    report.add("answers compared", "in a run", [requests + max(1, requests // WARM_UP_SHARE)])
    report.goals.append(Goal("share of the first run", ratio.rate, RATIO_GOAL))
    return report


async def _twice(heat: Heat, servers: Servers) -> tuple[float, float]:
    bootstrap, prefix = servers.kafka.bootstrap, f"{heat.name}."
    await contestants.make_topics(servers, PRODUCT, prefix)
    warm_up = f"{heat.name}_warm_up"
    await stock(heat, servers, warm_up, heat.warm_up)
    await stock(heat, servers, heat.name, heat.codes)
    async with clients.started_producer(bootstrap) as producer:
        await heat.backlog(producer, warm_up, heat.warm_up).store()
        await heat.backlog(producer, heat.name, heat.requests).store()
    partitions = [TopicPartition(prefix + REPLY_TOPIC, number) for number in range(PARTITIONS)]
    starts = dict.fromkeys(partitions, 0)
    given = []
    for _ in range(2):
        before = sum(starts.values())
        await _answer(heat, servers, before + heat.warm_up + heat.requests)
        given.append(await _read(bootstrap, starts, heat))
        async with AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False) as consumer:
            starts = await consumer.end_offsets(partitions)
        await _rewind(bootstrap, prefix)
    check_copies(*given)
    await check_given(heat, servers)
    return given[0].rate, given[1].rate


async def _answer(heat: Heat, servers: Servers, until: int) -> None:
    """Run one issuer until there are `until` answers."""
    prefix = f"{heat.name}."
    async with (
        contestants.processes(servers, PRODUCT, prefix, heat.issuers) as children,
        AIOKafkaConsumer(bootstrap_servers=servers.kafka.bootstrap, enable_auto_commit=False) as consumer,
    ):
        await answered(Answers(consumer, prefix), until, children)


async def _read(bootstrap: str, starts: dict[TopicPartition, int], heat: Heat) -> Given:
    """Read the answers from these offsets on. Raises CodewellError unless each request has exactly one."""
    count = heat.warm_up + heat.requests
    digests: dict[bytes, bytes] = {}
    times_ms: list[int] = []
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False) as consumer:
        consumer.assign(list(starts))
        for partition, offset in starts.items():
            consumer.seek(partition, offset)
        while len(times_ms) < count and (fetched := await consumer.getmany(timeout_ms=_READ_MS)):
            for record in (record for records in fetched.values() for record in records):
                seen = repr((record.partition, record.key, record.value, record.headers)).encode()
                digests[dict(record.headers)["ce_id"]] = sha256(seen).digest()
                times_ms.append(record.timestamp)
    check_once(heat.name, digests, len(times_ms), count)
    times_ms.sort()
    return Given(digests, 1_000 * heat.requests / max(1, times_ms[-1] - times_ms[heat.warm_up - 1]))


def check_once(name: str, digests: Mapping[bytes, bytes], events: int, count: int) -> None:
    """Raise CodewellError unless there are as many events as requests, each with a unique id."""
    if events != count or len(digests) != count:
        raise CodewellError(f"{name} has {len(digests):,} answers in {events:,} events, not {count:,}.")


async def _rewind(bootstrap: str, prefix: str) -> None:
    """Reset the offsets of the group, which has no members now."""
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=prefix + PRODUCT.group, enable_auto_commit=False
    ) as consumer:
        partitions = [TopicPartition(prefix + TOPIC, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.commit(dict.fromkeys(partitions, 0))


def check_copies(first: Given, again: Given) -> None:
    """Raise CodewellError unless both hold the same answers: the same event ids, keys, headers and bytes."""
    differ = [event_id for event_id, digest in first.digests.items() if again.digests.get(event_id) != digest]
    if differ or len(first.digests) != len(again.digests):
        raise CodewellError(
            f"{len(differ):,} of {len(first.digests):,} answers came back otherwise, such as {differ[:1]}."
        )
