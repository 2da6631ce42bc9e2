"""Decodes Kafka records that report what happened elsewhere, and says why a record is unreadable."""

from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from codewell.infra.kafka.cloud_events import is_structured
from codewell.infra.kafka.record_time import record_time
from schemas import topics
from schemas.events import DATA_OF_TYPE, VALUE_BYTES_MAX, CloudEvent, Event
from services.issuer.decode import attribute, check_readable, data_of, unreadable_from
from services.issuer.unreadable_record import UnreadableRecord

FIRST_AT_HEADER: Final = "codewell_first_at"
_RETRY_SUFFIX: Final = topics.retry_of("")


class ReportedEvent(NamedTuple):
    """A report with its Kafka record."""

    event: Event
    record: ConsumerRecord
    structured: bool
    first_at: datetime
    """When it arrived, before any retry."""


class ReportDecoder:
    """Decodes records of one topic and its retry topic, which carry events of these types."""

    def __init__(self, types: Sequence[str]) -> None:
        self._expected = " or ".join(types)
        self._validate = {one: DATA_OF_TYPE[one].__pydantic_validator__.validate_json for one in types}

    def decode(self, record: ConsumerRecord) -> ReportedEvent:
        """Decode one record. Raises UnreadableRecord when it is no valid report."""
        check_readable(record)
        headers = dict(record.headers)
        if not record.value:
            raise UnreadableRecord("not_json", "The value is empty; it must be the event's data as JSON.")
        if len(record.value) > VALUE_BYTES_MAX:
            raise UnreadableRecord(
                "too_large", f"The value has {len(record.value)} bytes; at most {VALUE_BYTES_MAX} are allowed."
            )
        value = record.value.removeprefix(BOM_UTF8)
        structured = is_structured(headers, value)
        try:
            if structured:
                envelope = CloudEvent.model_validate_json(value)
                event_type, value = envelope.type, data_of(envelope)
            else:
                attribute(headers, "ce_id")
                event_type = attribute(headers, "ce_type")
            validate = self._validate.get(event_type)
            if validate is None:
                raise UnreadableRecord(
                    "unknown_type",
                    f"The type {event_type[:200]!r} is not read from this topic; it must be {self._expected}.",
                )
            event = validate(value)
        except ValidationError as error:
            raise unreadable_from(error) from error
        return ReportedEvent(event, record, structured, _first_at(record, headers))


def _first_at(record: ConsumerRecord, headers: Mapping[str, bytes | None]) -> datetime:
    """When the record arrived first. The header counts in retry topics only; elsewhere it is the sender's."""
    written = headers.get(FIRST_AT_HEADER) if record.topic.endswith(_RETRY_SUFFIX) else None
    if written is not None:
        try:
            first_at = datetime.fromisoformat(written.decode("ascii"))
        except ValueError:
            return record_time(record)
        if first_at.tzinfo is not None:
            return first_at
    return record_time(record)
