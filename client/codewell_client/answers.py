"""What a sender is answered: codes, or refusals with their reasons. Unknown fields are ignored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias
from uuid import UUID

ATTACHED_TYPE: Final = "dev.codewell.codes-attached.v1"
REFUSED_TYPE: Final = "dev.codewell.codes-refused.v1"
UNREADABLE: Final = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


class Reason(StrEnum):
    """The known reasons of a refusal; compare `Refusal.reason` with them."""

    PROGRAM_UNKNOWN = "program_unknown"
    """No program has this short name."""
    PROGRAM_INACTIVE = "program_inactive"
    """It is switched off or removed."""
    PROGRAM_NOT_STARTED = "program_not_started"
    PROGRAM_ENDED = "program_ended"
    POOL_EMPTY = "pool_empty"
    """No code is ready, and this source may not have any made."""
    MAXIMUM_REACHED = "maximum_reached"
    """No code is ready, and the program holds as many as it may ever have."""
    REMOTE_FAILED = "remote_failed"
    """The program's remote service gave no code in time."""
    DEADLINE_PASSED = "deadline_passed"
    REQUEST_TOO_OLD = "request_too_old"
    """The time in its id is so long ago that an earlier answer may no longer be known. Nothing was given now."""
    INVALID_REQUEST = "invalid_request"
    """The request is a dead letter; the detail says why."""


@dataclass(frozen=True, slots=True)
class Code:
    """A code that the profile has now; `expires_at` is None where it lives for ever."""

    program: str
    code: str
    expires_at: datetime | None
    fields: Mapping[str, Any]
    given_by: str | None = None
    """The program that the code belongs to, where it is a fallback of `program`: redeem the code as one of that."""
    fallback: int | None = None
    """Which fallback that is, from 1."""


@dataclass(frozen=True, slots=True)
class Attached:
    """All programs of the request gave a code; `rendered` is the template with the codes in place."""

    request_id: UUID
    profile_id: str
    codes: tuple[Code, ...]
    rendered: str | None
    unresolved: tuple[str, ...]
    """Placeholders such as `{loyalty.SPRING.other}` that stay in `rendered`, as no code belongs there."""
    preview: bool
    decided_at: datetime | None
    """When the request was decided; None from a Codewell that does not say so."""
    event_id: str
    """The same for each copy of this answer, so that you can drop copies."""

    def code(self, program: str) -> str:
        """The text of this program's code. Raises KeyError when the request named no such program."""
        for one in self.codes:
            if one.program == program:
                return one.code
        raise KeyError(program)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one program gave no code; `detail` is a sentence for a person.

    `reason` is a text, as a later Codewell may have reasons that `Reason` does not list. `program` is None where the
    request was so invalid that it names none.
    """

    program: str | None
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Refused:
    """No program gave a code, as at least one could not. Asking again with the same id gives the same refusal."""

    request_id: UUID | None
    profile_id: str | None
    refusals: tuple[Refusal, ...]
    preview: bool
    decided_at: datetime | None
    """When the request was decided; None from a Codewell that does not say so."""
    event_id: str
    """The same for each copy of this answer, so that you can drop copies."""

    @property
    def reasons(self) -> frozenset[str]:
        """The reasons of all refusals."""
        return frozenset(refusal.reason for refusal in self.refusals)


Answer: TypeAlias = Attached | Refused


def parse(event_type: str, event_id: str, time: str | None, value: bytes) -> Answer:
    """An answer from its event. Raises one of UNREADABLE when it is none that this version reads."""
    data = json.loads(value)
    decided_at, preview = _moment(time), data.get("preview") or False
    if event_type == ATTACHED_TYPE:
        return Attached(
            request_id=UUID(data["request_id"]),
            profile_id=data["profile_id"],
            codes=tuple(
                Code(
                    one["program"],
                    one["code"],
                    _moment(one["expires_at"]),
                    one["fields"],
                    one.get("from"),
                    one.get("fallback"),
                )
                for one in data["codes"]
            ),
            rendered=data.get("rendered"),
            unresolved=tuple(data.get("unresolved") or ()),
            preview=preview,
            decided_at=decided_at,
            event_id=event_id,
        )
    if event_type == REFUSED_TYPE:
        asked = data["request_id"]
        return Refused(
            request_id=None if asked is None else UUID(asked),
            profile_id=data["profile_id"],
            refusals=tuple(Refusal(one["program"], one["reason"], one["detail"]) for one in data["refusals"]),
            preview=preview,
            decided_at=decided_at,
            event_id=event_id,
        )
    raise ValueError(f"The event type {event_type!r} is no answer.")


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
