"""Answers to records that become dead letters, for callers that wait for a reply."""

import json
from codecs import BOM_UTF8
from contextlib import suppress
from typing import Any, Final, NamedTuple

from aiokafka import ConsumerRecord
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from codewell.infra.kafka.cloud_events import is_structured
from codewell.infra.kafka.record_time import record_time
from codewell.issuing.reply import answer_id
from schemas.events import CODES_REFUSED, VALUE_BYTES_MAX, Id
from services.issuer.answer_records import answer_record
from services.issuer.decode import event_id_of
from services.issuer.reply_options import ReplyOptions, caller_options, extensions_in_event, extensions_in_headers
from services.issuer.unreadable_record import UnreadableRecord

_ID: Final = TypeAdapter[str](Id)


class Rejection(NamedTuple):
    """The record of a refusal, and the caller's options, of which it follows the topic and the partition."""

    options: ReplyOptions
    value: str
    headers: bytes
    """Encoded."""


def rejection(record: ConsumerRecord, why: UnreadableRecord, allowed: frozenset[str]) -> Rejection | None:
    """The refusal of a record that becomes a dead letter, for a caller that waits for it; None for other senders.

    Deterministic, as answers are: its id follows from the record's place, and its time is the record's. The id of the
    request's answer is left to a replay of the dead letter, which may be answered with codes.
    """
    headers = dict(record.headers)
    value = (record.value or b"").removeprefix(BOM_UTF8)
    if len(value) > VALUE_BYTES_MAX:
        value = b""
    structured = is_structured(headers, value)
    event = _object(value)
    if structured:
        data, event_id, extensions = event.get("data"), event.get("id"), extensions_in_event(event)
    else:
        data, event_id = event, (headers.get("ce_id") or b"").decode("utf-8", "replace")
        extensions = extensions_in_headers(headers)
    request_id = _request_id(event_id)
    options = caller_options(headers, extensions, request_id, allowed)
    if options is None:
        return None
    refusal = {"program": None, "reason": "invalid_request", "detail": f"{why.reason}: {why.detail}"}
    text = json.dumps(
        {"request_id": request_id, "profile_id": _profile_id(data), "outcome": "refused", "refusals": [refusal]},
        ensure_ascii=False,
        separators=(",", ":"),
    )
    place = answer_id(f"{record.topic}:{record.partition}:{record.offset}")
    answer = answer_record(CODES_REFUSED, place, record_time(record), text, options, structured=structured)
    return Rejection(options, *answer)


def _object(value: bytes) -> dict[str, Any]:
    with suppress(ValueError):
        parsed = from_json(value)
        if isinstance(parsed, dict):
            return parsed
    return {}


def _request_id(event_id: object) -> str | None:
    with suppress(UnreadableRecord):
        return str(event_id_of(event_id)) if isinstance(event_id, str) else None
    return None


def _profile_id(data: object) -> str | None:
    with suppress(ValidationError):
        return _ID.validate_python(data.get("profile_id")) if isinstance(data, dict) else None
    return None
