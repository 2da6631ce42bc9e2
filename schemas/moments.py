"""Points in time as people write them: a date, or a time, with a zone or in the zone that a setting or option names."""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AwareDatetime, BeforeValidator, WithJsonSchema

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Time zones and languages differ at the calendar's ends, and a code may expire after such a moment: leave room.
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
_FORM: Final = "a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z"
_DATE_CHARACTERS: Final = len("2027-01-31")
_MOMENT: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ].+)?", re.ASCII)

_UTC: Final[tzinfo] = UTC
ZONE: ContextVar[tzinfo] = ContextVar("ZONE", default=_UTC)
"""The zone of dates and times that name none. A process or a command sets it at its start."""


def zone_named(name: str) -> tzinfo:
    """The time zone of this name, such as `Europe/Berlin`. Raises ValueError with a sentence."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name[:100]!r} is not a time zone such as UTC or Europe/Berlin") from error


def parse_moment(text: str, zone: tzinfo, *, at_end: bool = False) -> datetime:
    """The moment that this text names, in UTC: an ISO 8601 date or time, in `zone` if it names none.

    A date is the begin of its day, or with `at_end` its end, which is the begin of the next day. A time that the
    clocks of the zone show twice is the first one; one that they skip is refused. Raises ValueError with what the text
    must be.
    """
    text = text.strip()
    written: datetime | None = None
    if not _MOMENT.fullmatch(text):
        raise ValueError(f"must be {_FORM}")
    try:
        if len(text) == _DATE_CHARACTERS:
            day = date.fromisoformat(text) + timedelta(days=int(at_end))
            moment = datetime.combine(day, time(), zone)
        else:
            written = datetime.fromisoformat(text)
            moment = written if written.tzinfo is not None else written.replace(tzinfo=zone)
        moment = moment.astimezone(UTC)
        shown = moment.astimezone(zone)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"must be {_FORM}") from error
    if written is not None and written.tzinfo is None and shown.replace(tzinfo=None, fold=0) != written:
        raise ValueError(f"must be a time that exists in {zone}, whose clocks skip this one: give another one")
    return in_range(moment)


def in_range(moment: datetime) -> datetime:
    """The moment. Raises ValueError if it is before EARLIEST or after LATEST."""
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"must be between the years {EARLIEST.year} and {LATEST.year}")
    return moment


def zone_notes(given: Mapping[str, object]) -> list[str]:
    """A sentence for each of these settings or fields whose text names no zone: how it was read.

    `given` is what a person wrote, by field name; other fields than those of this module's types are ignored.
    """
    return [
        f"{name} {text.strip()} is read in the time zone {ZONE.get()}: {_meaning(text, AT_END[name])}."
        for name, text in given.items()
        if name in AT_END and isinstance(text, str) and _names_no_zone(text)
    ]


AT_END: Final = {"valid_from": False, "valid_until": True, "expires_at": True}
"""The fields with a point in time, and whether a date means the end of its day."""


def _names_no_zone(text: str) -> bool:
    try:
        return datetime.fromisoformat(text.strip()).tzinfo is None
    except ValueError:
        return False


def _meaning(text: str, at_end: bool) -> str:
    moment = parse_moment(text, ZONE.get(), at_end=at_end).isoformat().replace("+00:00", "Z")
    is_end_of_day = at_end and len(text.strip()) == _DATE_CHARACTERS
    return f"it ends when that day ends, {moment}" if is_end_of_day else f"it is {moment}"


def _start(given: object) -> object:
    return _read(given, at_end=False)


def _end(given: object) -> object:
    return _read(given, at_end=True)


def _read(given: object, *, at_end: bool) -> object:
    """Parse a text. Refuse a number: pydantic would take it for seconds since 1970."""
    if isinstance(given, str):
        return parse_moment(given, ZONE.get(), at_end=at_end)
    if isinstance(given, datetime) and given.tzinfo is not None:
        return in_range(given)
    raise ValueError(f"must be {_FORM}")


def _written(meaning: str) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "type": "string",
            "description": f"An ISO 8601 date or time. {meaning} Without a zone: in CODEWELL_TIME_ZONE (UTC).",
            "examples": ["2026-12-31", "2026-12-31T23:59:59+01:00"],
        },
        mode="validation",
    )


StartMoment = Annotated[AwareDatetime, BeforeValidator(_start), _written("A date means the begin of its day.")]
EndMoment = Annotated[AwareDatetime, BeforeValidator(_end), _written("A date means the end of its day.")]
