"""Measures a backlog of receipts: half before the handoff, a quarter permanent, a quarter delivered.

Beside one transaction a receipt, and the same consumer without a database.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks import bare_receipts, contestants, usual_receipts
from benchmarks.contenders import PRODUCT, Contender
from benchmarks.fresh import fresh_servers
from benchmarks.machine import facts
from benchmarks.race import POLL_S
from benchmarks.report import OF_CEILING, Goal, Progress, Report
from codewell.errors import CodewellError
from codewell.infra.kafka import clients
from codewell.infra.kafka.record_batches import RecordBatches
from codewell.infra.kafka.record_encoding import encode_headers
from codewell.infra.postgres.connection import connection, pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing.claim import Claims
from codewell.issuing.model import Request
from codewell.pool.minter_cache import Minters
from schemas import topics
from schemas.events import SEND_DELIVERED, SEND_FAILED, MessageRender
from services.standalone.child import Child
from services.standalone.servers import Servers

RATE_GOAL: Final = 10_000.0
# The peer gets a part of the backlog: it is far slower.
PEER_SHARE: Final = 100
PARTITIONS: Final = 24
_BATCH: Final = 4_000
_TIMEOUT_S: Final = 600.0
_PRODUCT = Contender(**{**vars(PRODUCT), "group": "codewell-issuer-delivery"})
_PEER = Contender(
    **{**vars(PRODUCT), "name": "one transaction a receipt", "module": ("benchmarks.usual_receipts",),
       "group": usual_receipts.GROUP}
)  # fmt: skip
_CEILING = Contender(
    **{**vars(PRODUCT), "name": "no database", "module": ("benchmarks.bare_receipts",), "group": bare_receipts.GROUP}
)


async def bench_receipts(receipts: int, repetitions: int, progress: Progress) -> Report:
    """Settle a backlog of `receipts`, for one program. Raises CodewellError."""
    report = Report("receipts", facts())
    rates: dict[str, list[float]] = {}
    async with fresh_servers(progress) as servers:
        for repetition in range(1, repetitions + 1):
            for number, contender in enumerate((_PRODUCT, _PEER, _CEILING)):
                count = receipts // PEER_SHARE if contender is _PEER else receipts
                rate = await _run(servers, contender, count, f"receipts_{repetition}_{number}")
                progress(f"{contender.name}, {repetition} of {repetitions}: {rate:,.0f} receipts/s")
                rates.setdefault(contender.name, []).append(rate)
    product = report.add("codewell", "receipts/s", rates[_PRODUCT.name])
    report.add(_PEER.name, "receipts/s", rates[_PEER.name])
    report.add(_CEILING.name, "receipts/s", rates[_CEILING.name])
    ratios = [one / most for one, most in zip(rates[_PRODUCT.name], rates[_CEILING.name], strict=True)]
    report.add("codewell / no database", OF_CEILING, ratios)
    report.goals.append(Goal("receipts a second", product.rate, RATE_GOAL))
    return report


async def _run(servers: Servers, contender: Contender, count: int, name: str) -> float:
    """Receipts a second of one process."""
    prefix = f"{name}."
    await contestants.make_topics(servers, contender, prefix)
    requests = await _attached(servers, name, count)
    async with contestants.processes(servers, contender, prefix, 1) as children:
        counting = AIOKafkaConsumer(bootstrap_servers=servers.kafka.bootstrap, enable_auto_commit=False)
        async with clients.started_producer(servers.kafka.bootstrap) as producer, counting:
            with contestants.held(children) as go:
                await _publish(producer, prefix + topics.DELIVERY, requests)
                began = time.perf_counter()
                go()
                await _answered(counting, prefix, count, children)
            return count / (time.perf_counter() - began)


async def _attached(servers: Servers, name: str, count: int) -> list[Request]:
    """Requests of as many profiles, each with a code of a program of this name."""
    requests = [
        Request(uuid7(), MessageRender(profile_id=f"p-{number}", campaign_id="c", programs=(name,)), (name,))
        for number in range(count)
    ]
    async with pool(servers.postgres.url, "codewell-bench", 1) as own:
        async with own.acquire() as opened:
            await PRODUCT.stock(opened, name, count)
        claims = Claims(own, Minters(None))
        for start in range(0, count, _BATCH):
            await claims.attach(requests[start : start + _BATCH])
    async with connection(servers.postgres.url, "codewell-bench") as opened:
        # No worker reports the usage of these; so many attachments that returns do not stop.
        await opened.execute(
            "INSERT INTO usage_minute SELECT id, date_trunc('minute', now()) - interval '2 min', 'campaign', "
            "'attached', $2 FROM program WHERE name = $1",
            name,
            100 * count,
        )
        await opened.execute("VACUUM ANALYZE answer, block, code_state, send_receipt")
    return requests


async def _publish(producer: AIOKafkaProducer, topic: str, requests: Sequence[Request]) -> None:
    for start in range(0, len(requests), _BATCH):
        batches = RecordBatches(producer)
        for number, request in enumerate(requests[start : start + _BATCH], start):
            event_type, value = _receipt(number, UUID(str(request.id)), request.event.profile_id)
            headers = [("ce_specversion", b"1.0"), ("ce_id", str(uuid7()).encode()), ("ce_source", b"/bench"),
                       ("ce_type", event_type.encode())]  # fmt: skip
            batches.add(topic, number % PARTITIONS, request.event.profile_id.encode(), value, encode_headers(headers))
        await batches.send()


def _receipt(number: int, request_id: UUID, profile_id: str) -> tuple[str, bytes]:
    ids = {"request_id": str(request_id), "profile_id": profile_id}
    if number % 4 == 0:
        return SEND_DELIVERED, json.dumps({**ids, "stage": "delivered"}).encode()
    stage = "after_handoff" if number % 4 == 1 else "before_handoff"
    return SEND_FAILED, json.dumps({**ids, "stage": stage, "reason": "bounced", "permanent": True}).encode()


async def _answered(counting: AIOKafkaConsumer, prefix: str, count: int, children: Sequence[Child]) -> None:
    places = [TopicPartition(prefix + topics.reply_to(topics.DELIVERY), number) for number in range(PARTITIONS)]
    deadline = time.monotonic() + _TIMEOUT_S
    while sum((await counting.end_offsets(places)).values()) < count:
        if time.monotonic() > deadline:
            raise CodewellError(f"{children[0].name} did not answer {count:,} receipts in {_TIMEOUT_S:.0f} s.")
        contestants.check_alive(children)
        await asyncio.sleep(POLL_S)
