"""What a plain request costs the issuer in each step that needs no server: `python -m benchmarks.stages`.

CPU time over batches that are not in the processor's caches, as a fetch brings them. Compare two versions in turn, in
one minute: the clock of a machine may vary by half.
"""

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count, repeat
from operator import attrgetter
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher

from benchmarks.backlog import PARTITIONS, REPLY_TOPIC, TOPIC
from codewell.client.exchange import build_request
from codewell.infra.kafka.partition_records import FetchedBatches, PartitionRecords
from codewell.infra.kafka.record_encoding import RecordBatch, encode_headers
from codewell.issuing import copy_answers
from codewell.issuing.decide import decide
from codewell.issuing.model import LockedStock, Lot
from codewell.pool.program_rules import ProgramRules
from schemas.events import MESSAGE_RENDER
from services.issuer.batch_publisher import BatchPublisher
from services.issuer.decode import Decoder

PROGRAM: Final = "BENCH"
_BATCHES: Final = 25
_REQUESTS: Final = 4_000
_SLICE: Final = 250
_BATCH_BYTES: Final = 1 << 24
_NOW: Final = datetime(2026, 12, 1, 10, 0, 0, 123456, tzinfo=UTC)
_RULES: Final = ProgramRules(
    id=7, name=PROGRAM, active=True, valid_from=None, valid_until=None, campaign_can_create=True,
    scenario_can_create=True, shared=False, reuse="request", ttl=timedelta(days=30), ttl_from="attachment",
    room=10**6, pool_max=10**6, pooled=10**6, version=1, codes_max=10**7, codes_from="template", on_order=0,
    min_life_at_attach=None, fallback=None,
)  # fmt: skip


def stages(batches: int, requests: int) -> dict[str, float]:
    """CPU time of a request in each step (us)."""
    fetched = [_fetched(batch, requests) for batch in range(batches)]
    spent: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def lap(step: str) -> Iterator[None]:
        began = time.process_time()
        yield
        spent[step] += time.process_time() - began

    for parts in fetched:
        _answer_all(parts, requests, lap)
    return {step: 1e6 * seconds / (batches * requests) for step, seconds in spent.items()}


def _fetched(batch: int, requests: int) -> list[bytes]:
    """The record batch of each partition."""
    built = [RecordBatch(_BATCH_BYTES) for _ in range(PARTITIONS)]
    for number in range(batch * requests, (batch + 1) * requests):
        request = build_request(
            TOPIC,
            {"profile_id": f"p-{number}", "campaign_id": "spring", "message_id": f"m-{number}", "programs": [PROGRAM]},
        )
        built[number % PARTITIONS].add(request.key, request.value, encode_headers(request.headers))
    return [one._build() for one in built]


def _answer_all(parts: list[bytes], requests: int, lap: Callable[[str], Any]) -> None:
    with lap("parse"):
        fetched = [list(_records(partition, part)) for partition, part in enumerate(parts)]
    decoder = Decoder({TOPIC: MESSAGE_RENDER}, frozenset())
    with lap("decode"):
        received = [one for records in fetched for one in decoder.decode_plain(records) if one is not None]
    del fetched
    with lap("order"):
        pending = sorted((one.request for one in received), key=attrgetter("id"))
    texts = [f"smFg-{number:04}-DMPB" for number in range(requests)]
    stock = LockedStock([Lot(1, range(requests), texts, None, None)], elsewhere=0)
    with lap("decide"):
        decision = decide(pending, {PROGRAM: _RULES}, {_RULES.id: stock}, {}, _NOW, lambda *_: "")
        given = {id_.bytes: place for run in decision.runs for id_, place in zip(run.ids, zip(repeat(run), count()))}  # noqa: B905
    with lap("pack"):
        copy_answers.encode(decision.rows, decision.runs, links=False)
    # Nothing is sent.
    publisher = BatchPublisher(None, {REPLY_TOPIC: PARTITIONS})
    with lap("answer"):
        for start in range(0, requests, _SLICE):
            taken = received[start : start + _SLICE]
            publisher.answer_plain(taken, [given[one.request.id.bytes] for one in taken], {_RULES.id: PROGRAM})


def _records(partition: int, batch: bytes) -> PartitionRecords:
    return PartitionRecords(
        TopicPartition(TOPIC, partition), FetchedBatches(batch), [], 0, None, None, False, fetcher.READ_COMMITTED
    )  # fmt: skip


def main() -> None:
    """Print the table."""
    gc.freeze()
    # As in the issuer.
    gc.set_threshold(100 * _REQUESTS)
    found = stages(_BATCHES, _REQUESTS)
    for step, us in (*found.items(), ("all", sum(found.values()))):
        print(f"{step:8} {us:6.2f} us")  # noqa: T201


if __name__ == "__main__":
    main()
