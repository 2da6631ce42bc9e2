"""Every byte that the issuer sends for some fixed records: answers, refusals, requests that wait, dead letters.

Records go the whole way from Kafka's bytes to Kafka's bytes, with a stock that is given instead of a database.
"""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.record.default_records import DefaultRecordBatch

from codewell.infra.kafka.batch_reader import ParsedRecord
from codewell.infra.kafka.partition_records import Record
from codewell.infra.kafka.record_encoding import RecordBatch
from codewell.issuing.assignment_keys import assignment_key
from codewell.issuing.decide import decide
from codewell.issuing.model import AssignmentKey, PooledCode, Request
from codewell.issuing.reply import answer_id
from codewell.issuing.waits import Wait
from codewell.pool.demand import LowPool
from codewell.pool.program_rules import ProgramRules
from schemas.events import MESSAGE_RENDER, SCENARIO_STEP
from schemas.topics import REQUEST_TYPE, TOPICS, retry_of
from services.issuer.batch_publisher import BatchPublisher
from services.issuer.decode import Decoder
from services.issuer.demand_publisher import DemandPublisher
from services.issuer.unreadable_record import UnreadableRecord
from tests.support.factories import NOW, rules, stock

_ID: Final = "0198f3a0-0000-7000-8000-0000000000{:02x}"
_REPLY_TOPIC: Final = "campaigns.answers"
_HELD: Final = PooledCode(7, 3, "HELD-1", None, None)
# Of this moment, or drawn: they have their form in the snapshot, not their value.
_VARYING: Final = {"codewell_time": b"(time)"}
_Headers = Sequence[tuple[str, bytes]]

_PROGRAMS: Final = [
    rules("SPRING"),
    rules("GIFT", id=2),
    rules("OFF", id=3, active=False),
    rules("SOON", id=4, valid_from=NOW + timedelta(days=1)),
    rules("ENDED", id=5, valid_until=NOW),
    rules("EMPTY", id=6, room=1),
    rules("FULL", id=7, room=0),
    rules("AGAIN", id=8, reuse="profile"),
    rules("REMOTE", id=9, room=5, campaign_can_create=True, codes_from="remote"),
]
_STEP: Final = {"profile_id": "p-1001", "scenario_id": "welcome", "step_id": "s-3", "program": "SPRING"}
_AWKWARD: Final = 'Zoë "quoted" \\ </script> 🎁 \u2028 \u202e'


def _message(*programs: str, **more: Any) -> dict[str, Any]:
    return {"profile_id": "p-1001", "campaign_id": "spring", "programs": programs, **more}


_TEMPLATE: Final = "{loyalty.SPRING.promocode}, {loyalty.GIFT.promocode} and {loyalty.SPRING.promocode}"
_DECIDED: Final[dict[str, dict[str, Any]]] = {
    "attached": _message("SPRING"),
    "attached from two programs and rendered": _message("SPRING", "GIFT", template=_TEMPLATE),
    "attached again": _message("AGAIN"),
    "attached to a profile with an awkward id": _message(
        "SPRING", profile_id=_AWKWARD, template=f"{_AWKWARD}{_TEMPLATE}"
    ),
    "attached in a step": _STEP,
    "attached with placeholders that stay": _message(
        "SPRING", template="{loyalty.SPRING.promocode} {loyalty.SPRING.x}"
    ),
    "preview": _message("SPRING", template=_TEMPLATE, preview=True),
    "preview of a step": {**_STEP, "preview": True},
    "preview refused": _message("ENDED", preview=True),
    "refused": _message("OFF"),
    "refused in a step": {**_STEP, "program": "EMPTY"},
    "refused for several reasons": _message("NONE", "OFF", "SOON", "ENDED"),
    "refused with an empty pool": _message("EMPTY"),
    "refused at the maximum": _message("FULL"),
    "refused after its deadline": _message("SPRING", "NONE", deadline="2026-12-01T09:00:00Z"),
}
_OF_ANSWERS: Final[dict[str, list[tuple[str, bytes]]]] = {
    "kafka_correlationId": [("kafka_correlationId", b"\x00\xff c-1")],
    "kafka_replyTopic": [("kafka_replyTopic", _REPLY_TOPIC.encode())],
    "kafka_replyPartition": [("kafka_replyTopic", _REPLY_TOPIC.encode()), ("kafka_replyPartition", b"\0\0\0\1")],
    "extensions": [("ce_partitionkey", b"p"), ("ce_correlationid", b"flow"), ("ce_causationid", b"order-1")],
}
_UNREADABLE: Final[dict[str, tuple[bytes | None, dict[str, bytes]]]] = {
    "empty value": (None, {}),
    "not JSON": (b"{", {}),
    "no programs": (json.dumps(_message()).encode(), {}),
    "another type": (json.dumps(_STEP).encode(), {"ce_type": SCENARIO_STEP.encode()}),
    "no id": (json.dumps(_message("SPRING")).encode(), {"ce_id": b""}),
    "an id that is no UUID": (json.dumps(_message("SPRING")).encode(), {"ce_id": b"1"}),
    "another version": (json.dumps(_message("SPRING")).encode(), {"ce_specversion": b"0.3"}),
    "a topic that is not allowed": (json.dumps(_message("SPRING")).encode(), {"kafka_replyTopic": b"elsewhere"}),
    "a caller waits": (
        json.dumps(_message("SPRING")).encode(),
        {"ce_id": b"", "kafka_replyTopic": _REPLY_TOPIC.encode(), "kafka_correlationId": b"c-1"},
    ),
    "too large": (b" " * (1024 * 1024 + 1), {}),
}


class _Producer:
    """Notes what it is to send instead of sending it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def send_batch(self, batch: RecordBatch, topic: str, partition: int) -> asyncio.Future[None]:
        for record in DefaultRecordBatch(batch._build()):
            self._note(f"{topic}, partition {partition}", record.key, record.value, record.headers)
        return self._sent()

    async def send(self, topic: str, value: bytes, *, key: bytes, headers: _Headers) -> asyncio.Future[None]:
        self._note(topic, key, value, [(name, b"(UUID)" if name == "ce_id" else text) for name, text in headers])
        return self._sent()

    def _note(self, place: str, key: bytes | None, value: bytes | None, headers: _Headers) -> None:
        self.lines += [f"topic: {place}", f"key: {_text(key)}"]
        self.lines += [f"header: {name}: {_text(_VARYING.get(name, text))}" for name, text in headers]
        self.lines += [f"value: {_text(value)}", ""]

    @staticmethod
    def _sent() -> asyncio.Future[None]:
        sent = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        return sent


def files() -> dict[str, str]:
    """Answers in both modes, and what else leaves an issuer."""
    return {
        "answers/binary.txt": asyncio.run(_answers(structured=False)),
        "answers/structured.txt": asyncio.run(_answers(structured=True)),
        "answers/others.txt": asyncio.run(_others()),
        "answers/ids.txt": "".join(f"{_ID.format(n)} {answer_id(_uuid(n))}\n" for n in range(8)),
    }


def _uuid(n: int) -> Any:
    return _decoder().decode(_record(_ID.format(n), _message("SPRING"))).request.id


def _decoder() -> Decoder:
    types = {**REQUEST_TYPE, **{retry_of(name): kind for name, kind in REQUEST_TYPE.items()}}
    return Decoder(types, frozenset({_REPLY_TOPIC}))


def _publisher(producer: Any) -> BatchPublisher:
    partitions = {**{topic.name: topic.partitions for topic in TOPICS}, _REPLY_TOPIC: 2}
    return BatchPublisher(producer, partitions, frozenset({_REPLY_TOPIC}))


async def _answers(*, structured: bool) -> str:
    cases: list[tuple[str, dict[str, Any], _Headers]] = [(name, data, []) for name, data in _DECIDED.items()]
    cases += [(f"attached, {name}", _message("SPRING"), headers) for name, headers in _OF_ANSWERS.items()]
    lines: list[str] = []
    for n, (name, data, headers) in enumerate(cases):
        producer = _Producer()
        publisher = _publisher(producer)
        record = _record(_ID.format(n), data, headers, structured=structured)
        [plain] = _decoder().decode_plain([_as_fetched(record)])
        received = plain or _decoder().decode(record)
        request = received.request
        known = {program.name: program for program in _PROGRAMS}
        stocks = {program.id: stock(0 if program.name in {"EMPTY", "FULL"} else 5) for program in _PROGRAMS}
        stocks[1] = stock(5, expires_at=NOW + timedelta(days=22), fields='{"discount": "10 €"}')
        held: dict[AssignmentKey, PooledCode] = {assignment_key(known["AGAIN"], request.event): _HELD}
        decision = decide([request], known, stocks, held, NOW, _look)
        names = {program.id: program.name for program in _PROGRAMS}
        if plain is not None and decision.runs:
            assert publisher.answer_plain([plain], [(decision.runs[0], 0)], names)
        else:
            publisher.answer(received, decision.rows, names)
        await publisher.flush()
        lines += [f"== {name}", *producer.lines]
    return "\n".join(lines)


def _as_fetched(record: ConsumerRecord) -> Record:
    raw = ParsedRecord(record.offset, record.timestamp, record.key, record.value, list(record.headers))
    return Record(TopicPartition(record.topic, record.partition), raw)


def _look(program: ProgramRules, _: Request) -> str:
    return f"LOOK-{program.name}"


async def _others() -> str:
    return "\n".join([*await _waiting(), *await _dead_letters(), *await _demand()])


async def _waiting() -> list[str]:
    attempted = [("codewell_attempt", b"3"), ("codewell_first_at", b"2026-12-01T09:59:58.125000+00:00")]
    of_service = Wait(NOW + timedelta(seconds=30), NOW)
    waited = [*attempted, ("codewell_give_up_at", b"2026-12-01T10:00:31+00:00"), ("codewell_waits_since", b"then")]
    cases = {
        "waits for the first time": ("message-render", [("x-own", b"1")], None),
        "waits again": (retry_of("message-render"), attempted, None),
        "waits for a remote service": ("message-render", [], of_service),
        "waits for it again": (retry_of("message-render"), waited, of_service),
    }
    lines: list[str] = []
    for name, (topic, headers, wait) in cases.items():
        producer = _Producer()
        publisher = _publisher(producer)
        received = _decoder().decode(_record(_ID.format(1), _message("SPRING"), headers, topic=topic))
        publisher.retry(received.record, wait)
        await publisher.flush()
        lines += [f"== {name}", *producer.lines]
    return lines


async def _dead_letters() -> list[str]:
    lines: list[str] = []
    for name, (value, changed) in _UNREADABLE.items():
        producer = _Producer()
        publisher = _publisher(producer)
        headers = {"ce_specversion": b"1.0", "ce_id": _ID.format(1).encode(), "ce_type": MESSAGE_RENDER.encode()}
        record = _of_kafka("message-render", value, [*(headers | changed).items()])
        try:
            _decoder().decode(record)
        except UnreadableRecord as why:
            publisher.dead_letter(record, why)
        await publisher.flush()
        lines += [f"== {name}", *producer.lines]
    return lines


async def _demand() -> list[str]:
    producer: Any = _Producer()
    await DemandPublisher(producer, "pool-demand", 1.0).publish({1: LowPool(40, is_urgent=True)})
    return ["== pool under its mark", *producer.lines]


def _record(
    event_id: str,
    data: dict[str, Any],
    more: _Headers = (),
    *,
    structured: bool = False,
    topic: str | None = None,
) -> ConsumerRecord:
    kind = SCENARIO_STEP if "step_id" in data else MESSAGE_RENDER
    names = {event_type: name for name, event_type in REQUEST_TYPE.items()}
    attributes = {"specversion": "1.0", "id": event_id, "source": "/campaigns", "type": kind}
    if structured:
        value = json.dumps({**attributes, "data": data}).encode()
        headers = [("content-type", b"application/cloudevents+json")]
    else:
        value = json.dumps(data).encode()
        headers = [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
    return _of_kafka(topic or names[kind], value, [*headers, *more])


def _of_kafka(topic: str, value: bytes | None, headers: _Headers) -> ConsumerRecord:
    sent_at_ms = int(NOW.timestamp() * 1000)
    return ConsumerRecord(topic, 30, 42, sent_at_ms, 0, b"p-1001", value, None, 6, 0, tuple(headers))


def _text(given: bytes | None) -> str:
    """Text as it is; what is none, or would not show, by its bytes. Long values by their size."""
    if given is None:
        return "(null)"
    if not given:
        return "(empty)"
    if len(given) > 10_000:
        return f"({len(given)} bytes)"
    try:
        text = given.decode()
    except UnicodeDecodeError:
        return repr(given)
    return repr(given) if "\n" in text or "\r" in text else text
