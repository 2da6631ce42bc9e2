"""Publishes the records of a batch: answers, retries and dead letters."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Final, get_args

from aiokafka import AIOKafkaProducer, ConsumerRecord
from prometheus_client import Counter

from codewell.infra.kafka.record_batches import RecordBatches
from codewell.infra.kafka.record_encoding import Headers, encode_headers
from codewell.infra.kafka.record_time import record_time
from codewell.issuing.answer_runs import AnyRun
from codewell.issuing.model import AnswerRow
from codewell.issuing.reply import answer_event, answer_id, answer_ids, plain_answers
from codewell.issuing.waits import Wait
from schemas import topics
from schemas.events import AnsweredReason, DeadReason
from services.issuer.answer_records import answer_record, around_id
from services.issuer.decode import attempt_of
from services.issuer.plain_decoder import ATTEMPT_HEADER, GIVE_UP_AT_HEADER, WAITS_SINCE_HEADER
from services.issuer.received_request import PlainRequest, ReceivedRequest
from services.issuer.rejections import Rejection, rejection
from services.issuer.reply_options import NO_OPTIONS
from services.issuer.unreadable_record import UnreadableRecord

DEAD_LETTERS: Final = Counter("codewell_dead_letters", "Dead letters, by reason.", ["reason"])
RETRIES: Final = Counter("codewell_retries", "Requests published to a retry topic.")
ANSWERS: Final = Counter("codewell_answers", "Answers, by outcome.", ["outcome"])
REFUSALS: Final = Counter("codewell_refusals", "Refused programs in answers, by reason.", ["reason"])
UNKNOWN_PARTITIONS: Final = Counter(
    "codewell_reply_partitions_unknown", "Answers to a kafka_replyPartition that the reply topic does not have."
)
for _reason in get_args(DeadReason):
    DEAD_LETTERS.labels(_reason)
for _outcome in ("attached", "refused"):
    ANSWERS.labels(_outcome)
for _reason in get_args(AnsweredReason):
    REFUSALS.labels(_reason)

FIRST_AT_HEADER: Final = "codewell_first_at"
_RETRY_SUFFIX: Final = topics.retry_of("")
# Written by the issuer for each retry; the same headers from a sender are dropped.
_RETRY_HEADERS: Final = frozenset((ATTEMPT_HEADER, GIVE_UP_AT_HEADER, WAITS_SINCE_HEADER, FIRST_AT_HEADER))
# Limits below Kafka's default message size (1 MiB) for topics that a request names, and below our own topics' limit.
_ANSWER_BYTES_MAX: Final = 1_000_000
_OWN_TOPIC_BYTES_MAX: Final = topics.DEAD_LETTER_BYTES_MAX - 64 * 1024


class BatchPublisher:
    """Buffers the outgoing records of one batch and publishes them together."""

    def __init__(
        self, producer: AIOKafkaProducer, partitions: dict[str, int], reply_topics: frozenset[str] = frozenset()
    ) -> None:
        self._batches = RecordBatches(producer)
        self._partitions = partitions
        self._reply_topics = reply_topics

    def answer(
        self,
        received: ReceivedRequest,
        rows: Sequence[AnswerRow],
        names: dict[int, str],
        trace_headers: Headers = (),
    ) -> None:
        """Add the answer to a request, in its CloudEvents mode and on its partition, which keeps the order of each key.

        Raises UnreadableRecord for an answer above the topic's size limit, as it holds many codes or long fields, and
        where its reply topic does not take records.
        """
        request, record, structured, options = (
            received.request, received.record, received.structured, received.options
        )  # fmt: skip
        event_type, data = answer_event(request, rows, names)
        first = rows[0]
        value, headers = answer_record(
            event_type, answer_id(request.id), first.answered_at, data, options, trace_headers, structured=structured
        )
        topic, partition = _reply_topic(record.topic), record.partition
        if options is not NO_OPTIONS:
            topic = options.topic or topic
            partition = self._asked_partition(topic, options.partition, partition)
        self._check(topic)
        encoded = value.encode()
        if len(encoded) > _ANSWER_BYTES_MAX and (options.topic is not None or len(encoded) > _OWN_TOPIC_BYTES_MAX):
            raise UnreadableRecord(
                "too_large", f"The answer would have {len(encoded):,} bytes, more than {topic} may take."
            )
        self._add(topic, partition, first.profile_id.encode(), encoded, headers)

    def answer_plain(
        self, plain: Sequence[PlainRequest], places: Sequence[tuple[AnyRun, int]], names: dict[int, str]
    ) -> bool:
        """Add the answers to plain requests, whose rows are those of runs by their numbers, as `answer` does.

        Each step is taken for all of them, in a third of the time. Where one fails, none is added, and the result is
        False: `answer` then says which.
        """
        try:
            made = plain_answers(places, names)
            around = {kind: around_id(*kind) for kind in set(made.kinds)}
            headers = [
                f"{before}{id_}{after}"
                for (before, after), id_ in zip(
                    map(around.__getitem__, made.kinds), answer_ids(made.request_ids), strict=True
                )
            ]
            values = _latin1(made.data)
            if max(map(len, values)) > _ANSWER_BYTES_MAX:
                # `answer` knows the limit of its topic.
                return False
            texts = list(zip(_latin1(made.profile_ids), values, headers, strict=True))
            parts = [
                (_reply_topic(tp.topic), tp.partition % self._partitions[_reply_topic(tp.topic)], len(list(part)))
                for tp, part in groupby(plain, attrgetter("tp"))
            ]
        except Exception:  # noqa: BLE001
            return False
        begin = 0
        for topic, partition, count in parts:
            self._batches.add_texts(topic, partition, texts[begin : begin + count])
            begin += count
        return True

    def _check(self, topic: str) -> None:
        if topic not in self._partitions:
            raise UnreadableRecord(
                "reply_topic_refused",
                f"The reply topic {topic} does not exist or takes no records: create it with codewell topics, let "
                "issuers write to it, and replay this dead letter.",
            )

    def reply(
        self, record: ConsumerRecord, event_type: str, event_id: str, moment: datetime, key: str, data: str, *,
        structured: bool,
    ) -> None:  # fmt: skip
        """Add the answer to a report, in its CloudEvents mode and on its partition. `data` is JSON text."""
        value, headers = answer_record(event_type, event_id, moment, data, NO_OPTIONS, structured=structured)
        self._add(_reply_topic(record.topic), record.partition, key.encode(), value.encode(), headers)

    def retry(self, record: ConsumerRecord, wait: Wait | None = None) -> None:
        """Add an event to its retry topic, with its attempt count, its wait and its first arrival time."""
        attempts = attempt_of(record)
        headers = [header for header in record.headers if header[0] not in _RETRY_HEADERS]
        first_at = dict(record.headers).get(FIRST_AT_HEADER) if attempts else None
        if first_at is None:
            first_at = record_time(record, datetime.now(UTC)).isoformat().encode()
        headers.append((FIRST_AT_HEADER, first_at))
        if wait is not None:
            headers.append((GIVE_UP_AT_HEADER, wait.until.isoformat().encode()))
            if wait.since is not None:
                headers.append((WAITS_SINCE_HEADER, wait.since.isoformat().encode()))
        headers.append((ATTEMPT_HEADER, str(attempts + 1).encode()))
        topic = topics.retry_of(request_topic(record.topic))
        RETRIES.inc()
        self._add(topic, record.partition, record.key, record.value, encode_headers(headers))

    def dead_letter(self, record: ConsumerRecord, why: UnreadableRecord, *, answered: bool = True) -> None:
        """Add the original record to the dead-letter topic, with the reason in its headers.

        With `answered`, a caller that waits for an answer gets a refusal.
        """
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
        self._add(topic, record.partition, record.key, record.value, encode_headers(headers))
        answer = rejection(record, why, self._reply_topics) if answered else None
        if answer is not None:
            self._reject(record, answer)

    def _reject(self, record: ConsumerRecord, answer: Rejection) -> None:
        options = answer.options
        topic = options.topic or _reply_topic(record.topic)
        if topic not in self._partitions:
            return
        ANSWERS.labels("refused").inc()
        REFUSALS.labels("invalid_request").inc()
        partition = self._asked_partition(topic, options.partition, record.partition)
        # A topic that is compacted takes no record without a key.
        self._add(topic, partition, record.key or b"", answer.value.encode(), answer.headers)

    async def flush(self) -> None:
        """Publish all records and wait until they are acknowledged. Raises what aiokafka raises."""
        await self._batches.send()

    def _asked_partition(self, topic: str, asked: int | None, usual: int) -> int:
        """The partition that the request asks for, or the usual one if the topic has no such partition."""
        if asked is None or topic not in self._partitions:
            return usual
        if asked < self._partitions[topic]:
            return asked
        UNKNOWN_PARTITIONS.inc()
        return usual

    def _add(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: bytes) -> None:
        self._batches.add(topic, partition % self._partitions[topic], key, value, headers)


@lru_cache(maxsize=16)  # Uncached, it takes 1/40 of the time of an answer.
def _reply_topic(topic: str) -> str:
    return topics.reply_to(request_topic(topic))


def _latin1(texts: list[str]) -> list[str]:
    """Texts whose characters are the bytes of these."""
    # To look through all of them at once takes a fifth of the time.
    return texts if "".join(texts).isascii() else [text.encode().decode("latin-1") for text in texts]


def request_topic(topic: str) -> str:
    """The request topic of a request topic or of its retry topic."""
    return topic.removesuffix(_RETRY_SUFFIX)
