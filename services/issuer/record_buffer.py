"""What leaves the issuer: answers, requests that wait, dead letters, demands."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, get_args
from uuid import uuid4

import structlog
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata
from prometheus_client import Counter
from pydantic_core import to_json

from codewell.infra.kafka.record_batches import RecordBatches
from codewell.issuing.model import AnswerRow
from codewell.issuing.reply import answer_event, answer_id
from schemas import events, topics
from services.issuer.decode import ATTEMPT, GIVE_UP_AT, ReceivedRequest, UnreadableRecord, attempt_of

log = structlog.get_logger()

DEAD_LETTERS: Final = Counter("codewell_dead_letters", "Dead letters, by reason.", ["reason"])
RETRIES: Final = Counter("codewell_retries", "Requests published to a retry topic.")
for _reason in get_args(events.DeadReason):
    DEAD_LETTERS.labels(_reason)

SOURCE: Final = "/codewell/issuer"
FIRST_AT: Final = "codewell_first_at"
_CONTENT_TYPE: Final = ("content-type", b"application/json")
_STRUCTURED: Final = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
_RETRY_SUFFIX: Final = topics.retry_of("")
# Of one wait; a sender's own are not his to write.
_OF_A_WAIT: Final = frozenset((ATTEMPT, GIVE_UP_AT, FIRST_AT))
_TOLD_MAX: Final = 100_000
# What every topic takes that has Kafka's own limit (1 MiB) or a larger one, and what our own take.
_ANSWER_BYTES_MAX: Final = 1_000_000
_OWN_ANSWER_BYTES_MAX: Final = topics.DEAD_LETTER_BYTES_MAX - 64 * 1024
# For room among what is to be sent; requests wait meanwhile.
_TELL_TIMEOUT_S: Final = 0.1
_HEADS: Final = {
    event_type: [
        ("ce_specversion", b"1.0"),
        ("ce_source", SOURCE.encode()),
        ("ce_type", event_type.encode()),
        _CONTENT_TYPE,
    ]
    for event_type in (events.CODES_ATTACHED, events.CODES_REFUSED)
}


class RecordBuffer:
    """Collects the records of one batch and sends them together."""

    def __init__(self, producer: AIOKafkaProducer, partitions: dict[str, int]) -> None:
        self._batches = RecordBatches(producer)
        self._partitions = partitions

    def answer(
        self,
        received: ReceivedRequest,
        rows: Sequence[AnswerRow],
        names: dict[int, str],
        more_headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        """Answer a request in the mode in which it came, on the partition where it was: keys stay in order.

        Raises Unreadable for an answer that no topic takes: fields of codes may be long, and codes many.
        """
        request, record, structured, reply_topic, correlation_id = received
        event_type, data = answer_event(request, rows, names)
        event_id = answer_id(request.id)
        if structured:
            value = (
                f'{{"specversion":"1.0","id":"{event_id}","source":"{SOURCE}","type":"{event_type}",'
                f'"datacontenttype":"application/json","data":{data}}}'
            )
            headers = _STRUCTURED
        else:
            value = data
            headers = [("ce_id", event_id.encode()), *_HEADS[event_type]]
        if correlation_id is not None:
            headers = [*headers, ("kafka_correlationId", correlation_id)]
        if more_headers:
            headers = [*headers, *more_headers]
        topic = reply_topic or _reply_topic(record.topic)
        encoded = value.encode()
        if len(encoded) > _ANSWER_BYTES_MAX and (reply_topic is not None or len(encoded) > _OWN_ANSWER_BYTES_MAX):
            raise UnreadableRecord(
                "too_large", f"The answer would have {len(encoded):,} bytes, more than {topic} may take."
            )
        self._add(topic, record.partition, rows[0].profile_id.encode(), encoded, headers)

    def retry(self, received: ReceivedRequest, give_up_at: datetime | None = None) -> None:
        """Let a request wait, and count how often it did; `give_up_at` is when it is to wait no longer.

        The time when it came first goes along too.
        """
        record = received.record
        attempts = attempt_of(record)
        kept = [header for header in record.headers if header[0] not in _OF_A_WAIT]
        first_at = dict(record.headers).get(FIRST_AT) if attempts else None
        if first_at is None:
            first_at = _came_at(record).isoformat().encode()
        kept.append((FIRST_AT, first_at))
        if give_up_at is not None:
            kept.append((GIVE_UP_AT, give_up_at.isoformat().encode()))
        topic = topics.retry_of(request_topic(record.topic))
        RETRIES.inc()
        self._add(topic, record.partition, record.key, record.value, [*kept, (ATTEMPT, str(attempts + 1).encode())])

    def dead_letter(self, record: ConsumerRecord, why: UnreadableRecord) -> None:
        """Keep what can't be read, as it came, with the reason."""
        reason = {
            "codewell_reason": why.reason,
            "codewell_detail": why.detail,
            "codewell_topic": record.topic,
            "codewell_partition": str(record.partition),
            "codewell_offset": str(record.offset),
            "codewell_time": datetime.now(UTC).isoformat(),
        }
        headers = [*record.headers, *((name, text.encode()) for name, text in reason.items())]
        topic = topics.dead_letters_of(request_topic(record.topic))
        DEAD_LETTERS.labels(why.reason).inc()
        self._add(topic, record.partition, record.key, record.value, headers)

    async def send(self) -> None:
        """Send all and wait until it is stored. Raises what aiokafka raises."""
        await self._batches.send()

    def _add(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> None:
        self._batches.add(topic, partition % self._partitions[topic], key, value, headers)


def _came_at(record: ConsumerRecord) -> datetime:
    """When it came, by its sender's clock. One that counts in other units than Kafka (ms) may be in no year at all."""
    try:
        return datetime.fromtimestamp(record.timestamp / 1000, UTC)
    except ValueError:
        return datetime.now(UTC)


class DemandPublisher:
    """Tells the generator of pools under their mark, each at most once in an interval, the last word included."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, interval_s: float) -> None:
        self._producer = producer
        self._topic = topic
        self._interval_s = interval_s
        self._told: dict[int, float] = {}
        self._untold: dict[int, int] = {}

    async def publish(self, low: dict[int, int]) -> None:
        """Publish these, and those that are due since, without waiting for the answer. Raises nothing.

        A demand that is lost costs a sweep, not a code.
        """
        now = time.monotonic()
        self._untold |= low
        due = [key for key in self._untold if now - self._told.get(key, -self._interval_s) >= self._interval_s]
        for program_id in due:
            pooled = self._untold.pop(program_id)
            self._told[program_id] = now
            demand = events.PoolDemand(program_id=program_id, pooled=pooled)
            headers = [
                ("ce_specversion", b"1.0"),
                ("ce_id", str(uuid4()).encode()),
                ("ce_source", SOURCE.encode()),
                ("ce_type", events.POOL_DEMAND.encode()),
                _CONTENT_TYPE,
            ]
            try:
                async with asyncio.timeout(_TELL_TIMEOUT_S):
                    sent = await self._producer.send(
                        self._topic, to_json(demand), key=str(program_id).encode(), headers=headers
                    )
            except (KafkaError, TimeoutError) as error:
                log.warning("demand_lost", program_id=program_id, error=type(error).__name__)
            else:
                sent.add_done_callback(_note_lost)
        if len(self._told) > _TOLD_MAX:
            self._told.clear()


@lru_cache(maxsize=16)  # For each answer anew it would take a fortieth of the answer's time.
def _reply_topic(topic: str) -> str:
    return topics.reply_to(request_topic(topic))


def _note_lost(sent: asyncio.Future[RecordMetadata]) -> None:
    if not sent.cancelled() and sent.exception() is not None:
        log.warning("demand_lost", error=type(sent.exception()).__name__)


def request_topic(topic: str) -> str:
    """The topic that a request came from first, also where it has waited in a retry topic."""
    return topic.removesuffix(_RETRY_SUFFIX)
