"""Receipts under kills: a share of the sends fails, and each of their codes is returned, voided or kept, exactly once.

`python -m torture receipts` runs it at any size. The sums and the order of holders are checked by SQL of its own.
"""

import asyncio
import hashlib
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from codewell.audit.promises import audit
from codewell.client.exchange import build_request
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodewellError
from codewell.infra.kafka.clients import producer
from codewell.minting.template import CODE_CHARACTERS_MAX
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from codewell.redemption.till import activate
from torture import stream
from torture.campaign import SPRING
from torture.ledger import Violation
from torture.site import GENERATORS, ISSUERS, LIFECYCLES, PREFIX, Site, running_site

POLICIES: Final = ("reuse", "void", "keep")
# A program whose profiles get their code again. Senders repeat a message that failed while they report the failure.
AGAIN: Final = "SENT_AGAIN"
NAMES: Final = (*(f"SENT_{policy.upper()}" for policy in POLICIES), AGAIN)
_POINTS: Final = ("claimed", "committed", "produced", "acknowledged")
_AT_ONCE: Final = 200
_WAITING_MAX: Final = 2_000
_POLL_S: Final = 0.1
_END_LIMIT_S: Final = 240.0
_USED_SHARE: Final = 0.2
# What a sender reports about one message, in its order, with its weight.
_STORIES: Final[dict[tuple[str, ...], int]] = {
    ("before_handoff",): 40,
    ("permanent",): 30,
    ("not_permanent", "permanent"): 10,
    ("not_permanent",): 5,
    ("permanent", "delivered"): 10,
    ("before_handoff", "permanent"): 5,
}
# How each failed code stands: the last word about it, or how its quarantine ended.
_STANDS: Final = """
    SELECT stands, count(*) AS codes FROM (
        SELECT DISTINCT ON (request_id, ordinal) coalesce(ended, outcome) AS stands
        FROM send_receipt WHERE kind IN ('before_handoff', 'not_permanent', 'permanent') AND program_id IS NOT NULL
        ORDER BY request_id, ordinal, number DESC
    ) x GROUP BY stands
    """
_CHECKS: Final = {
    ("I4", "other codes moved than receipts returned"): """
        SELECT s.returned, r.returned FROM
            (SELECT count(*) AS returned FROM code_state WHERE returned_at IS NOT NULL) s,
            (SELECT count(*) AS returned FROM send_receipt
             WHERE 'returned' IN (outcome, ended) AND reason <> 'before') r WHERE s.returned <> r.returned""",
    ("I4", "other codes are deleted than receipts voided"): """
        SELECT s.gone, r.gone FROM
            (SELECT count(*) AS gone FROM code_state WHERE deleted_at IS NOT NULL AND NOT hole) s,
            (SELECT count(*) AS gone FROM send_receipt WHERE ended = 'voided' AND reason <> 'before') r
        WHERE s.gone <> r.gone""",
    ("I1", "a used code came back"): """
        SELECT block_id, position FROM code_state WHERE activated_at IS NOT NULL
        AND (returned_at IS NOT NULL OR deleted_at IS NOT NULL)""",
    ("I4", "a quarantine did not end"): """
        SELECT request_id FROM send_receipt WHERE outcome = 'quarantined' AND ended IS NULL""",
    ("I4", "a block's codes don't add up"): """
        SELECT id FROM block WHERE next + holes <> attached + deleted + returned + undone OR next + holes > size
            OR least(next, holes, attached, deleted, returned) < 0""",
    ("I4", "a program's codes don't add up"): """
        SELECT p.name FROM program p LEFT JOIN block b ON b.program_id = p.id GROUP BY p.id
        HAVING p.made + p.imported <> coalesce(sum(b.size - b.returned - b.undone), 0)""",
}


@dataclass
class ReceiptsOutcome:
    """The result of a run."""

    sends: int = 0
    failed: int = 0
    stands: dict[str, int] = field(default_factory=dict)
    """The codes of failed sends by how they stand at the end."""
    given_again: int = 0
    copies: int = 0
    used: int = 0
    kills: int = 0
    took_s: float = 0.0
    violations: list[Violation] = field(default_factory=list)


class _Book:
    """What was sent, answered and reported."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self.codes: dict[str, tuple[str, str, str]] = {}
        """Request id -> program, code, profile."""
        self.holders: dict[tuple[str, str], list[str]] = defaultdict(list)
        """By program and code: the requests that got it."""
        self.reported: dict[tuple[str, str], str | None] = {}
        """(request id, receipt) -> digest of the answer."""
        self.waiting: dict[str, list[str]] = {}
        """Receipts to publish once the one before is answered."""
        self.failed: set[str] = set()
        self.repeats: set[str] = set()
        """Messages that were sent again for a profile, and arrive: their codes stay."""
        self.violations: list[Violation] = []

    def violate(self, promise: str, check: str, detail: object) -> None:
        self.violations.append(Violation(promise, check, str(detail)[:300]))


async def run_receipts(
    sends: int, share: float, seed: int, directory: Path, say: Callable[[str], object],
    variables: Mapping[str, str] | None = None, sql: Iterable[str] = (),
) -> ReceiptsOutcome:  # fmt: skip
    """Send `sends` messages, of which `share` fail, while workers are killed; then check the sums."""
    chance, outcome, began = random.Random(seed), ReceiptsOutcome(), time.monotonic()
    async with running_site(directory, chance, variables or {}, sql) as site:
        await _make_programs(site, sends)
        running = _Running(site, sends, share, chance, outcome, say)
        await running.run()
        outcome.kills = site.kills
    outcome.took_s = time.monotonic() - began
    return outcome


async def _make_programs(site: Site, sends: int) -> None:
    connection = await asyncpg.connect(site.postgres_url())
    try:
        for name, policy in zip(NAMES, (*POLICIES, "reuse"), strict=True):
            settings = SPRING.model_copy(update={
                "name": name, "returns": policy, "codes_max": 4 * sends + 10_000, "ttl": None,
                "reuse": "profile" if name == AGAIN else "request",
            })  # fmt: skip
            made = await programs.create(connection, Minters(None), settings, guesses_per_s=10)
            # Shorter than any wait that people may set.
            await connection.execute("UPDATE program SET return_after = '1 s' WHERE id = $1", made.id)
    finally:
        await connection.close()


class _Running:
    """A run in progress."""

    def __init__(
        self, site: Site, sends: int, share: float, chance: random.Random, outcome: ReceiptsOutcome,
        say: Callable[[str], object],
    ) -> None:  # fmt: skip
        self._site = site
        self._sends = sends
        self._share = share
        self._chance = chance
        self._outcome = outcome
        self._say = say
        self._book = _Book()
        self._producer: AIOKafkaProducer = producer(site.bootstrap)
        self._partitions: dict[str, list[int]] = {}
        self._to_use: list[tuple[str, str]] = []

    async def run(self) -> None:
        """Publish, report and kill; then wait for the end and check."""
        book = self._book
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._site.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await self._producer.start()
        await consumer.start()
        try:
            places = []
            for name in ("message-render.reply", "delivery.reply", "delivery.dlq"):
                numbers = await self._producer.partitions_for(PREFIX + name)
                places += [TopicPartition(PREFIX + name, number) for number in numbers]
            consumer.assign(places)
            await consumer.seek_to_beginning()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work) for work in (self._read(consumer), self._kill(), self._use())]
                await self._publish()
                deadline = time.monotonic() + _END_LIMIT_S
                while (left := self._left()) and time.monotonic() < deadline and not book.violations:
                    await asyncio.sleep(_POLL_S)
                if left:
                    book.violate("I3", "requests or receipts without an answer", left)
                for task in tasks:
                    task.cancel()
            await self._check()
        finally:
            await consumer.stop()
            await self._producer.stop()

    def _left(self) -> int:
        book = self._book
        unanswered = sum(digest is None for digest in book.reported.values())
        return len(book.asked) - len(book.codes) + unanswered + sum(map(len, book.waiting.values()))

    async def _publish(self) -> None:
        book = self._book
        while len(book.asked) < self._sends and not book.violations:
            if self._left() > _WAITING_MAX:
                await asyncio.sleep(_POLL_S)
                continue
            for number in range(len(book.asked), len(book.asked) + _AT_ONCE):
                await self._ask(self._chance.choice(NAMES), f"p-{number}")
        self._outcome.sends = len(book.asked)

    async def _ask(self, program: str, profile_id: str) -> str:
        request = build_request("message-render", {"profile_id": profile_id, "campaign_id": "c", "programs": [program]})
        self._book.asked.add(str(request.request_id))
        await self._send(request.topic, request.value, request.key, request.headers, anywhere=False)
        return str(request.request_id)

    async def _send(
        self, topic: str, value: bytes, key: bytes, headers: list[tuple[str, bytes]], *, anywhere: bool
    ) -> None:
        if topic not in self._partitions:
            self._partitions[topic] = sorted(await self._producer.partitions_for(PREFIX + topic))
        partition = self._chance.choice(self._partitions[topic]) if anywhere else None
        while True:
            with suppress(KafkaError, TimeoutError):
                await self._producer.send(PREFIX + topic, value, key=key, headers=headers, partition=partition)
                return

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=100, max_records=2_000)).values():
                for record in records:
                    topic = record.topic.removeprefix(PREFIX)
                    if topic == "message-render.reply":
                        await self._answered(json.loads(record.value))
                    elif topic == "delivery.reply":
                        await self._settled(record.value, dict(record.headers)["ce_id"])
                    else:
                        self._book.violate("I3", "a good receipt is a dead letter", record.headers)

    async def _answered(self, data: dict[str, Any]) -> None:
        book, request_id = self._book, data["request_id"]
        if request_id in book.codes:
            return
        if data["outcome"] != "attached":
            book.violate("I3", "refused without a cause", data)
            return
        [code] = data["codes"]
        book.codes[request_id] = (code["program"], code["code"], data["profile_id"])
        book.holders[code["program"], code["code"]].append(request_id)
        if request_id in book.repeats or self._chance.random() >= self._share:
            return
        [story] = self._chance.choices(list(_STORIES), list(_STORIES.values()))
        book.failed.add(request_id)
        book.waiting[request_id] = list(story)
        await self._report(request_id)
        if story == ("permanent",) and self._chance.random() < _USED_SHARE:
            self._to_use.append((code["program"], code["code"]))

    async def _report(self, request_id: str) -> None:
        """Publish the next receipt about a request, with some copies on any partition."""
        book = self._book
        receipts = book.waiting[request_id]
        if not receipts:
            del book.waiting[request_id]
            return
        receipt = receipts.pop(0)
        book.reported[request_id, receipt] = None
        program, _, profile_id = book.codes[request_id]
        if program == AGAIN and receipt == "before_handoff":
            book.repeats.add(await self._ask(program, profile_id))
        data: dict[str, object] = {"request_id": request_id, "profile_id": profile_id}
        kind = "delivered" if receipt == "delivered" else "failed"
        if kind == "failed":
            stage = "before_handoff" if receipt == "before_handoff" else "after_handoff"
            data |= {"stage": stage, "reason": "bounced", "permanent": receipt != "not_permanent"}
        else:
            data |= {"stage": "delivered"}
        headers = [("ce_specversion", b"1.0"), ("ce_id", str(uuid4()).encode()), ("ce_source", b"/torture"),
                   ("ce_type", f"dev.codewell.send-{kind}.v1".encode())]  # fmt: skip
        value = json.dumps(data).encode()
        for number in range(self._chance.choice((1, 1, 2, 3))):
            await self._send("delivery", value, profile_id.encode(), headers, anywhere=number > 0)

    async def _settled(self, value: bytes, event_id: bytes) -> None:
        book, data = self._book, json.loads(value)
        key = (data["request_id"], data["receipt"])
        digest = hashlib.blake2b(event_id + value, digest_size=16).hexdigest()
        known = book.reported.get(key, "never")
        if known == "never":
            book.violate("I3", "an answer to no receipt", key)
        elif known is None:
            book.reported[key] = digest
            if key[0] in book.waiting:
                await self._report(key[0])
        elif known != digest:
            book.violate("I2", "a receipt has two answers", key)
        else:
            self._outcome.copies += 1

    async def _kill(self) -> None:
        # A group waits up to 10 s for a dead member, and is to work in between. Once all is sent, it is to heal.
        while len(self._book.asked) < self._sends or self._left() > _WAITING_MAX // 4:
            await asyncio.sleep(self._chance.uniform(2, 12))
            name = self._chance.choice((*ISSUERS, *ISSUERS, *GENERATORS, *LIFECYCLES))
            point = f"{self._chance.choice(_POINTS)}=kill@{self._chance.randrange(1, 40)}" if name in ISSUERS else None
            with suppress(KeyError, ProcessLookupError):
                await self._site.kill(name, self._chance, point if self._chance.random() < 0.5 else None)

    async def _use(self) -> None:
        """Activate some codes in quarantine, as a shop does."""
        minters = Minters(None)
        connection = await asyncpg.connect(self._site.postgres_url())
        try:
            ids = {row["name"]: row["id"] for row in await connection.fetch("SELECT id, name FROM program")}
            while True:
                await asyncio.sleep(0.02)
                if not self._to_use:
                    continue
                program, code = self._to_use.pop()
                with suppress(CodewellError):
                    await activate(ProgramCodes(connection, minters, ids[program]), code[:CODE_CHARACTERS_MAX])
                    self._outcome.used += 1
        finally:
            await connection.close()

    async def _check(self) -> None:
        book, outcome = self._book, self._outcome
        connection = await asyncpg.connect(self._site.postgres_url())
        try:
            deadline = time.monotonic() + _END_LIMIT_S
            open_ = _CHECKS["I4", "a quarantine did not end"]
            while await connection.fetch(f"{open_} LIMIT 1") and time.monotonic() < deadline and not book.violations:
                await asyncio.sleep(_POLL_S)
            outcome.stands = {row["stands"]: row["codes"] for row in await connection.fetch(_STANDS)}
            outcome.failed = len(book.failed)
            if sum(outcome.stands.values()) != outcome.failed:
                book.violate("I4", "returned + quarantined + voided + kept is not failed", outcome.stands)
            for (promise, check), query in _CHECKS.items():
                if rows := await connection.fetch(query):
                    book.violate(promise, check, f"{len(rows)}: {dict(rows[0])}")
            returned = {
                str(row["request_id"])
                for row in await connection.fetch(
                    "SELECT request_id FROM send_receipt WHERE 'returned' IN (outcome, ended)"
                )
            }
            for (program, code), holders in book.holders.items():
                outcome.given_again += len({book.codes[request_id][2] for request_id in holders}) - 1
                if len({book.codes[request_id][2] for request_id in set(holders) - returned}) > 1:
                    book.violate("I1", "a code has two holders without a return", f"{program} {code[:2]}: {holders}")
            for finding in await audit(connection):
                book.violate(finding.rule.promise, finding.rule.says, finding.rows[:1])
            for one in await stream.found(self._site, self._say):
                book.violate(*one)
        finally:
            await connection.close()
        outcome.violations = book.violations
        self._say(f"{outcome.sends:,} sends, {outcome.failed:,} failed: {dict(Counter(outcome.stands))}")
