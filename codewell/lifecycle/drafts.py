"""Events before they have their place in the stream, and the JSON text of their parts."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from json.encoder import encode_basestring as quoted
from typing import Final, NamedTuple

_EPOCH_OF_POSTGRES: Final = datetime(2000, 1, 1, tzinfo=UTC)


class EventDraft(NamedTuple):
    """An event: its type, its program (None: it is for all partitions), its key, and its data as JSON text.

    With `tail`, a profile's pseudonym, or null, goes between `head` and `tail`.
    """

    type: str
    program_id: int | None
    key: str
    head: str
    profile_id: str | None = None
    tail: str | None = None


@lru_cache(maxsize=4096)
def moment(microseconds: int | None) -> str:
    """A time as the log gives it (us since 2000) as JSON: RFC 3339 text in UTC, or null."""
    if microseconds is None:
        return "null"
    return f'"{moment_text(microseconds)}"'


def moment_text(microseconds: int) -> str:
    """A time (us since 2000) as RFC 3339 text in UTC."""
    return f"{moment_of(microseconds).replace(tzinfo=None).isoformat()}Z"


def moment_of(microseconds: int) -> datetime:
    """A time (us since 2000). Infinity is the last moment that there is."""
    try:
        return _EPOCH_OF_POSTGRES + timedelta(microseconds=microseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def text(value: str | None) -> str:
    """A text as JSON, or null."""
    return "null" if value is None else quoted(value)


def of_code(program_id: int, program: str, place: str) -> str:
    """The first members of an event about one code."""
    return f'{{"program_id":{program_id},"program":"{program}","place":"{place}"'


def of_range(program_id: int, program: str, run: str, first: int, count: int) -> str:
    """The first members of an event about a range."""
    return f'{{"program_id":{program_id},"program":"{program}","run":"{run}","first":{first},"count":{count}'
