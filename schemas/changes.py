"""Changes of many codes at once, as the HTTP API takes and answers them."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import model_validator

from schemas.events import Id, ShortName
from schemas.moments import EndMoment, StartMoment
from schemas.strict_model import StrictModel

ChangeState = Literal["pooled", "attached", "expired"]


class ChangeFilter(StrictModel):
    """Which codes to change: those that pass all that is given. Without a state: pooled, attached and expired ones.

    `expires_until` is exclusive.
    """

    state: ChangeState | None = None
    profile_id: Id | None = None
    import_id: UUID | None = None
    expires_from: StartMoment | None = None
    expires_until: EndMoment | None = None


class Change(StrictModel):
    """A change of all codes that `filter` finds: another expiry (null: none), or `void`, which deletes them.

    With `dry_run`, they are only counted.
    """

    filter: ChangeFilter
    expires_at: EndMoment | None = None
    void: Literal[True] | None = None
    dry_run: bool = False

    @model_validator(mode="after")
    def _does_one_thing(self) -> Self:
        if ("expires_at" in self.model_fields_set) == (self.void is not None):
            raise ValueError("give either expires_at or void")
        return self


class BulkCounts(StrictModel):
    """How many codes a filter finds, by counters: pooled ones, those that expired in the pool, and attached ones.

    `attached` also counts activated codes, those outside of the filter's expiry and, of a profile, those of other
    imports, unless `exact`: the change itself looks at each of them.
    """

    pooled: int
    expired: int
    attached: int
    exact: bool


class FilterInForce(ChangeFilter):
    """The filter of a change. A schema of its own, as generated clients name one model only `ChangeFilter`."""


class BulkChange(StrictModel):
    """A change of many codes. `done` of `total` codes are looked at; `changed` were changed.

    `skipped`: how many were left as they are, by reason. `restored`: how many an undo has restored. `by`: the token or
    the user of a command.
    """

    id: UUID
    program: ShortName
    state: Literal["running", "stopped", "done", "undoing", "undone"]
    filter: FilterInForce
    void: bool
    expires_at: datetime | None
    total: int
    done: int
    changed: int
    skipped: dict[str, int]
    restored: int
    by: str
    started_at: datetime
    ended_at: datetime | None
