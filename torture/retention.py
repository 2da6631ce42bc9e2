"""Old answers leave while workers are killed and requests come again: none gets a second code, and no answer is lost.

`python -m torture retention` runs it at any size. Ids of requests say a time that a replay may just have, so each is
too old some seconds later; codes that are given are made old by SQL. A generator looks for old answers when it starts.
"""

import asyncio
import csv
import gzip
import heapq
import json
import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from codewell.audit.promises import audit
from codewell.client.exchange import OutgoingRequest, build_request
from codewell.infra.id_times import first_of
from codewell.infra.kafka import clients
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from torture.campaign import SPRING
from torture.ledger import Violation
from torture.site import GENERATORS, ISSUERS, PREFIX, Site, running_site

_NAME: Final = "LEAVING"
# Many small blocks: a block's answers leave once all of them may.
_LEAVING: Final = SPRING.model_copy(update={"name": _NAME, "pool_max": 60})
_DAY: Final = timedelta(days=1)
_SETTINGS: Final = {"CODEWELL_RETENTION_DAYS": "1", "CODEWELL_REPLAY_DAYS": "1"}
_TOPIC: Final = f"{PREFIX}message-render"
_GROUPS: Final = {_TOPIC: f"{PREFIX}codewell-issuer", f"{_TOPIC}.retry": f"{PREFIX}codewell-issuer-retry"}
_ISSUER_POINTS: Final = ("claimed", "committed", "acknowledged")
_AT_ONCE: Final = 20
_WAITING_MAX: Final = 400
_PAUSE_S: Final = 0.1
_AGE_INTERVAL_S: Final = 1.0
_END_LIMIT_S: Final = 240.0
# How long after a request it is too old, and how long after it a copy of it comes, at most (s).
_LIVES_S: Final = (2.0, 15.0)
_COPY_AFTER_S: Final = 30.0
# As tests do, but of what is used up only, and so that nobody sees a part of it.
_AGE: Final = """
    WITH ended AS (
        UPDATE block SET created_at = created_at - interval '40 days', expires_at = expires_at - interval '40 days'
        WHERE NOT open AND next = size AND expires_at > now() RETURNING id
    )
    UPDATE answer a SET answered_at = answered_at - interval '40 days', expires_at = a.expires_at - interval '40 days'
    FROM ended WHERE a.block_id = ended.id
    """
_MADE_LONG_AGO: Final = (
    "UPDATE program SET created_at = created_at - interval '50 days'",
    "UPDATE program_history SET held_from = held_from - interval '50 days'",
)
_LEFT: Final = "SELECT coalesce(sum(archived), 0)::bigint FROM block"


@dataclass
class RetentionOutcome:
    """The result of a run."""

    requests: int = 0
    copies: int = 0
    left: int = 0
    """Answers with a code that left the database."""
    too_old: int = 0
    """Answers that say that a request is too old."""
    files: int = 0
    kills: int = 0
    took_s: float = 0.0
    violations: list[Violation] = field(default_factory=list)


async def run_retention(
    requests: int, seed: int, directory: Path, say: Callable[[str], object],
    variables: Mapping[str, str] | None = None, sql: Iterable[str] = (),
) -> RetentionOutcome:  # fmt: skip
    """Publish `requests` and copies of them while answers leave and workers are killed; then check all of them."""
    chance, outcome, began = random.Random(seed), RetentionOutcome(), time.monotonic()
    archive = directory / "archive"
    settings = {**_SETTINGS, "CODEWELL_ARCHIVE_DIR": str(archive), **(variables or {})}
    async with running_site(directory, chance, settings, sql) as site:
        running = _Running(site, archive, chance, outcome)
        await running.run(requests)
        outcome.kills = site.kills
    outcome.took_s = time.monotonic() - began
    say(f"{outcome.requests:,} requests, {outcome.left:,} answers left, {outcome.too_old:,} too old, "
        f"{outcome.kills} kills")  # fmt: skip
    return outcome


class _Running:
    """A run in progress."""

    def __init__(self, site: Site, archive: Path, chance: random.Random, outcome: RetentionOutcome) -> None:
        self._site = site
        self._archive = archive
        self._chance = chance
        self._outcome = outcome
        self._producer: AIOKafkaProducer = clients.producer(site.bootstrap)
        self._partitions: list[int] = []
        self._asked: dict[str, OutgoingRequest] = {}
        self._copies: list[tuple[float, int, OutgoingRequest]] = []
        """When each is due; in between, a number, as requests have no order."""
        self._answered: set[str] = set()
        self._refused: set[str] = set()
        self._codes: dict[str, str] = {}
        """Request id -> code."""
        self._holders: dict[str, str] = {}
        """Code -> request id."""

    async def run(self, requests: int) -> None:
        """Publish, let codes become old, and kill; then ask for all of them again, and check."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._site.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        connection = await self._connect()
        await self._producer.start()
        await consumer.start()
        try:
            await programs.create(connection, Minters(None), _LEAVING, guesses_per_s=10)
            for statement in _MADE_LONG_AGO:
                await connection.execute(statement)
            self._partitions = sorted(await self._producer.partitions_for(_TOPIC))
            replies = sorted(await self._producer.partitions_for(f"{_TOPIC}.reply"))
            consumer.assign([TopicPartition(f"{_TOPIC}.reply", number) for number in replies])
            await consumer.seek_to_beginning()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work) for work in (self._read(consumer), self._kill(), self._age())]
                await self._publish(requests)
                tasks[1].cancel()
                await self._settled(consumer)
                for request in self._asked.values():
                    await self._send(request, anywhere=True)
                await self._settled(consumer)
                for task in tasks:
                    task.cancel()
            await self._check(connection)
        finally:
            await consumer.stop()
            await self._producer.stop()
            await connection.close()

    async def _publish(self, requests: int) -> None:
        """Publish requests, and copies of them for as long as some of them may leave."""
        loop = asyncio.get_running_loop()
        while len(self._asked) < requests or self._copies:
            while self._copies and self._copies[0][0] <= loop.time():
                await self._send(heapq.heappop(self._copies)[-1], anywhere=True)
                self._outcome.copies += 1
            if len(self._asked) < requests and len(self._asked) - len(self._answered) < _WAITING_MAX:
                for _ in range(_AT_ONCE):
                    await self._ask(loop.time())
            await asyncio.sleep(_PAUSE_S)
        self._outcome.requests = len(self._asked)

    async def _ask(self, now: float) -> None:
        number = len(self._asked)
        data = {"profile_id": f"p-{number}", "campaign_id": "c", "programs": [_NAME]}
        moment = datetime.now(UTC) - _DAY + timedelta(seconds=self._chance.uniform(*_LIVES_S))
        first = first_of(moment).int
        request = build_request("message-render", data, UUID(int=first | self._chance.getrandbits(62)))
        self._asked[str(request.request_id)] = request
        await self._send(request, anywhere=False)
        for _ in range(self._chance.choice((0, 1, 2))):
            heapq.heappush(self._copies, (now + self._chance.uniform(0, _COPY_AFTER_S), self._number(), request))

    def _number(self) -> int:
        return self._chance.getrandbits(64)

    async def _send(self, request: OutgoingRequest, *, anywhere: bool) -> None:
        partition = self._chance.choice(self._partitions) if anywhere else None
        while True:
            with suppress(KafkaError, TimeoutError):
                await self._producer.send(
                    _TOPIC, request.value, key=request.key, headers=request.headers, partition=partition
                )
                return

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=100, max_records=2_000)).values():
                for record in records:
                    self._take(json.loads(record.value))

    def _take(self, data: dict[str, Any]) -> None:
        request_id = data["request_id"]
        self._answered.add(request_id)
        if data["outcome"] == "refused":
            reasons = {one["reason"] for one in data["refusals"]}
            if reasons != {"request_too_old"}:
                self._violate("I3", "refused without a cause", data)
            self._refused.add(request_id)
            self._outcome.too_old += 1
            return
        [code] = [one["code"] for one in data["codes"]]
        if self._codes.setdefault(request_id, code) != code:
            self._violate("I2", "a request has two codes", request_id)
        if self._holders.setdefault(code, request_id) != request_id:
            self._violate("I1", "a code in answers to two requests", f"{self._holders[code]}, {request_id}")

    async def _age(self) -> None:
        """Let codes that are given have expired long ago."""
        connection = await self._connect()
        try:
            while True:
                await connection.execute(_AGE)
                await asyncio.sleep(_AGE_INTERVAL_S)
        finally:
            await connection.close()

    async def _kill(self) -> None:
        """Kill generators, whose successors look for old answers at once and often die with some in a file; issuers."""
        while True:
            await asyncio.sleep(self._chance.uniform(3, 7))
            name = self._chance.choice((*GENERATORS, *GENERATORS, *ISSUERS))
            point = f"archived=kill@{self._chance.randrange(1, 4)}"
            if name in ISSUERS:
                point = f"{self._chance.choice(_ISSUER_POINTS)}=kill@{self._chance.randrange(1, 40)}"
            with suppress(KeyError, ProcessLookupError):
                await self._site.kill(name, self._chance, point if self._chance.random() < 0.5 else None)

    async def _settled(self, consumer: AIOKafkaConsumer) -> None:
        """Wait until all that was published is answered, and read."""
        await self._producer.flush()
        deadline, left = time.monotonic() + _END_LIMIT_S, -1
        async with clients.admin(self._site.bootstrap) as admin:
            while left and time.monotonic() < deadline:
                await asyncio.sleep(_PAUSE_S)
                with suppress(KafkaError):
                    left = 0
                    for topic, group in _GROUPS.items():
                        partitions = await self._producer.partitions_for(topic)
                        ends = await consumer.end_offsets([TopicPartition(topic, number) for number in partitions])
                        done = await admin.list_consumer_group_offsets(group)
                        left += sum(
                            end - (max(0, done[place].offset) if place in done else 0) for place, end in ends.items()
                        )
        if left:
            self._violate("I3", "requests that are not settled", left)
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            await asyncio.sleep(_PAUSE_S)

    async def _check(self, connection: Any) -> None:
        if unanswered := self._asked.keys() - self._answered:
            self._violate("I3", "requests without an answer", f"{len(unanswered)}, as {min(unanswered)}")
        stored = {str(row["request_id"]): row["code"] for row in await connection.fetch(
            "SELECT request_id, code FROM answer WHERE block_id IS NOT NULL")}  # fmt: skip
        archived = self._archived()
        for request_id, code in self._codes.items():
            if code not in {stored.get(request_id), archived.get(request_id)}:
                self._violate("I3", "an answer is neither stored nor in a file", request_id)
        # A request whose issuer died before it published is too old once its answer has left.
        if untold := (stored.keys() | archived.keys()) - self._codes.keys() - self._refused:
            self._violate("I3", "a code is given and not answered", f"{len(untold)}, as {min(untold)}")
        self._outcome.left = await connection.fetchval(_LEFT)
        for finding in await audit(connection):
            self._violate(finding.rule.promise, finding.rule.says, finding.rows[:1])

    def _archived(self) -> dict[str, str]:
        """Request id -> code, of all files."""
        found: dict[str, str] = {}
        for path in self._archive.glob("*/block-*.csv.gz"):
            self._outcome.files += 1
            with gzip.open(path, "rt") as lines:
                found |= {row["request_id"]: row["code"] for row in csv.DictReader(lines)}
        return found

    def _violate(self, promise: str, check: str, detail: object) -> None:
        self._outcome.violations.append(Violation(promise, check, str(detail)[:300]))

    async def _connect(self) -> Any:
        return await asyncpg.connect(self._site.postgres_url())
