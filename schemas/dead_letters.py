"""Dead letters, as operators choose, read, replay and purge them over HTTP."""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field, WithJsonSchema

from schemas import patterns
from schemas.events import DeadReason
from schemas.moments import EndMoment, StartMoment
from schemas.strict_model import StrictModel

RequestTopic = Literal["message-render", "scenario-step", "delivery", "orders"]
PLACES_MAX: Final = 1_000
LetterPlace = Annotated[str, Field(pattern=patterns.LETTER_PLACE)]
_Profile = Annotated[str, Field(min_length=1, max_length=256)]


class LetterChoice(StrictModel):
    """Which dead letters: those that match each field that is given; without fields all of them.

    `since` and `until` (exclusive) are about when the letter was written; a date is its begin, for `until` its end.
    `profile` is the record's key or the event's profile. `at` are places as lists give them.
    """

    topic: RequestTopic | None = None
    reason: DeadReason | None = None
    since: StartMoment | None = None
    until: EndMoment | None = None
    profile: _Profile | None = None
    at: tuple[LetterPlace, ...] = Field((), max_length=PLACES_MAX)


class _Step(LetterChoice):
    dry_run: bool = False
    cursor: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None


class ReplayLetters(_Step):
    """The dead letters to replay. `again`: also those that were replayed before or came back too often.

    `dry_run` only counts. `cursor` is the previous step's `next_cursor`.
    """

    again: bool = False


class PurgeLetters(_Step):
    """The dead letters to purge. `unreplayed`: also those whose events were never replayed.

    `dry_run` only counts. `cursor` is the previous step's `next_cursor`.
    """

    unreplayed: bool = False


class ReplayedLetters(StrictModel):
    """What one step of a replay did, or with `dry_run` would do: letters by outcome.

    Skipped: `replayed_before`; `too_often`, as their events came back ten times; `without_event`, as the record could
    not be read; `too_large` to be published again. With `next_cursor`, more letters are left: send the same request
    with it as `cursor`, until it is null.
    """

    dry_run: bool
    replayed: int
    replayed_before: int
    too_often: int
    without_event: int
    too_large: int
    next_cursor: str | None


class PurgedLetters(StrictModel):
    """What one step of a purge did, or with `dry_run` would do. Purged letters are listed no more.

    `never_replayed` counts purged letters whose events were never replayed; `deleted` those that Kafka has deleted,
    which it can from the start of a partition only. With `next_cursor`, more letters are left: send the same request
    with it as `cursor`, until it is null.
    """

    dry_run: bool
    purged: int
    never_replayed: int
    deleted: int
    next_cursor: str | None


class ListedLetter(StrictModel):
    """A dead letter without its event. `at` is its place. Long texts are cut to 1,000 characters."""

    at: str
    written_at: datetime
    topic: RequestTopic
    reason: str
    replays: int
    replayed_at: datetime | None
    event_id: str | None
    key: str | None
    value_bytes: int
    detail: str


# Its name, and its value or null. Linters of OpenAPI do not know arrays by `prefixItems` alone.
_Header = Annotated[
    tuple[str, str | None],
    WithJsonSchema({"type": "array", "items": {"type": ["string", "null"]}, "minItems": 2, "maxItems": 2}),
]


class CompleteLetter(ListedLetter):
    """A dead letter with its event. A value that is not UTF-8 is in `value_base64`; one without a value has neither.

    Header names may repeat. `cut`: the value (256 KiB), a header (4 KiB) or the list of headers (200) exceeded its
    limit; `codewell dlq show` prints all of it. `came_from` is the request's topic, partition and offset.
    """

    profile_id: str | None
    came_from: str
    purged_at: datetime | None
    headers: list[_Header]
    value: str | None
    value_base64: str | None
    cut: bool
