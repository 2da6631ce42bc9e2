"""Decodes the records that are as most are, in half the time: a plain event, in binary mode, without options."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from aiokafka import ConsumerRecord
from asyncpg.pgproto.pgproto import UUID

from codewell.infra.kafka.partition_records import Record
from codewell.issuing.model import Request
from schemas.events import MESSAGE_RENDER, SCENARIO_STEP, VALUE_BYTES_MAX
from schemas.plain_events import PlainRender, PlainStep, distinct_names, plain_renders, plain_steps
from services.issuer.received_request import ID_HEADER, PlainRequest
from services.issuer.reply_options import OPTION_HEADERS

GIVE_UP_AT_HEADER: Final = "codewell_give_up_at"
WAITS_SINCE_HEADER: Final = "codewell_waits_since"
ATTEMPT_HEADER: Final = "codewell_attempt"
SELDOM_HEADERS: Final = OPTION_HEADERS | {GIVE_UP_AT_HEADER, ATTEMPT_HEADER}
_UUID_CHARACTERS: Final = 36
_JSON: Final = b"application/json"
_CHECKED: Final = frozenset(("ce_type", "ce_specversion", "content-type"))
_READERS: Final[dict[str, Callable[[Sequence[bytes]], Sequence[PlainRender | PlainStep | None]]]] = {
    MESSAGE_RENDER: plain_renders,
    SCENARIO_STEP: plain_steps,
}
_new: Final = tuple.__new__


def decode_plain(records: Sequence[ConsumerRecord], event_types: Mapping[str, str]) -> list[PlainRequest | None]:
    """The request of each of these records of one partition; None for one that is not plain, or not valid.

    `event_types`: the event type by topic.
    """
    # A record that cannot be read has another class.
    if not all(record.__class__ is Record for record in records):
        return [None] * len(records)
    tp = records[0].tp
    event_type = event_types[tp.topic]
    raws = [record.raw for record in records]
    events = _READERS[event_type]([raw.value or b"" for raw in raws])
    found: list[PlainRequest | None] = []
    # Most records of a partition have the same headers but for the id, and most of its events the same programs.
    form: _Form | None = None
    at, before, after = 1 << 30, _NO_HEADERS, _NO_HEADERS
    programs: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    for raw, event in zip(raws, events, strict=True):
        headers = raw.headers
        has_id = len(headers) > at and headers[at][0] == ID_HEADER
        if not (has_id and headers[at + 1 :] == after and headers[:at] == before):
            # Other values may differ each time, such as the time of the event.
            if form is None or list(map(_NAME, headers)) != form.names or form.checked(headers) != form.pairs:
                form = _form(headers, event_type.encode())
            if form is None:
                found.append(None)
                continue
            at = form.id_at
            before, after = headers[:at], headers[at + 1 :]
            around = tuple(before), tuple(after)
        if event is not None and event.programs != programs:
            programs = event.programs
            names = distinct_names(programs)
        value, event_id = raw.value, headers[at][1]
        id_ = uuid_of(event_id or b"")
        if event is None or not names or id_ is None or len(value) > VALUE_BYTES_MAX:
            found.append(None)
            continue
        # This takes half the time of the constructor.
        request = _new(Request, (id_, event, names, None, None))
        kept = PlainRequest(
            request, tp, raw.offset, raw.timestamp, raw.timestamp_type, raw.key, value, event_id, around
        )
        found.append(kept)
    return found


_NO_HEADERS: Final[Sequence[tuple[str, bytes | None]]] = []
_NAME: Final = itemgetter(0)


class _Form(NamedTuple):
    """What the headers of a sender's events have in common."""

    id_at: int
    """The place of the id."""
    names: list[str]
    checked: Callable[[Sequence[Any]], Any]
    """Takes the headers whose values tell that the event is plain, and which of them are `pairs`."""
    pairs: Any


def _form(headers: Sequence[tuple[str, bytes | None]], event_type: bytes) -> _Form | None:
    """The form of an event in binary mode without options; None for another one."""
    named = dict(headers)
    if (
        len(named) == len(headers)
        and ID_HEADER in named
        and named.get("ce_type") == event_type
        and named.get("ce_specversion", b"1.0") == b"1.0"
        and named.get("content-type", _JSON) == _JSON
        and SELDOM_HEADERS.isdisjoint(named)
    ):
        names = list(named)
        checked = itemgetter(*(names.index(name) for name in _CHECKED & named.keys()))
        return _Form(names.index(ID_HEADER), names, checked, checked(headers))
    return None


def uuid_of(text: bytes) -> UUID | None:
    """The id that is written so; None for another text than a UUID's usual one."""
    # asyncpg's UUID is several times as fast as uuid.UUID, but accepts dashes at any position.
    if len(text) != _UUID_CHARACTERS or text[8:24:5] != b"----":
        return None
    try:
        return UUID(text.decode())
    except ValueError:
        return None
