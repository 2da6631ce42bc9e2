"""What a record of `profile-changed` says, and what many of them come to."""

from typing import NamedTuple

from aiokafka import ConsumerRecord
from pydantic import TypeAdapter, ValidationError

from schemas.events import PROFILE_CHANGED, VALUE_BYTES_MAX, CloudEvent, Id, ProfileChanged

_STRUCTURED = b"application/cloudevents+json"
_ID = TypeAdapter[str](Id)


class UnreadableChange(Exception):
    """A record that is no change of a profile. The text says why and holds nothing of it."""


class ProfileChange(NamedTuple):
    """All fields that a profile has from now on, or None where it is to be forgotten."""

    profile_id: str
    fields: dict[str, str] | None


class ProfileChanges:
    """Many changes in the order in which they came: what is to be forgotten first, and what is to be written then."""

    def __init__(self) -> None:
        self.forgotten: dict[str, None] = {}
        self.written: dict[str, dict[str, str]] = {}

    def add(self, change: ProfileChange) -> None:
        """Add a change behind the others: of one profile the last counts, and none undoes that it is forgotten."""
        if change.fields is None:
            self.written.pop(change.profile_id, None)
            self.forgotten[change.profile_id] = None
        else:
            self.written[change.profile_id] = change.fields


def read(record: ConsumerRecord) -> ProfileChange:
    """The change. Raises Unreadable. The key is the profile's id, as a record without a value has nothing else."""
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
        first = error.errors(include_url=False, include_input=False)[0]
        raise UnreadableChange(f"{'.'.join(map(str, first['loc'])) or 'key'}: {first['type']}") from error
    if event.profile_id != profile_id:
        raise UnreadableChange("its key is another profile's")
    return ProfileChange(profile_id, event.fields)


def _event(headers: dict[str, bytes | None], value: bytes) -> ProfileChanged:
    """The event of either mode; a binary one without a type is taken for what the topic is for."""
    if (headers.get("content-type") or b"").lower().startswith(_STRUCTURED):
        envelope = CloudEvent.model_validate_json(value)
        kind, event = envelope.type, ProfileChanged.model_validate(envelope.data)
    else:
        kind = (headers.get("ce_type") or PROFILE_CHANGED.encode()).decode()
        event = ProfileChanged.model_validate_json(value)
    if kind != PROFILE_CHANGED:
        raise UnreadableChange("it is an event of another type")
    return event
