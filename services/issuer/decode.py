"""Decodes Kafka records into requests, and says why a record is unreadable."""

from base64 import b64decode
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from aiokafka import ConsumerRecord
from asyncpg.pgproto.pgproto import UUID
from pydantic import ValidationError
from pydantic_core import to_json

from codewell.infra.digits import whole_number
from codewell.infra.kafka.cloud_events import is_structured
from codewell.infra.kafka.partition_records import FaultyRecord
from codewell.issuing.model import Request
from codewell.issuing.waits import Wait
from codewell.minting.template import CODE_CHARACTERS_MAX
from codewell.validation import mistake, words_of
from schemas import topics
from schemas.events import (
    MESSAGE_RENDER,
    PLACEHOLDER,
    SCENARIO_STEP,
    VALUE_BYTES_MAX,
    CloudEvent,
    Event,
    MessageRender,
    ScenarioStep,
)
from services.issuer.plain_decoder import (
    ATTEMPT_HEADER,
    GIVE_UP_AT_HEADER,
    SELDOM_HEADERS,
    WAITS_SINCE_HEADER,
    decode_plain,
    uuid_of,
)
from services.issuer.received_request import AnyRequest, PlainRequest
from services.issuer.reply_options import (
    NO_EXTENSIONS,
    NO_OPTIONS,
    expiry_time,
    extensions_in_event,
    extensions_in_headers,
    read_options,
)
from services.issuer.unreadable_record import UnreadableRecord

RETRIES_MAX: Final = 10_000
RENDERED_BYTES_MAX: Final = 768 * 1024
CODE_BYTES_MAX: Final = 4 * CODE_CHARACTERS_MAX
_RETRY_SUFFIX: Final = topics.retry_of("")
_ATTEMPT_DIGITS_MAX: Final = 9
# The deadline of a request without retries left: always in the past, so that the claim refuses instead of deferring.
_DEADLINE_PASSED: Final = datetime.min.replace(tzinfo=UTC)

# The validators that model_validate_json calls; its own overhead was a quarter of the validation time.
_VALIDATE: Final[dict[str, Callable[[bytes], MessageRender | ScenarioStep]]] = {
    MESSAGE_RENDER: MessageRender.__pydantic_validator__.validate_json,
    SCENARIO_STEP: ScenarioStep.__pydantic_validator__.validate_json,
}


class Decoder:
    """Decodes records of request topics. `request_types` maps each topic to the event type that it carries.

    A request that was retried `retries_max` times gets a deadline in the past.
    """

    def __init__(
        self, request_types: Mapping[str, str], reply_topics: frozenset[str], retries_max: int = RETRIES_MAX
    ) -> None:
        self._event_types = dict(request_types)
        self._reply_topics = reply_topics
        self._retries_max = retries_max

    def decode(self, record: ConsumerRecord) -> AnyRequest:
        """Decode one record in any form. Raises UnreadableRecord when it is no valid request."""
        headers = dict(record.headers)
        value = _value_of(record)
        envelope: CloudEvent | None = None
        expected = self._event_types[record.topic]
        structured = is_structured(headers, value)
        try:
            if structured:
                envelope = CloudEvent.model_validate_json(value)
                event_id, event_type, value = envelope.id, envelope.type, data_of(envelope)
            else:
                event_id = attribute(headers, "ce_id")
                event_type = attribute(headers, "ce_type")
                if headers.get("ce_specversion", b"1.0") != b"1.0":
                    raise UnreadableRecord("invalid_event", "ce_specversion must be 1.0.")
            if event_type != expected:
                raise UnreadableRecord(
                    "unknown_type",
                    f"The type {event_type[:200]!r} is not read from this topic; it must be {expected}.",
                )
            event = _VALIDATE[expected](value)
        except ValidationError as error:
            raise unreadable_from(error) from error
        if isinstance(event, MessageRender) and event.template is not None:
            _check_rendered_size(event.template)
        # `_make` takes half the time of the constructor.
        request = Request._make((event_id_of(event_id), event, event.program_names, None, None))
        extensions = NO_EXTENSIONS if envelope is None else extensions_in_event(vars(envelope))
        # Most requests have none of these, and one look for all of them is cheaper than one for each.
        if not extensions and SELDOM_HEADERS.isdisjoint(headers):
            return AnyRequest._make((request, record, structured, NO_OPTIONS))
        if envelope is None:
            extensions = extensions_in_headers(headers)
        options = read_options(headers, extensions, str(request.id), self._reply_topics)
        return AnyRequest(self._with_deadlines(request, record, headers, extensions), record, structured, options)

    def decode_plain(self, records: Sequence[ConsumerRecord]) -> list[PlainRequest | None]:
        """The plain requests among records of one topic, None for each other (see `plain_decoder`)."""
        return decode_plain(records, self._event_types) if records else []

    def _with_deadlines(
        self,
        request: Request,
        record: ConsumerRecord,
        headers: Mapping[str, bytes | None],
        extensions: Mapping[str, str],
    ) -> Request:
        """The request with the deadline of its extension, if its data has none, and with its wait so far."""
        event = request.event
        if isinstance(event, Event) and event.deadline is None and (expires_at := expiry_time(extensions)) is not None:
            request = request._replace(event=event.model_copy(update={"deadline": expires_at}))
        until = _time_in(headers.get(GIVE_UP_AT_HEADER), record.topic)
        wait = None if until is None else Wait(until, _time_in(headers.get(WAITS_SINCE_HEADER), record.topic))
        if ATTEMPT_HEADER in headers and attempt_of(record) >= self._retries_max:
            wait = Wait(_DEADLINE_PASSED)
        return request if wait is None else request._replace(wait=wait)

    def is_last_attempt(self, record: ConsumerRecord) -> bool:
        """Whether the request has no retries left."""
        return attempt_of(record) >= self._retries_max


def _value_of(record: ConsumerRecord) -> bytes:
    """The record's value without a byte order mark. Raises UnreadableRecord."""
    check_readable(record)
    if not record.value:
        raise UnreadableRecord("not_json", "The value is empty; it must be the event's data as JSON.")
    if len(record.value) > VALUE_BYTES_MAX:
        raise UnreadableRecord(
            "too_large", f"The value has {len(record.value)} bytes; at most {VALUE_BYTES_MAX} are allowed."
        )
    return bytes(record.value).removeprefix(BOM_UTF8)


def check_readable(record: ConsumerRecord) -> None:
    """Raise UnreadableRecord for a record that the client could not read."""
    if isinstance(record, FaultyRecord):
        raise UnreadableRecord("invalid_event", f"The record cannot be read: {record.fault}.")


def _check_rendered_size(template: str) -> None:
    """Refuse a template whose rendered text could exceed the broker's message size limit: it could not be answered."""
    placeholders = len(PLACEHOLDER.findall(template))
    if len(template.encode()) + placeholders * CODE_BYTES_MAX > RENDERED_BYTES_MAX:
        raise UnreadableRecord("too_large", f"The template with its {placeholders} codes would be too long to send.")


def attribute(headers: Mapping[str, bytes | None], name: str) -> str:
    """A required attribute of an event in binary mode. Raises UnreadableRecord."""
    value = headers.get(name)
    if value:
        return value.decode("utf-8", "replace")
    content_type = (headers.get("content-type") or b"").decode("utf-8", "replace")
    if content_type.lower().startswith("application/cloudevents"):
        raise UnreadableRecord(
            "invalid_event",
            f"Events as {content_type[:100]!r} are not read: send each in a record of its own, as "
            "application/cloudevents+json or with ce_ headers.",
        )
    raise UnreadableRecord("invalid_event", f"The header {name} is missing.")


def event_id_of(text: str) -> UUID:
    """The id of an event. Raises UnreadableRecord when it is no UUID."""
    id_ = uuid_of(text.encode("utf-8", "replace"))
    if id_ is None:
        raise UnreadableRecord("invalid_event", f"The event's id must be a UUID, not {text[:200]!r}.")
    return id_


def attempt_of(record: ConsumerRecord) -> int:
    """Retries so far. The header counts in retry topics only; elsewhere it is the sender's and is ignored."""
    if not record.topic.endswith(_RETRY_SUFFIX):
        return 0
    return whole_number(dict(record.headers).get(ATTEMPT_HEADER), _ATTEMPT_DIGITS_MAX) or 0


def _time_in(header: bytes | None, topic: str) -> datetime | None:
    """A time that the issuer wrote. As `attempt_of`, it ignores a sender's header."""
    if header is None or not topic.endswith(_RETRY_SUFFIX):
        return None
    try:
        moment = datetime.fromisoformat(header.decode("ascii"))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def data_of(envelope: CloudEvent) -> bytes:
    """The data of an event in structured mode, as JSON text. Raises UnreadableRecord."""
    if envelope.data_base64 is None:
        return to_json(envelope.data)
    try:
        return b64decode(envelope.data_base64, validate=True).removeprefix(BOM_UTF8)
    except ValueError as error:
        raise UnreadableRecord("invalid_event", "data_base64 is not base64.") from error


def unreadable_from(error: ValidationError) -> UnreadableRecord:
    """The reason why data is no valid event."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return UnreadableRecord("not_json", f"The value {words_of(first)}.")
    return UnreadableRecord("invalid_event", f"{mistake(first, 'The data')[:500]}.")
