"""Which mode of CloudEvents a record is in, as the clients of many languages write it."""

from collections.abc import Mapping
from typing import Final

from pydantic_core import from_json

_STRUCTURED: Final = b"application/cloudevents+json"
_REQUIRED: Final = ("ce_id", "ce_type", "ce_specversion")
_SPECVERSION: Final = b'"specversion"'


def is_structured(headers: Mapping[str, bytes | None], value: bytes) -> bool:
    """Whether the value is the whole event: its content type says so, or it has the attributes that no header has.

    Some clients (the Python SDK's 1.x) write structured events as application/json.
    """
    content_type = headers.get("content-type")
    if content_type is None:
        if "ce_id" in headers:
            return False
    elif content_type.lower().startswith(_STRUCTURED):
        return True
    return not any(name in headers for name in _REQUIRED) and _SPECVERSION in value and _has_specversion(value)


def _has_specversion(value: bytes) -> bool:
    """Whether the object has this member itself. What cannot be parsed is taken for one, and refused as such."""
    try:
        event = from_json(value)
    except ValueError:
        return True
    return isinstance(event, dict) and "specversion" in event
