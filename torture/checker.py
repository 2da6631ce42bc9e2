"""Reads the topics and the database during the faults and reports violated promises.

It uses none of the product's code: tables and topics are described here a second time, so that a bug in the product
can't hide itself.
"""

import asyncio
import re
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from torture.ledger import REQUESTS, Ledger, Rule

_GROUPS: Final = ("codewell-issuer", "codewell-issuer-retry")
_KINDS: Final = ("", ".reply", ".retry", ".dlq")
_TOKENS: Final = {"string": "[A-Za-z]", "number": "[0-9]", "upstring": "[A-Z]"}
_POLL_S: Final = 0.1
_PAUSE_S: Final = 0.02
_LOOK_INTERVAL_S: Final = 0.5
_WAIT_MS: Final = 50
# Below what the workers wait for a broker that is frozen: the checker must not be the last to notice.
_REQUEST_TIMEOUT_MS: Final = 10_000
_RECORDS_MAX: Final = 5_000
# Timeout of one check: its target may be under fault.
_LOOK_S: Final = 10.0
# asyncpg raises the last one when a server dies in the middle of an exchange.
_AWAY: Final = (
    OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
)  # fmt: skip
_WHOLE_S: Final = 120.0
# Offset, length, leader epoch, magic; then CRC, attributes, last offset, two timestamps; then the producer id.
_BATCH: Final = struct.Struct(">qiib26xq")
_MAGIC: Final = 2
_RULES: Final = """
    SELECT name, shared, reuse, source->>'template' AS template, campaign_can_create AND scenario_can_create AS creates,
           fallback
    FROM program"""
_STORED: Final = """
    SELECT a.request_id, p.name, a.code, a.profile_id FROM answer a LEFT JOIN program p ON p.id = a.program_id"""

# Each query selects rows that violate a promise.
_OF_BLOCKS: Final = {
    ("I4", "a block's codes don't add up"): """
        SELECT id FROM block WHERE next + holes <> attached + deleted + returned + undone OR next + holes > size
            OR least(next, holes, attached, deleted, returned) < 0""",
    ("I4", "a program's codes don't add up"): """
        SELECT p.name, p.made, p.imported, sum(b.size - b.returned - b.undone) FROM program p
        LEFT JOIN block b ON b.program_id = p.id GROUP BY p.id
        HAVING p.made + p.imported <> coalesce(sum(b.size - b.returned - b.undone), 0)""",
    ("I5", "a program has more codes than its maximum"): """
        SELECT p.name, p.codes_max, sum(b.size - b.returned - b.undone) FROM program p
        JOIN block b ON b.program_id = p.id GROUP BY p.id
        HAVING sum(b.size - b.returned - b.undone) + p.on_order > p.codes_max""",
    ("I5", "a pool is above its mark"): """
        SELECT p.name, p.pool_max, sum(b.size - b.next - b.holes) FROM program p JOIN block b ON b.program_id = p.id
        WHERE b.open AND p.source->>'kind' = 'template' AND b.origin = 'pool' GROUP BY p.id
        HAVING sum(b.size - b.next - b.holes) > p.pool_max""",
    ("I9", "reserved codes are in the pool too"): """
        SELECT b.id FROM block b LEFT JOIN reservation r ON r.id = b.reservation_id
        WHERE b.open AND b.reservation_id IS NOT NULL OR b.reserved_open AND (b.open OR r.ended_at IS NOT NULL)""",
    ("I9", "a reservation has more or fewer codes than it was granted"): """
        SELECT r.id, r.granted, r.on_order, sum(b.reserved_size) FROM reservation r
        LEFT JOIN block b ON b.reservation_id = r.id WHERE r.ended_at IS NULL GROUP BY r.id
        HAVING r.granted <> r.on_order + coalesce(sum(b.reserved_size), 0)
            OR coalesce(sum(b.reserved_size - b.reserved_used), 0) > coalesce(sum(b.size - b.next - b.holes), 0)""",
    ("I1", "two blocks have the same numbers"): """
        SELECT id, before FROM (SELECT id, first, max(first + size) OVER (PARTITION BY program_id, version
            ORDER BY first, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
            FROM block WHERE kind = 'range') x WHERE before > first""",
    ("I4", "a remote service's codes are not all there"): """
        SELECT r.id, r.received, coalesce(sum(b.size), 0) FROM remote_request r
        LEFT JOIN block b ON b.remote_request_id = r.id GROUP BY r.id HAVING r.received <> coalesce(sum(b.size), 0)""",
}
# Codes of blocks that are reserved, since they are: who asked for them is in the requests only.
_RESERVED: Final = """
    SELECT a.request_id, r.source_id FROM block b JOIN reservation r ON r.id = b.reservation_id
    JOIN answer a ON a.block_id = b.id AND NOT a.again AND a.position >= b.reserved_first"""
_OF_ANSWERS: Final = {
    ("I1", "a place in a block is given twice"): """
        SELECT block_id, position FROM answer WHERE block_id IS NOT NULL AND NOT again
        GROUP BY block_id, position HAVING count(*) > 1""",
    ("I1", "a code of a program is two profiles'"): """
        SELECT a.program_id, md5(a.code) FROM answer a JOIN program p ON p.id = a.program_id
        WHERE NOT p.shared AND a.block_id IS NOT NULL GROUP BY a.program_id, a.code
        HAVING count(DISTINCT a.profile_id) > 1""",
    ("I2", "a request has two answers in the database"): """
        SELECT request_id FROM answer GROUP BY request_id HAVING count(*) <> count(DISTINCT ordinal)
            OR count(*) <> max(ordinal) + 1 OR count(DISTINCT refusals IS NULL) > 1
            OR count(DISTINCT profile_id) > 1""",
    ("I4", "a block counts other codes than it gave"): """
        SELECT b.id, b.attached, count(a.block_id) FROM block b
        LEFT JOIN answer a ON a.block_id = b.id AND NOT a.again GROUP BY b.id HAVING b.attached <> count(a.block_id)""",
    ("I6", "a code is given after its end"): """
        SELECT request_id FROM answer WHERE block_id IS NOT NULL AND answered_at >= expires_at""",
}


class Figures(NamedTuple):
    """What the checker has seen so far."""

    requests: int
    answers: int
    copies: int
    retries: int
    dead_letters: int


class Checker:
    """Watches one deployment. Asks for `postgres_url` before each connection, as a fail-over changes it."""

    def __init__(self, bootstrap: str, prefix: str, postgres_url: Callable[[], str], rules: dict[str, Rule]) -> None:
        self.ledger = Ledger(prefix, rules)
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._postgres_url = postgres_url
        self._requests, self._results = (
            AIOKafkaConsumer(
                bootstrap_servers=bootstrap,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                # Else what is asked of offsets waits behind a fetch that the broker holds for half a second.
                fetch_max_wait_ms=_WAIT_MS,
                request_timeout_ms=_REQUEST_TIMEOUT_MS,
            )
            for _ in range(2)
        )
        self._fetched: list[dict[TopicPartition, list[ConsumerRecord]]] = []
        self._reading = asyncio.Lock()

    @property
    def figures(self) -> Figures:
        """What the checker has seen so far."""
        ledger = self.ledger
        return Figures(
            len(ledger.asked),
            len(ledger.answered),
            ledger.answer_records - len(ledger.answered),
            ledger.retried,
            len(ledger.buried),
        )

    async def open(self) -> None:
        """Start to consume all topics from their first record."""
        for consumer, kinds in ((self._requests, _KINDS[:1]), (self._results, _KINDS[1:])):
            await consumer.start()
            names = [f"{self._prefix}{topic}{kind}" for topic in REQUESTS for kind in kinds]
            async with self._admin() as admin:
                found = await admin.describe_topics(names)
            consumer.assign(
                [TopicPartition(topic["topic"], one["partition"]) for topic in found for one in topic["partitions"]]
            )

    async def close(self) -> None:
        """Stop consuming."""
        await asyncio.gather(self._requests.stop(), self._results.stop())

    async def watch(self) -> None:
        """Consume until cancelled."""
        while True:
            try:
                async with self._reading:
                    await self._read()
            except (KafkaError, OSError, TimeoutError):
                await asyncio.sleep(_POLL_S)
            await asyncio.sleep(_PAUSE_S)

    async def watch_database(self) -> None:
        """Check the database at intervals until cancelled."""
        while True:
            await self.look_at_database(whole=False)
            await asyncio.sleep(_LOOK_INTERVAL_S)

    async def _read(self) -> None:
        """Read on. Requests are read after their outcomes and noted first, so that each answer has its request."""
        # Kept when a later step fails: the consumer does not return these records a second time.
        self._fetched.append(await self._results.getmany(timeout_ms=_WAIT_MS, max_records=_RECORDS_MAX))
        ends = await self._requests.end_offsets(list(self._requests.assignment()))
        while await self._is_behind(self._requests, ends):
            self._take(await self._requests.getmany(timeout_ms=_WAIT_MS, max_records=_RECORDS_MAX))
        for results in self._fetched:
            self._take(results)
        self._fetched.clear()

    def _take(self, fetched: dict[TopicPartition, list[ConsumerRecord]]) -> None:
        for records in fetched.values():
            for record in records:
                self.ledger.take(record)

    async def _is_behind(self, consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
        return any([await consumer.position(tp) < end for tp, end in ends.items()])

    async def look_at_offsets(self) -> bool:
        """Whether all committed offsets could be judged; False while the broker is unavailable."""
        try:
            async with asyncio.timeout(_LOOK_S), self._reading:
                committed = await self._committed()
                ends = await self._results.end_offsets(list(self._results.assignment()))
                await self._read()
                while await self._is_behind(self._results, ends):
                    await self._read()
        except (KafkaError, OSError, TimeoutError):
            return False
        for tp, offset in committed.items():
            self.ledger.committed(tp.topic, tp.partition, offset)
        return True

    async def _committed(self) -> dict[TopicPartition, int]:
        async with self._admin() as admin:
            found = [await admin.list_consumer_group_offsets(self._prefix + group) for group in _GROUPS]
        return {tp: one.offset for offsets in found for tp, one in offsets.items()}

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, request_timeout_ms=_REQUEST_TIMEOUT_MS)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()

    async def behind(self) -> dict[TopicPartition, int]:
        """Uncommitted records of each partition."""
        committed = await self._committed()
        requests = await self._requests.end_offsets(list(self._requests.assignment()))
        retries = [tp for tp in self._results.assignment() if tp.topic.endswith(".retry")]
        ends = requests | await self._results.end_offsets(retries)
        lags = {tp: end - max(0, committed.get(tp, 0)) for tp, end in ends.items()}
        past = {tp: lag for tp, lag in lags.items() if lag < 0}
        if past:
            self.ledger.violate("I7", "an offset past the end", repr(past))
        return {tp: lag for tp, lag in lags.items() if lag > 0}

    async def look_at_database(self, *, whole: bool) -> bool:
        """Whether the database could be checked, in one snapshot; `whole` reads every answer."""
        queries = _OF_BLOCKS | (_OF_ANSWERS if whole else {})
        try:
            connection = await asyncpg.connect(self._postgres_url(), timeout=_LOOK_S, command_timeout=_WHOLE_S)
        except _AWAY:
            return False
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                for (promise, check), query in queries.items():
                    if rows := await connection.fetch(query):
                        self.ledger.violate(promise, check, f"{len(rows)} times, as {tuple(rows[0])}")
                for request_id, campaign in await connection.fetch(_RESERVED):
                    self.ledger.reserved_code(str(request_id), campaign)
        except _AWAY:
            return False
        finally:
            connection.terminate()
        return True

    async def compare(self) -> None:
        """Final check: stored and published answers match, code by code."""
        connection = await asyncpg.connect(self._postgres_url())
        try:
            rows = await connection.fetch(_STORED)
        finally:
            await connection.close()
        self.ledger.compare((str(row["request_id"]), row["name"], row["code"], row["profile_id"]) for row in rows)


def look_at_producers(ledger: Ledger, data: Iterable[Path], prefix: str) -> None:
    """Read the brokers' own files: each answer batch has a producer id, with which the broker rejects duplicates.

    The head of a batch is that of Kafka's message format 2 (kafka.apache.org/documentation/#recordbatch).
    """
    batches = 0
    for log in (log for folder in data for log in folder.glob(f"{prefix}*.reply-*/*.log")):
        raw = log.read_bytes()
        at = 0
        while at + _BATCH.size <= len(raw):
            offset, length, _, magic, producer_id = _BATCH.unpack_from(raw, at)
            batches += 1
            if magic == _MAGIC and producer_id < 0:
                ledger.violate("I2", "answers of a producer that is not idempotent", f"{log.parent.name}: {offset}")
                return
            at += 12 + length
    if ledger.answered and not batches:
        ledger.violate("I2", "answers are not in the brokers' files", prefix)


async def rules(postgres_url: str) -> dict[str, Rule]:
    """What the programs of a database promise."""
    connection = await asyncpg.connect(postgres_url)
    try:
        rows = await connection.fetch(_RULES)
    finally:
        await connection.close()
    return {
        row["name"]: Rule(
            row["shared"],
            row["reuse"],
            _pattern(row["template"]),
            not row["creates"] or not row["template"],
            tuple(row["fallback"]),
        )
        for row in rows
    }


def _pattern(template: str | None) -> re.Pattern[str] | None:
    if template is None:
        return None
    parts = re.split(r"\{(\w+) (\d+)\}", template)
    literals, names, counts = parts[::3], parts[1::3], parts[2::3]
    tokens = [f"{_TOKENS[name]}{{{count}}}" for name, count in zip(names, counts, strict=True)]
    return re.compile(
        "".join(re.escape(literal) + token for literal, token in zip(literals, [*tokens, ""], strict=True))
    )
