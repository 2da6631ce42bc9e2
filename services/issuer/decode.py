"""A record becomes a request, or a dead letter that says why it can't be read."""

from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from aiokafka import ConsumerRecord
from asyncpg.pgproto.pgproto import UUID
from pydantic import ValidationError
from pydantic_core import to_json

from codewell.issuing.model import Request
from codewell.minting.template import CODE_CHARACTERS_MAX
from schemas import topics
from schemas.events import (
    MESSAGE_RENDER,
    PLACEHOLDER,
    SCENARIO_STEP,
    VALUE_BYTES_MAX,
    CloudEvent,
    DeadReason,
    MessageRender,
    ScenarioStep,
)

GIVE_UP_AT: Final = "codewell_give_up_at"
ATTEMPT: Final = "codewell_attempt"
RETRIES_MAX: Final = 10_000
STRUCTURED: Final = b"application/cloudevents+json"
CORRELATION_ID_BYTES_MAX: Final = 4 * 1024
RENDERED_BYTES_MAX: Final = 768 * 1024
CODE_BYTES_MAX: Final = 4 * CODE_CHARACTERS_MAX
_UUID_CHARACTERS: Final = 36
_RETRY_SUFFIX: Final = topics.retry_of("")
_ATTEMPT_DIGITS_MAX: Final = 9
# Of a request that may wait no more: whatever it waits for, the time for that is over.
_OVER: Final = datetime.min.replace(tzinfo=UTC)

# What model_validate_json calls: its own lines, and to look it up, cost a quarter of the validation.
_VALIDATE: Final[dict[str, Callable[[bytes], MessageRender | ScenarioStep]]] = {
    MESSAGE_RENDER: MessageRender.__pydantic_validator__.validate_json,
    SCENARIO_STEP: ScenarioStep.__pydantic_validator__.validate_json,
}


class ReceivedRequest(NamedTuple):
    """A request, the record that brought it, and how its sender wants the answer."""

    request: Request
    record: ConsumerRecord
    structured: bool
    reply_topic: str | None
    """Where the sender wants the answer instead of the usual place."""
    correlation_id: bytes | None


class UnreadableRecord(Exception):
    """Why a record can't be answered: one word of the contract, and a sentence."""

    def __init__(self, reason: DeadReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Decoder:
    """Reads records of request topics. `request_types` gives the one event type that each topic carries.

    A request that has waited `retries_max` times is read as one that waits no longer.
    """

    def __init__(
        self, request_types: Mapping[str, str], reply_topics: frozenset[str], retries_max: int = RETRIES_MAX
    ) -> None:
        self._request_types = request_types
        self._reply_topics = reply_topics
        self._retries_max = retries_max

    def read(self, record: ConsumerRecord) -> ReceivedRequest:
        """Raise Unreadable when the record is no request."""
        headers = dict(record.headers)
        value = record.value
        if not value:
            raise UnreadableRecord("not_json", "The value is empty; it must be the event's data as JSON.")
        if len(value) > VALUE_BYTES_MAX:
            raise UnreadableRecord(
                "too_large", f"The value has {len(value)} bytes; at most {VALUE_BYTES_MAX} are allowed."
            )
        content_type = headers.get("content-type")
        structured = content_type is not None and content_type.lower().startswith(STRUCTURED)
        try:
            if structured:
                event_id, event_type, value = _opened(value)
            else:
                event_id, event_type = _attribute(headers, "ce_id"), _attribute(headers, "ce_type")
                if headers.get("ce_specversion", b"1.0") != b"1.0":
                    raise UnreadableRecord("invalid_event", "ce_specversion must be 1.0.")
            expected = self._request_types[record.topic]
            if event_type != expected:
                raise UnreadableRecord(
                    "unknown_type",
                    f"The type {event_type[:200]!r} is not read from this topic; it must be {expected}.",
                )
            event = _VALIDATE[event_type](value)
        except ValidationError as error:
            raise _unreadable(error) from error
        if isinstance(event, MessageRender) and event.template is not None:
            _check_rendered(event.template)
        waits_until = headers.get(GIVE_UP_AT)
        give_up_at = None if waits_until is None else _moment(waits_until, record.topic)
        if ATTEMPT in headers and attempt_of(record) >= self._retries_max:
            give_up_at = _OVER
        request = Request(_uuid(event_id), event, event.program_names, give_up_at)
        correlation_id = headers.get("kafka_correlationId")
        if correlation_id is not None and len(correlation_id) > CORRELATION_ID_BYTES_MAX:
            raise UnreadableRecord("too_large", f"kafka_correlationId has more than {CORRELATION_ID_BYTES_MAX} bytes.")
        wanted = headers.get("kafka_replyTopic")
        reply_topic = None if wanted is None else self._reply_topic(wanted)
        return ReceivedRequest(request, record, structured, reply_topic, correlation_id)

    def is_last(self, record: ConsumerRecord) -> bool:
        """Whether a request may not be let wait once more."""
        return attempt_of(record) >= self._retries_max

    def _reply_topic(self, wanted: bytes) -> str:
        topic = wanted.decode("utf-8", "replace")
        if topic not in self._reply_topics:
            raise UnreadableRecord(
                "reply_topic_refused",
                f"Answers to {topic[:200]!r} are not allowed: the operator can allow the topic in "
                "CODEWELL_REPLY_TOPICS.",
            )
        return topic


def _check_rendered(template: str) -> None:
    """Refuse a template whose rendered text would be larger than the broker takes, for then nobody could answer it."""
    placeholders = len(PLACEHOLDER.findall(template))
    if len(template.encode()) + placeholders * CODE_BYTES_MAX > RENDERED_BYTES_MAX:
        raise UnreadableRecord("too_large", f"The template with its {placeholders} codes would be too long to send.")


def _attribute(headers: Mapping[str, bytes | None], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise UnreadableRecord("invalid_event", f"The header {name} is missing.")
    return value.decode("utf-8", "replace")


def _uuid(text: str) -> UUID:
    try:
        # asyncpg's own class is several times as fast as uuid.UUID, but lets four dashes stand anywhere.
        if len(text) == _UUID_CHARACTERS and text[8] == text[13] == text[18] == text[23] == "-":
            return UUID(text)
    except ValueError:
        pass
    raise UnreadableRecord("invalid_event", f"The event's id must be a UUID, not {text[:200]!r}.")


def attempt_of(record: ConsumerRecord) -> int:
    """How often a request has waited already. What a sender wrote says nothing."""
    if not record.topic.endswith(_RETRY_SUFFIX):
        return 0
    text = dict(record.headers).get(ATTEMPT) or b"0"
    return int(text) if text.isdigit() and len(text) <= _ATTEMPT_DIGITS_MAX else 0


def _moment(text: bytes, topic: str) -> datetime | None:
    """When a request stops waiting, as the outbox writes it into retry topics. What a sender wrote says nothing."""
    if not topic.endswith(_RETRY_SUFFIX):
        return None
    try:
        moment = datetime.fromisoformat(text.decode("ascii"))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _opened(value: bytes) -> tuple[str, str, bytes]:
    """Id, type and data of a structured event."""
    envelope = CloudEvent.model_validate_json(value)
    if envelope.data_base64 is None:
        return envelope.id, envelope.type, to_json(envelope.data)
    try:
        return envelope.id, envelope.type, b64decode(envelope.data_base64, validate=True)
    except ValueError as error:
        raise UnreadableRecord("invalid_event", "data_base64 is not base64.") from error


def _unreadable(error: ValidationError) -> UnreadableRecord:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return UnreadableRecord("not_json", f"The value is not valid JSON: {first['msg']}.")
    where = ".".join(str(part) for part in first["loc"])
    return UnreadableRecord("invalid_event", f"{where or 'The data'}: {first['msg']}."[:500])
