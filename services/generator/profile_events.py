"""Decodes records of `profile-changed` and merges the changes of a batch."""

from codecs import BOM_UTF8
from typing import NamedTuple

from aiokafka import ConsumerRecord
from pydantic import TypeAdapter, ValidationError

from codewell.infra.kafka.cloud_events import is_structured
from codewell.infra.kafka.partition_records import FaultyRecord
from codewell.validation import first_mistake
from schemas.events import PROFILE_CHANGED, VALUE_BYTES_MAX, CloudEvent, Id, ProfileChanged

_ID = TypeAdapter[str](Id)


class UnreadableChange(Exception):
    """A record that is no valid profile change. The text names the fault and holds no profile data."""


class ProfileChange(NamedTuple):
    """The new fields of a profile, which replace all old ones; None erases the profile."""

    profile_id: str
    fields: dict[str, str] | None


class ProfileChanges:
    """The merged changes of a batch: erasures, which are applied first, and writes."""

    def __init__(self) -> None:
        self.forgotten: dict[str, None] = {}
        self.written: dict[str, dict[str, str]] = {}

    def add(self, change: ProfileChange) -> None:
        """Merge the next change. The last write of a profile wins; an erasure is applied in any case."""
        if change.fields is None:
            self.written.pop(change.profile_id, None)
            self.forgotten[change.profile_id] = None
        else:
            self.written[change.profile_id] = change.fields


def read(record: ConsumerRecord) -> ProfileChange:
    """Decode a record. Raises UnreadableChange. The key is the profile id, as a tombstone has no value."""
    if isinstance(record, FaultyRecord):
        raise UnreadableChange(record.fault)
    try:
        profile_id = _ID.validate_python((record.key or b"").decode())
        if record.value is None:
            return ProfileChange(profile_id, None)
        if len(record.value) > VALUE_BYTES_MAX:
            raise UnreadableChange(f"its value has {len(record.value)} bytes; at most {VALUE_BYTES_MAX} are allowed")
        event = _event(dict(record.headers), record.value)
    except UnicodeDecodeError as error:
        raise UnreadableChange("its key is not UTF-8") from error
    except ValidationError as error:
        raise UnreadableChange(first_mistake(error, "its key or value")) from error
    if event.profile_id != profile_id:
        raise UnreadableChange("its key is another profile's")
    return ProfileChange(profile_id, event.fields)


def _event(headers: dict[str, bytes | None], value: bytes) -> ProfileChanged:
    """Decode an event of either CloudEvents mode. In binary mode the type header is optional."""
    value = value.removeprefix(BOM_UTF8)
    if is_structured(headers, value):
        envelope = CloudEvent.model_validate_json(value)
        kind, event = envelope.type, ProfileChanged.model_validate(envelope.data)
    else:
        kind = (headers.get("ce_type") or PROFILE_CHANGED.encode()).decode()
        event = ProfileChanged.model_validate_json(value)
    if kind != PROFILE_CHANGED:
        raise UnreadableChange("it is an event of another type")
    return event
