"""Publishes the records of a batch: answers, retries and dead letters."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, get_args

from aiokafka import AIOKafkaProducer, ConsumerRecord
from prometheus_client import Counter

from codewell.infra.kafka.record_batches import RecordBatches
from codewell.issuing.model import AnswerRow
from codewell.issuing.reply import answer_event, answer_id
from schemas import events, topics
from services.issuer.decode import ATTEMPT_HEADER, GIVE_UP_AT_HEADER, ReceivedRequest, UnreadableRecord, attempt_of

DEAD_LETTERS: Final = Counter("codewell_dead_letters", "Dead letters, by reason.", ["reason"])
RETRIES: Final = Counter("codewell_retries", "Requests published to a retry topic.")
for _reason in get_args(events.DeadReason):
    DEAD_LETTERS.labels(_reason)

SOURCE: Final = "/codewell/issuer"
FIRST_AT_HEADER: Final = "codewell_first_at"
_JSON_CONTENT_TYPE: Final = ("content-type", b"application/json")
_STRUCTURED_HEADERS: Final = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
_RETRY_SUFFIX: Final = topics.retry_of("")
# Written by the issuer for each retry; the same headers from a sender are dropped.
_RETRY_HEADERS: Final = frozenset((ATTEMPT_HEADER, GIVE_UP_AT_HEADER, FIRST_AT_HEADER))
# Limits below Kafka's default message size (1 MiB) for topics that a request names, and below our own topics' limit.
_ANSWER_BYTES_MAX: Final = 1_000_000
_OWN_TOPIC_BYTES_MAX: Final = topics.DEAD_LETTER_BYTES_MAX - 64 * 1024
_BINARY_HEADERS: Final = {
    event_type: [
        ("ce_specversion", b"1.0"),
        ("ce_source", SOURCE.encode()),
        ("ce_type", event_type.encode()),
        _JSON_CONTENT_TYPE,
    ]
    for event_type in (events.CODES_ATTACHED, events.CODES_REFUSED)
}


class BatchPublisher:
    """Buffers the outgoing records of one batch and publishes them together."""

    def __init__(self, producer: AIOKafkaProducer, partitions: dict[str, int]) -> None:
        self._batches = RecordBatches(producer)
        self._partitions = partitions

    def answer(
        self,
        received: ReceivedRequest,
        rows: Sequence[AnswerRow],
        names: dict[int, str],
        trace_headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        """Add the answer to a request, in its CloudEvents mode and on its partition, which keeps the order of each key.

        Raises UnreadableRecord for an answer above the topic's size limit: it holds many codes or long fields.
        """
        request, record, structured, reply_topic, correlation_id = received
        event_type, data = answer_event(request, rows, names)
        event_id = answer_id(request.id)
        if structured:
            value = (
                f'{{"specversion":"1.0","id":"{event_id}","source":"{SOURCE}","type":"{event_type}",'
                f'"datacontenttype":"application/json","data":{data}}}'
            )
            headers = _STRUCTURED_HEADERS
        else:
            value = data
            headers = [("ce_id", event_id.encode()), *_BINARY_HEADERS[event_type]]
        if correlation_id is not None:
            headers = [*headers, ("kafka_correlationId", correlation_id)]
        if trace_headers:
            headers = [*headers, *trace_headers]
        topic = reply_topic or _reply_topic(record.topic)
        encoded = value.encode()
        if len(encoded) > _ANSWER_BYTES_MAX and (reply_topic is not None or len(encoded) > _OWN_TOPIC_BYTES_MAX):
            raise UnreadableRecord(
                "too_large", f"The answer would have {len(encoded):,} bytes, more than {topic} may take."
            )
        self._add(topic, record.partition, rows[0].profile_id.encode(), encoded, headers)

    def retry(self, received: ReceivedRequest, give_up_at: datetime | None = None) -> None:
        """Add the request to its retry topic, with its attempt count, its retry deadline and its first arrival time."""
        record = received.record
        attempts = attempt_of(record)
        headers = [header for header in record.headers if header[0] not in _RETRY_HEADERS]
        first_at = dict(record.headers).get(FIRST_AT_HEADER) if attempts else None
        if first_at is None:
            first_at = _record_time(record).isoformat().encode()
        headers.append((FIRST_AT_HEADER, first_at))
        if give_up_at is not None:
            headers.append((GIVE_UP_AT_HEADER, give_up_at.isoformat().encode()))
        headers.append((ATTEMPT_HEADER, str(attempts + 1).encode()))
        topic = topics.retry_of(request_topic(record.topic))
        RETRIES.inc()
        self._add(
            topic, record.partition, record.key, record.value, [*headers, (ATTEMPT_HEADER, str(attempts + 1).encode())]
        )

    def dead_letter(self, record: ConsumerRecord, why: UnreadableRecord) -> None:
        """Add the original record to the dead-letter topic, with the reason in its headers."""
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

    async def flush(self) -> None:
        """Publish all records and wait until they are acknowledged. Raises what aiokafka raises."""
        await self._batches.send()

    def _add(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> None:
        self._batches.add(topic, partition % self._partitions[topic], key, value, headers)


def _record_time(record: ConsumerRecord) -> datetime:
    """The record's timestamp, or now where a sender used another unit than ms and no such date exists."""
    try:
        return datetime.fromtimestamp(record.timestamp / 1000, UTC)
    except ValueError:
        return datetime.now(UTC)


@lru_cache(maxsize=16)  # Uncached, it takes 1/40 of the time of an answer.
def _reply_topic(topic: str) -> str:
    return topics.reply_to(request_topic(topic))


def request_topic(topic: str) -> str:
    """The request topic of a request topic or of its retry topic."""
    return topic.removesuffix(_RETRY_SUFFIX)
