"""Orders under kills: tills hold and use codes, and events say what became of the orders, in any order and repeatedly.

`python -m torture orders` runs it at any size. Many orders want the same few codes, most after their holds have passed.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from codewell.audit.promises import audit
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodewellError
from codewell.infra.kafka import clients
from codewell.infra.uuid7 import uuid7
from codewell.issuing.assigned import generate_for
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from codewell.redemption import till
from schemas.uses import Uses
from torture import stream
from torture.campaign import SPRING
from torture.ledger import Violation
from torture.site import ISSUERS, LIFECYCLES, PREFIX, Site, running_site

_LIMITS: Final = {"ONCE": 1, "THRICE": 3}
_TILLS: Final = 8
_POINTS: Final = ("claimed", "committed", "acknowledged")
_STORIES: Final = (("paid",), ("paid",), ("paid",), ("cancelled",), ("paid", "refunded"), ("paid", "cancelled"))
_SHORT: Final = timedelta(milliseconds=1)
_LONG: Final = timedelta(hours=1)
_POLL_S: Final = 0.5
_END_LIMIT_S: Final = 120.0
# Orders that were paid have their code or are told why not; those that were paid back have nothing.
_CHECKS: Final = {
    "a paid order has neither its code nor a refusal": """
        SELECT o.order_id FROM unnest($1::text[]) AS o (order_id)
        WHERE NOT EXISTS (SELECT FROM code_use u WHERE u.order_id = o.order_id AND u.used_at IS NOT NULL
                          AND u.ended_at IS NULL)
          AND NOT EXISTS (SELECT FROM shop_order s WHERE s.order_id = o.order_id AND s.refusals <> '[]')""",
    "an order that was paid back has a code": """
        SELECT order_id FROM code_use WHERE order_id = ANY ($1::text[]) AND ended_at IS NULL
        AND (used_at IS NOT NULL OR held_until > now())""",
}


@dataclass
class OrdersOutcome:
    """The result of a run."""

    orders: int = 0
    used: int = 0
    refused: int = 0
    kills: int = 0
    took_s: float = 0.0
    violations: list[Violation] = field(default_factory=list)


async def run_orders(
    orders: int, codes: int, seed: int, directory: Path, say: Callable[[str], object],
    variables: Mapping[str, str] | None = None, sql: Iterable[str] = (),
) -> OrdersOutcome:  # fmt: skip
    """Let `orders` orders want `codes` codes of each program while issuers are killed; then check all of them."""
    chance, outcome, began = random.Random(seed), OrdersOutcome(), time.monotonic()
    async with running_site(directory, chance, variables or {}, sql) as site:
        shop = _Shop(site, chance, outcome, say)
        await shop.open(codes)
        try:
            await shop.trade(orders)
            await shop.check()
        finally:
            await shop.close()
        outcome.kills = site.kills
    outcome.took_s = time.monotonic() - began
    say(f"{outcome.orders:,} orders: {outcome.used:,} uses, {outcome.refused:,} refusals, {outcome.kills} kills")
    return outcome


class _Shop:
    """A shop with tills, and what it said about its orders."""

    def __init__(self, site: Site, chance: random.Random, outcome: OrdersOutcome, say: Callable[[str], object]) -> None:
        self._site = site
        self._chance = chance
        self._outcome = outcome
        self._say = say
        self._minters = Minters(None)
        self._producer: AIOKafkaProducer = clients.producer(site.bootstrap)
        self._partitions: list[int] = []
        self._codes: list[tuple[int, str]] = []
        self._told: dict[str, tuple[str, ...]] = {}
        self._left = 0

    async def open(self, codes: int) -> None:
        """Give codes of each program to customers."""
        await self._producer.start()
        self._partitions = sorted(await self._producer.partitions_for(f"{PREFIX}orders"))
        connection = await self._connect()
        for name, limit in _LIMITS.items():
            settings = SPRING.model_copy(
                update={"name": name, "ttl": None, "uses": Uses(per_code=limit, per_profile=None)}
            )
            made = await programs.create(connection, self._minters, settings, guesses_per_s=10)
            profiles = [f"p-{number}" for number in range(codes)]
            ids = (uuid7() for _ in profiles)
            await generate_for(connection, self._minters, made.id, profiles, ids, None)
            rows = await connection.fetch("SELECT code FROM answer WHERE program_id = $1", made.id)
            self._codes += [(made.id, row["code"]) for row in rows]
        await connection.close()

    async def close(self) -> None:
        await self._producer.stop()

    async def trade(self, orders: int) -> None:
        """Take so many orders at several tills, while issuers are killed; then wait until all events are settled."""
        self._left = orders
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(self._kill())
            tills = [group.create_task(self._till(number)) for number in range(_TILLS)]
            await asyncio.wait(tills)
            killing.cancel()
        await self._producer.flush()
        consumer = AIOKafkaConsumer(bootstrap_servers=self._site.bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            async with clients.admin(self._site.bootstrap) as admin:
                await self._until_settled(consumer, admin)
        finally:
            await consumer.stop()

    async def _until_settled(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        ends = await consumer.end_offsets([TopicPartition(f"{PREFIX}orders", number) for number in self._partitions])
        deadline, left = time.monotonic() + _END_LIMIT_S, -1
        while left and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
            with suppress(KafkaError):
                done = await admin.list_consumer_group_offsets(f"{PREFIX}codewell-issuer-orders")
                left = sum(end - (done[place].offset if place in done else 0) for place, end in ends.items())
        if left:
            self._violate("I3", "events that are not settled", left)
        dead = sorted(await self._producer.partitions_for(f"{PREFIX}orders.dlq"))
        letters = await consumer.end_offsets([TopicPartition(f"{PREFIX}orders.dlq", number) for number in dead])
        if sum(letters.values()):
            self._violate("I3", "good events are dead letters", letters)

    async def _till(self, number: int) -> None:
        connection = await self._connect()
        try:
            while self._left > 0:
                self._left -= 1
                order_id = f"o-{number}-{self._left}"
                program_id, code = self._chance.choice(self._codes)
                codes = ProgramCodes(connection, self._minters, program_id)
                with suppress(CodewellError):
                    ttl = _LONG if self._chance.random() < 0.1 else _SHORT
                    await till.hold(codes, code, order_id, ttl=ttl)
                    if self._chance.random() < 0.1:
                        await till.activate(codes, code, order_id=order_id)
                    story = self._chance.choice(_STORIES)
                    self._told[order_id] = story
                    for state in self._chance.sample(story, len(story)):
                        await self._tell(order_id, state)
        finally:
            await connection.close()

    async def _tell(self, order_id: str, state: str) -> None:
        """Publish an event, with copies, on any partitions."""
        headers = [("ce_specversion", b"1.0"), ("ce_id", str(uuid4()).encode()), ("ce_source", b"/shop"),
                   ("ce_type", b"dev.codewell.order-changed.v1")]  # fmt: skip
        value = json.dumps({"order_id": order_id, "state": state}).encode()
        for _ in range(self._chance.choice((1, 1, 2, 3))):
            with suppress(KafkaError, TimeoutError):
                partition = self._chance.choice(self._partitions)
                await self._producer.send(
                    f"{PREFIX}orders", value, key=order_id.encode(), headers=headers, partition=partition
                )

    async def _kill(self) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(1, 4))
            point = f"{self._chance.choice(_POINTS)}=kill@{self._chance.randrange(1, 20)}"
            with suppress(KeyError, ProcessLookupError):
                name = self._chance.choice((*ISSUERS, *LIFECYCLES))
                armed = name in ISSUERS and self._chance.random() < 0.5
                await self._site.kill(name, self._chance, point if armed else None)

    async def check(self) -> None:
        """Look at every order, and let the audit look at all codes."""
        connection = await self._connect()
        try:
            paid = [order_id for order_id, story in self._told.items() if story == ("paid",)]
            back = [order_id for order_id, story in self._told.items() if story != ("paid",)]
            for (says, query), orders in zip(_CHECKS.items(), (paid, back), strict=True):
                if rows := await connection.fetch(query, orders):
                    self._violate("I10", says, f"{len(rows)}: {dict(rows[0])}")
            for finding in await audit(connection):
                self._violate(finding.rule.promise, finding.rule.says, finding.rows[:1])
            self._outcome.violations += await stream.found(self._site, self._say)
            self._outcome.orders = len(self._told)
            self._outcome.used = await connection.fetchval("SELECT sum(uses) FROM code_state")
            self._outcome.refused = await connection.fetchval(
                "SELECT coalesce(sum(jsonb_array_length(refusals)), 0) FROM shop_order"
            )
        finally:
            await connection.close()

    def _violate(self, promise: str, check: str, detail: object) -> None:
        self._outcome.violations.append(Violation(promise, check, str(detail)[:300]))

    async def _connect(self) -> Any:
        return await asyncpg.connect(self._site.postgres_url())
