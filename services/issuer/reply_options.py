"""What a request says about its answer: topic, partition, correlation id, and CloudEvents extensions to give back."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple

from pydantic import AwareDatetime, JsonValue, TypeAdapter, ValidationError

from services.issuer.unreadable_record import UnreadableRecord

CORRELATION_ID_HEADER: Final = "kafka_correlationId"
CORRELATION_ID_BYTES_MAX: Final = 4 * 1024
_REPLY_TOPIC_HEADER: Final = "kafka_replyTopic"
_REPLY_PARTITION_HEADER: Final = "kafka_replyPartition"
_EXPIRY_TIME: Final = "expirytime"
_CORRELATION_ID: Final = "correlationid"
_CAUSATION_ID: Final = "causationid"
_GIVEN_BACK: Final = ("partitionkey", _EXPIRY_TIME, _CORRELATION_ID)
_READ: Final = (*_GIVEN_BACK, _CAUSATION_ID)
OPTION_HEADERS: Final = frozenset(
    (_REPLY_TOPIC_HEADER, _REPLY_PARTITION_HEADER, CORRELATION_ID_HEADER, *(f"ce_{name}" for name in _READ))
)
_PARTITION_BYTES: Final = 4
_EXPIRY: Final = TypeAdapter[datetime](AwareDatetime)


class ReplyOptions(NamedTuple):
    """What an answer has beside the usual."""

    topic: str | None = None
    """From kafka_replyTopic; None for the request topic's own reply topic."""
    partition: int | None = None
    """Partition of `topic` from kafka_replyPartition, 0 or above; the topic may have fewer."""
    correlation_id: bytes | None = None
    extensions: tuple[tuple[str, str], ...] = ()
    """CloudEvents extensions of the answer. Header bytes that are not UTF-8 are escaped by surrogates."""


NO_OPTIONS: Final = ReplyOptions()
NO_EXTENSIONS: Final[Mapping[str, str]] = {}


def extensions_in_headers(headers: Mapping[str, bytes | None]) -> dict[str, str]:
    """The extensions that an event in binary mode has."""
    return {name: text.decode("utf-8", "surrogateescape") for name in _READ if (text := headers.get(f"ce_{name}"))}


def extensions_in_event(attributes: Mapping[str, JsonValue]) -> Mapping[str, str]:
    """The extensions that an event in structured mode has; what is no text, or an empty one, is none."""
    return {name: text for name in _READ if (text := attributes.get(name)) and isinstance(text, str)}


def read_options(
    headers: Mapping[str, bytes | None], extensions: Mapping[str, str], event_id: str | None, allowed: frozenset[str]
) -> ReplyOptions:
    """The options of a request; `allowed` are the reply topics that it may name.

    Raises UnreadableRecord for another topic, for a partition that is no number, and for a text that is too long.
    """
    topic = _topic(headers.get(_REPLY_TOPIC_HEADER), allowed)
    partition = None if topic is None else _partition(headers.get(_REPLY_PARTITION_HEADER))
    return ReplyOptions(topic, partition, _correlation_id(headers), _given_back(extensions, event_id))


def caller_options(
    headers: Mapping[str, bytes | None], extensions: Mapping[str, str], event_id: str | None, allowed: frozenset[str]
) -> ReplyOptions | None:
    """The options of a caller that waits for an answer: it names a topic and a correlation id. None for others.

    Wrong options are left out instead of raised.
    """
    try:
        topic, correlation_id = _topic(headers.get(_REPLY_TOPIC_HEADER), allowed), _correlation_id(headers)
    except UnreadableRecord:
        return None
    if topic is None or correlation_id is None:
        return None
    options = ReplyOptions(topic, None, correlation_id)
    with suppress(UnreadableRecord):
        options = options._replace(partition=_partition(headers.get(_REPLY_PARTITION_HEADER)))
    with suppress(UnreadableRecord):
        options = options._replace(extensions=_given_back(extensions, event_id))
    return options


def expiry_time(extensions: Mapping[str, str]) -> datetime | None:
    """The time at which the event expires, if it does. Raises UnreadableRecord for a text that is no time."""
    text = extensions.get(_EXPIRY_TIME)
    if text is None:
        return None
    try:
        return _EXPIRY.validate_strings(text, strict=True)
    except (ValidationError, UnicodeEncodeError) as error:
        raise UnreadableRecord(
            "invalid_event", f"{_EXPIRY_TIME} must be a time with its zone, as 2026-12-01T10:00:00Z is."
        ) from error


def _topic(named: bytes | None, allowed: frozenset[str]) -> str | None:
    if named is None:
        return None
    topic = named.decode("utf-8", "replace")
    if topic not in allowed:
        raise UnreadableRecord(
            "reply_topic_refused",
            f"Answers to {topic[:200]!r} are not allowed: the operator can allow the topic in CODEWELL_REPLY_TOPICS.",
        )
    return topic


def _partition(given: bytes | None) -> int | None:
    if given is None:
        return None
    partition = int.from_bytes(given, "big", signed=True) if len(given) == _PARTITION_BYTES else -1
    if partition < 0:
        raise UnreadableRecord(
            "invalid_event",
            f"{_REPLY_PARTITION_HEADER} must be a partition's number, 0 or above, in {_PARTITION_BYTES} bytes, "
            "big endian.",
        )
    return partition


def _correlation_id(headers: Mapping[str, bytes | None]) -> bytes | None:
    correlation_id = headers.get(CORRELATION_ID_HEADER)
    if correlation_id is not None and len(correlation_id) > CORRELATION_ID_BYTES_MAX:
        raise _too_long(CORRELATION_ID_HEADER)
    return correlation_id


def _given_back(extensions: Mapping[str, str], event_id: str | None) -> tuple[tuple[str, str], ...]:
    given_back = {name: extensions[name] for name in _GIVEN_BACK if name in extensions}
    for name, text in given_back.items():
        if len(text.encode("utf-8", "surrogateescape")) > CORRELATION_ID_BYTES_MAX:
            raise _too_long(name)
    if event_id is not None and (_CORRELATION_ID in extensions or _CAUSATION_ID in extensions):
        # By the extension's definition: the event that caused the answer is the request.
        given_back[_CAUSATION_ID] = event_id
    return tuple(given_back.items())


def _too_long(name: str) -> UnreadableRecord:
    return UnreadableRecord("too_large", f"{name} has more than {CORRELATION_ID_BYTES_MAX} bytes.")
