"""The events of the stream as Kafka records: their sequence, their id, their headers, their partition."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha1
from typing import Final, NamedTuple
from uuid import UUID

from codewell.lifecycle.drafts import EventDraft, moment_text
from codewell.lifecycle.pseudonyms import Pseudonyms
from schemas.events import schema_uri

SOURCE: Final = "/codewell/lifecycle"
SEQUENCE_HEADER: Final = "ce_sequence"
# Random constant. Never change it: the ids of events derive from it and their sequence.
_NAMESPACE_HASHED: Final = sha1(UUID("c2a9d1f4-5b7e-4e0a-8f63-9d10b4a7e58c").bytes, usedforsecurity=False)
# Variant of RFC 9562: two fixed bits in the digit after the third dash.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


class StreamPlace(NamedTuple):
    """A place in the stream: the epoch, the commit's place in the log (0: the snapshot), and a number within it."""

    epoch: int
    lsn: int
    number: int

    def __str__(self) -> str:
        """Text that is ordered as the places are."""
        return f"{self.epoch:08X}-{self.lsn:016X}-{self.number:08X}"

    @classmethod
    def parse(cls, text: str) -> "StreamPlace":
        """The place that is written so. Raises ValueError."""
        epoch, lsn, index = (int(part, 16) for part in text.split("-"))
        return cls(epoch, lsn, index)


def sequences_of(epoch: int, lsn: int) -> str:
    """The beginning of all sequences of a commit."""
    return f"{epoch:08X}-{lsn:016X}-"


def event_id(sequence: str) -> str:
    """The UUID version 5 (RFC 9562, section 5.5) of an event's sequence."""
    hashed = _NAMESPACE_HASHED.copy()
    hashed.update(sequence.encode())
    text = hashed.hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def partitions_of(draft: EventDraft, partitions: int) -> Sequence[int]:
    """The partitions that the event goes to, of so many."""
    if draft.program_id is None:
        return range(partitions)
    return (draft.program_id % partitions,)


def value_of(draft: EventDraft, lsn: int, named: Pseudonyms) -> str:
    """The event's data as JSON text."""
    if draft.tail is None:
        return draft.head
    name = None if draft.profile_id is None else named.of(draft.profile_id, lsn)
    return f"{draft.head}null{draft.tail}" if name is None else f'{draft.head}"{name}"{draft.tail}'


def headers_of(event_type: str, sequence: str, at: int) -> list[tuple[str, bytes]]:
    """The headers of an event. `at`: when it was committed (us since 2000)."""
    return [
        ("ce_id", event_id(sequence).encode()),
        (SEQUENCE_HEADER, sequence.encode()),
        *_attributes(event_type, at),
    ]


# Cached: the events of a batch have few times and types.
@lru_cache(maxsize=256)
def _attributes(event_type: str, at: int) -> tuple[tuple[str, bytes], ...]:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_source", SOURCE.encode()),
        ("ce_type", event_type.encode()),
        ("ce_time", moment_text(at).encode()),
        ("ce_dataschema", schema_uri(event_type).encode()),
        ("content-type", b"application/json"),
    )
