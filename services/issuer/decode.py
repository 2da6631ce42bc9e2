"""Decodes Kafka records into requests, and says why a record is unreadable."""

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

GIVE_UP_AT_HEADER: Final = "codewell_give_up_at"
ATTEMPT_HEADER: Final = "codewell_attempt"
RETRIES_MAX: Final = 10_000
STRUCTURED_CONTENT_TYPE: Final = b"application/cloudevents+json"
CORRELATION_ID_BYTES_MAX: Final = 4 * 1024
RENDERED_BYTES_MAX: Final = 768 * 1024
CODE_BYTES_MAX: Final = 4 * CODE_CHARACTERS_MAX
_UUID_CHARACTERS: Final = 36
_RETRY_SUFFIX: Final = topics.retry_of("")
_ATTEMPT_DIGITS_MAX: Final = 9
# The deadline of a request without retries left: always in the past, so that the claim refuses instead of deferring.
_DEADLINE_PASSED: Final = datetime.min.replace(tzinfo=UTC)

# The validators that model_validate_json calls; its own overhead was a quarter of the validation time.
_VALIDATE: Final[dict[str, Callable[[bytes], MessageRender | ScenarioStep]]] = {
    MESSAGE_RENDER: MessageRender.__pydantic_validator__.validate_json,
    SCENARIO_STEP: ScenarioStep.__pydantic_validator__.validate_json,
}


class ReceivedRequest(NamedTuple):
    """A request with its Kafka record and the sender's choices for the answer."""

    request: Request
    record: ConsumerRecord
    structured: bool
    reply_topic: str | None
    """Topic for the answer, from the header kafka_replyTopic; None for the topic's own reply topic."""
    correlation_id: bytes | None


class UnreadableRecord(Exception):
    """A record that is dead-lettered. `reason` is a value of the contract, `detail` a sentence for people."""

    def __init__(self, reason: DeadReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Decoder:
    """Decodes records of request topics. `request_types` maps each topic to the event type that it carries.

    A request that was retried `retries_max` times gets a deadline in the past.
    """

    def __init__(
        self, request_types: Mapping[str, str], reply_topics: frozenset[str], retries_max: int = RETRIES_MAX
    ) -> None:
        self._request_types = request_types
        self._reply_topics = reply_topics
        self._retries_max = retries_max

    def decode(self, record: ConsumerRecord) -> ReceivedRequest:
        """Decode one record. Raises UnreadableRecord when it is no valid request."""
        headers = dict(record.headers)
        value = record.value
        if not value:
            raise UnreadableRecord("not_json", "The value is empty; it must be the event's data as JSON.")
        if len(value) > VALUE_BYTES_MAX:
            raise UnreadableRecord(
                "too_large", f"The value has {len(value)} bytes; at most {VALUE_BYTES_MAX} are allowed."
            )
        content_type = headers.get("content-type")
        structured = content_type is not None and content_type.lower().startswith(STRUCTURED_CONTENT_TYPE)
        try:
            if structured:
                event_id, event_type, value = _unwrap_structured(value)
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
            raise _unreadable_from(error) from error
        if isinstance(event, MessageRender) and event.template is not None:
            _check_rendered_size(event.template)
        deadline = headers.get(GIVE_UP_AT_HEADER)
        give_up_at = None if deadline is None else _give_up_at(deadline, record.topic)
        if ATTEMPT_HEADER in headers and attempt_of(record) >= self._retries_max:
            give_up_at = _DEADLINE_PASSED
        request = Request(_event_id(event_id), event, event.program_names, give_up_at)
        correlation_id = headers.get("kafka_correlationId")
        if correlation_id is not None and len(correlation_id) > CORRELATION_ID_BYTES_MAX:
            raise UnreadableRecord("too_large", f"kafka_correlationId has more than {CORRELATION_ID_BYTES_MAX} bytes.")
        wanted = headers.get("kafka_replyTopic")
        reply_topic = None if wanted is None else self._reply_topic(wanted)
        return ReceivedRequest(request, record, structured, reply_topic, correlation_id)

    def is_last_attempt(self, record: ConsumerRecord) -> bool:
        """Whether the request has no retries left."""
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


def _check_rendered_size(template: str) -> None:
    """Refuse a template whose rendered text could exceed the broker's message size limit: it could not be answered."""
    placeholders = len(PLACEHOLDER.findall(template))
    if len(template.encode()) + placeholders * CODE_BYTES_MAX > RENDERED_BYTES_MAX:
        raise UnreadableRecord("too_large", f"The template with its {placeholders} codes would be too long to send.")


def _attribute(headers: Mapping[str, bytes | None], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise UnreadableRecord("invalid_event", f"The header {name} is missing.")
    return value.decode("utf-8", "replace")


def _event_id(text: str) -> UUID:
    try:
        # asyncpg's UUID is several times as fast as uuid.UUID, but accepts dashes at any position.
        if len(text) == _UUID_CHARACTERS and text[8] == text[13] == text[18] == text[23] == "-":
            return UUID(text)
    except ValueError:
        pass
    raise UnreadableRecord("invalid_event", f"The event's id must be a UUID, not {text[:200]!r}.")


def attempt_of(record: ConsumerRecord) -> int:
    """Retries so far. The header counts in retry topics only; elsewhere it is the sender's and is ignored."""
    if not record.topic.endswith(_RETRY_SUFFIX):
        return 0
    text = dict(record.headers).get(ATTEMPT_HEADER) or b"0"
    return int(text) if text.isdigit() and len(text) <= _ATTEMPT_DIGITS_MAX else 0


def _give_up_at(text: bytes, topic: str) -> datetime | None:
    """The retry deadline that the issuer wrote. As `attempt_of`, it ignores a sender's header."""
    if not topic.endswith(_RETRY_SUFFIX):
        return None
    try:
        deadline = datetime.fromisoformat(text.decode("ascii"))
    except ValueError:
        return None
    return deadline if deadline.tzinfo is not None else None


def _unwrap_structured(value: bytes) -> tuple[str, str, bytes]:
    """Return id, type and data of an event in structured mode."""
    envelope = CloudEvent.model_validate_json(value)
    if envelope.data_base64 is None:
        return envelope.id, envelope.type, to_json(envelope.data)
    try:
        return envelope.id, envelope.type, b64decode(envelope.data_base64, validate=True)
    except ValueError as error:
        raise UnreadableRecord("invalid_event", "data_base64 is not base64.") from error


def _unreadable_from(error: ValidationError) -> UnreadableRecord:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return UnreadableRecord("not_json", f"The value is not valid JSON: {first['msg']}.")
    where = ".".join(str(part) for part in first["loc"])
    return UnreadableRecord("invalid_event", f"{where or 'The data'}: {first['msg']}."[:500])
