"""An answer as a Kafka record's value and headers, in either mode of CloudEvents."""

from datetime import datetime
from functools import lru_cache
from json.encoder import encode_basestring as quoted
from typing import Final

from codewell.infra.kafka.record_encoding import Headers, encode_header, joined_headers, varint
from codewell.issuing.reply import utc_text
from schemas.events import schema_uri
from services.issuer.reply_options import CORRELATION_ID_HEADER, NO_OPTIONS, ReplyOptions

SOURCE: Final = "/codewell/issuer"
_STRUCTURED_HEADER: Final = encode_header("content-type", b"application/cloudevents+json; charset=UTF-8")
_ANY_ID: Final = b"00000000-0000-5000-8000-000000000000"
_NONE: Final[Headers] = ()


def answer_record(
    event_type: str,
    event_id: str,
    moment: datetime,
    data: str,
    options: ReplyOptions,
    added: Headers = _NONE,
    *,
    structured: bool,
) -> tuple[str, bytes]:
    """The value and the encoded headers of an answer that was decided at `moment`. `data` is JSON text.

    `added` are headers beside those of the answer.
    """
    if structured:
        extensions = "".join([f',"{name}":{quoted(text)}' for name, text in options.extensions])
        value = f'{{"specversion":"1.0","id":"{event_id}"{_members(event_type, moment)}{extensions},"data":{data}}}'
        return value, joined_headers([_STRUCTURED_HEADER, *_others(options, added, structured=True)])
    if options is NO_OPTIONS and not added:
        return data, event_id.join(around_id(event_type, moment)).encode("latin-1")
    before, after = _around_id(event_type, moment)
    others = _others(options, added, structured=False)
    return data, b"".join((varint(_ATTRIBUTES + len(others)), before, event_id.encode(), after, *others))


# Cached: all answers of a batch have one time and one of two types.
@lru_cache(maxsize=64)
def around_id(event_type: str, moment: datetime) -> tuple[str, str]:
    """What is before and after the id in the headers of an answer in binary mode that gives nothing back.

    They are encoded, as texts whose characters are bytes (Latin-1).
    """
    before, after = _around_id(event_type, moment)
    return (_ATTRIBUTE_COUNT + before).decode("latin-1"), after.decode("latin-1")


def _others(options: ReplyOptions, added: Headers, *, structured: bool) -> list[bytes]:
    headers = [] if options.correlation_id is None else [(CORRELATION_ID_HEADER, options.correlation_id)]
    if not structured:
        headers += [(f"ce_{name}", text.encode("utf-8", "surrogateescape")) for name, text in options.extensions]
    return [encode_header(name, value) for name, value in (*headers, *added)]


# Cached: all answers of a batch have one time and one of two types.
@lru_cache(maxsize=64)
def _around_id(event_type: str, moment: datetime) -> tuple[bytes, bytes]:
    """What is before and after the event's id in the encoded attributes."""
    attributes = (
        ("ce_id", _ANY_ID),
        ("ce_specversion", b"1.0"),
        ("ce_source", SOURCE.encode()),
        ("ce_type", event_type.encode()),
        ("ce_time", utc_text(moment).encode()),
        ("ce_dataschema", schema_uri(event_type).encode()),
        ("content-type", b"application/json"),
    )
    before, _, after = b"".join(encode_header(name, value) for name, value in attributes).partition(_ANY_ID)
    return before, after


_ATTRIBUTES: Final = 7
_ATTRIBUTE_COUNT: Final = varint(_ATTRIBUTES)


@lru_cache(maxsize=64)
def _members(event_type: str, moment: datetime) -> str:
    return (
        f',"source":"{SOURCE}","type":"{event_type}","time":"{utc_text(moment)}",'
        f'"datacontenttype":"application/json","dataschema":"{schema_uri(event_type)}"'
    )
