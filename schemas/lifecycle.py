"""The stream of what happened to each code: the types and the data of the events in `code-lifecycle`.

A *place* names a code within its program, `LISTED:MAJOR:MINOR` as lists and the audit log print it; it says nothing
about the code's text. `run` is a place without its last number, so that a *range*, the codes `first` to
`first + count - 1` of a run, has the places `run:first` and so on. An event about a range is about those of its codes
that are in the pool at that moment, except that codes-made, codes-imported and codes-snapshot are about all of them.

A code keeps its place until an event gives another one (`new_place`, `new_run`). All events of a program are in one
partition, in the order of their commits.
"""

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field, JsonValue, StringConstraints

from schemas.event_parts import Event, ShortName, UuidText
from schemas.patterns import ORDER_ID, PLACE, PSEUDONYM, RUN

CODES_MADE: Final = "dev.codewell.codes-made.v1"
CODES_IMPORTED: Final = "dev.codewell.codes-imported.v1"
CODES_MOVED: Final = "dev.codewell.codes-moved.v1"
CODES_EXPIRED: Final = "dev.codewell.codes-expired.v1"
CODES_CHANGED: Final = "dev.codewell.codes-changed.v1"
CODES_DELETED: Final = "dev.codewell.codes-deleted.v1"
CODES_RESTORED: Final = "dev.codewell.codes-restored.v1"
CODES_WITHDRAWN: Final = "dev.codewell.codes-withdrawn.v1"
CODE_ATTACHED: Final = "dev.codewell.code-attached.v1"
CODE_HELD: Final = "dev.codewell.code-held.v1"
CODE_RELEASED: Final = "dev.codewell.code-released.v1"
CODE_ACTIVATED: Final = "dev.codewell.code-activated.v1"
CODE_DEACTIVATED: Final = "dev.codewell.code-deactivated.v1"
CODE_RETURNED: Final = "dev.codewell.code-returned.v1"
CODE_CHANGED: Final = "dev.codewell.code-changed.v1"
CODE_REISSUED: Final = "dev.codewell.code-reissued.v1"
CODE_DELETED: Final = "dev.codewell.code-deleted.v1"
CODE_RESTORED: Final = "dev.codewell.code-restored.v1"
EPOCH_STARTED: Final = "dev.codewell.codes-epoch-started.v1"
EPOCH_READY: Final = "dev.codewell.codes-epoch-ready.v1"
CODES_SNAPSHOT: Final = "dev.codewell.codes-snapshot.v1"
CODE_SNAPSHOT: Final = "dev.codewell.code-snapshot.v1"

PARTITIONS: Final = 24
"""The partition of an event is its program's id modulo the topic's number of partitions, which is to stay."""

Place = Annotated[str, StringConstraints(pattern=PLACE)]
Run = Annotated[str, StringConstraints(pattern=RUN)]
Pseudonym = Annotated[str, StringConstraints(pattern=PSEUDONYM)]
"""A profile, by an HMAC of its id with a key of its own; forgetting the profile deletes the key."""
OrderId = Annotated[str, StringConstraints(pattern=ORDER_ID)]
Fields = dict[str, JsonValue]
Number = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class _OfProgram(Event):
    program_id: int
    program: ShortName


class _OfRange(_OfProgram):
    run: Run
    first: Number
    count: Count


class _OfCode(_OfProgram):
    place: Place


class CodesMade(_OfRange):
    """Codes came into the pool: made from the program's template, or brought by its remote service.

    `origin`: why. `source`: whose request had them made.
    """

    origin: Literal["pool", "request", "generate"]
    source: Literal["campaign", "scenario"] | None
    expires_at: AwareDatetime | None
    fields: Fields | None


class CodesImported(_OfRange):
    """Codes came from a file, or by hand (`import_id` null)."""

    import_id: UuidText | None
    expires_at: AwareDatetime | None
    fields: Fields | None


class CodesMoved(_OfRange):
    """Pooled codes got other places, and are otherwise the same: the first is `new_run:new_first` now, and so on."""

    new_run: Run
    new_first: Number


class CodesExpired(_OfRange):
    """The pooled codes of the range have expired and are given no more. Each code expires at its `expires_at`."""

    expires_at: AwareDatetime


class CodesChanged(_OfRange):
    """The pooled codes of the range have another expiry."""

    expires_at: AwareDatetime | None


class CodesDeleted(_OfRange):
    """The pooled codes of the range were deleted."""


class CodesRestored(_OfRange):
    """Those codes of the range that the last codes-deleted of this range deleted are in the pool again."""


class CodesWithdrawn(_OfRange):
    """An import was undone: the pooled codes of the range left the program."""


class CodeAttached(_OfCode):
    """A profile got the code. `again`: it, or another one that shares the code, had it before.

    `profile` is null if the profile was forgotten before the event was published. `asked_program` and `fallback`: the
    program that was asked, and the number of this one among its fallbacks.
    """

    profile: Pseudonym | None
    request_id: UuidText
    ordinal: Number
    again: bool
    expires_at: AwareDatetime | None
    fields: Fields | None
    asked_program: ShortName | None
    fallback: Annotated[int, Field(ge=1)] | None


class _AtTill(_OfCode):
    order_id: OrderId | None
    profile: Pseudonym | None
    uses: Number
    activated_at: AwareDatetime | None
    code_held_until: AwareDatetime | None


class CodeHeld(_AtTill):
    """An order keeps the code until `held_until`, or until it is used or released; or it prolonged that.

    As of all four events of the till: `uses`, `activated_at` (when it was used up) and `code_held_until` (the end of
    its last hold) are the code's after its transaction.
    """

    held_until: AwareDatetime


class CodeReleased(_AtTill):
    """An order keeps the code no longer, and did not use it. A hold that ends by its time has no event."""


class CodeActivated(_AtTill):
    """The code was used (redeemed), or a lower limit made it used up (`order_id` and `profile` null)."""


class CodeDeactivated(_AtTill):
    """A use of the code was taken back."""


class CodeReturned(_OfCode):
    """The profile lost the code, which is in the pool again, at a new place."""

    new_place: Place
    expires_at: AwareDatetime | None
    fields: Fields | None


class CodeChanged(_OfCode):
    """The code has another expiry or other fields. A pooled code got a new place by that, an attached one did not."""

    new_place: Place | None
    expires_at: AwareDatetime | None
    fields: Fields | None


class CodeReissued(_OfCode):
    """The customer has the code at `new_place` instead. `number`: how many codes were replaced so, one by another."""

    new_place: Place
    number: Annotated[int, Field(ge=1)]


class CodeDeleted(_OfCode):
    """The code was deleted. It is neither given nor made again."""


class CodeRestored(_OfCode):
    """The code is no longer deleted: its profile has it again."""


class EpochStarted(Event):
    """All that the partition said before is void: what follows says what there is, and then what happens.

    `reason`: the stream was switched on; its slot was lost, so changes may be missing; the database was replaced by
    one that lacks what was published; or the process that wrote the last snapshot was stopped.
    """

    epoch: Annotated[int, Field(ge=1)]
    reason: Literal["switched_on", "slot_lost", "database_replaced", "snapshot_interrupted"]


class EpochReady(Event):
    """The partition's snapshot is complete."""

    epoch: Annotated[int, Field(ge=1)]


class CodesSnapshot(_OfRange):
    """Codes that there were when the epoch began, at their places then. `state`: what all of them are that no
    code-snapshot, code-returned or code-changed is about."""

    origin: Literal["pool", "request", "generate", "return", "hand", "import"]
    state: Literal["pooled", "deleted", "withdrawn"]
    import_id: UuidText | None
    expires_at: AwareDatetime | None
    fields: Fields | None


class CodeSnapshot(_OfCode):
    """A code that was more than pooled when the epoch began. `moved`: it is no longer at this place.

    `profile`: who got it first. `held_until`: the end of its last hold. Other profiles that share it follow as
    code-attached.
    """

    state: Literal["attached", "deleted", "moved"]
    profile: Pseudonym | None
    request_id: UuidText | None
    ordinal: Number | None
    expires_at: AwareDatetime | None
    fields: Fields | None
    uses: Number
    activated_at: AwareDatetime | None
    held_until: AwareDatetime | None
    new_place: Place | None


DATA_OF_TYPE: Final[dict[str, type[Event]]] = {
    CODES_MADE: CodesMade,
    CODES_IMPORTED: CodesImported,
    CODES_MOVED: CodesMoved,
    CODES_EXPIRED: CodesExpired,
    CODES_CHANGED: CodesChanged,
    CODES_DELETED: CodesDeleted,
    CODES_RESTORED: CodesRestored,
    CODES_WITHDRAWN: CodesWithdrawn,
    CODE_ATTACHED: CodeAttached,
    CODE_HELD: CodeHeld,
    CODE_RELEASED: CodeReleased,
    CODE_ACTIVATED: CodeActivated,
    CODE_DEACTIVATED: CodeDeactivated,
    CODE_RETURNED: CodeReturned,
    CODE_CHANGED: CodeChanged,
    CODE_REISSUED: CodeReissued,
    CODE_DELETED: CodeDeleted,
    CODE_RESTORED: CodeRestored,
    EPOCH_STARTED: EpochStarted,
    EPOCH_READY: EpochReady,
    CODES_SNAPSHOT: CodesSnapshot,
    CODE_SNAPSHOT: CodeSnapshot,
}
