"""Opaque cursors of paginated lists."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Final, TypeVar
from uuid import UUID

from fastapi import Query

from codewell.codes.lookup import START, CodePlace
from codewell.codes.prefix_search import SEARCH_START, SearchPlace
from codewell.infra.digits import whole_number
from codewell.reasons import PROBLEMS
from schemas.events import ShortName
from services.console.http.problems import HttpProblem

T = TypeVar("T")

_PLACE_MAX: Final = 2**63 - 1
_VERSION_MAX: Final = 2**31 - 1

Limit = Annotated[int, Query(ge=1, le=1_000, description="Maximum number of entries.")]
Cursor = Annotated[
    str | None,
    Query(min_length=1, max_length=1_000, description="The next_cursor of the previous page.", examples=["U1BSSU5H"]),
]
OnlyPrograms = Annotated[
    list[ShortName] | None, Query(max_length=100, description="Only these programs.", examples=[["SPRING"]])
]


def of_text(text: str) -> str:
    """Encode a text as a cursor."""
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def of_next(found: Sequence[T], limit: int, name_of: Callable[[T], str]) -> str | None:
    """The cursor of the page after the first `limit` entries, by their names; None where there is no further one."""
    return of_text(name_of(found[limit - 1])) if len(found) > limit else None


def of_place(place: CodePlace) -> str:
    """Encode a code's place as a cursor."""
    return of_text(str(place))


def text_of(cursor: str | None, first: str = "") -> str:
    """Decode a cursor; `first` for None. Raises 422 for an invalid one."""
    if cursor is None:
        return first
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise broken() from error
    if of_text(text) != cursor or "\0" in text:
        raise broken()
    return text


def number_of(cursor: str | None, first: int) -> int:
    """Decode the number before or after which the page starts; `first` for None. Raises 422 for an invalid cursor."""
    number = whole_number(text_of(cursor, str(first)))
    if number is None or number > _PLACE_MAX:
        raise broken()
    return number


def uuid_of(cursor: str | None) -> UUID | None:
    """Decode the id after which the page starts. Raises 422 for an invalid cursor."""
    if cursor is None:
        return None
    try:
        return UUID(text_of(cursor))
    except ValueError as error:
        raise broken() from error


def place_of(cursor: str | None, first: CodePlace = START) -> CodePlace:
    """Decode the place after which the page starts; `first` for None. Raises 422 for an invalid cursor."""
    if cursor is None:
        return first
    try:
        listed, major, minor = map(int, text_of(cursor).split(":"))
    except ValueError as error:
        raise broken() from error
    # Of a minted code the version comes first, which is of 32 bits.
    major_max = _PLACE_MAX if listed else _VERSION_MAX
    if listed not in {0, 1} or not (0 <= major <= major_max and 0 <= minor < _PLACE_MAX):
        raise broken()
    return CodePlace(listed, major, minor)


def of_search(place: SearchPlace) -> str:
    """Encode the place of a search as a cursor."""
    # Hexadecimal, as a text may have any printable character.
    return of_text(f"{place.version}:{place.candidate}:{place.text.encode().hex()}")


def search_place_of(cursor: str | None) -> SearchPlace:
    """Decode the place after which the page of a search starts. Raises 422 for an invalid cursor."""
    if cursor is None:
        return SEARCH_START
    try:
        version, candidate, text = text_of(cursor).split(":")
        place = SearchPlace(int(version), int(candidate), bytes.fromhex(text).decode())
    except ValueError as error:
        raise broken() from error
    if not (0 <= place.version <= _VERSION_MAX and 0 <= place.candidate <= _PLACE_MAX) or "\0" in place.text:
        raise broken()
    return place


def of_numbers(numbers: Sequence[int]) -> str:
    """Encode whole numbers as a cursor."""
    return of_text(",".join(map(str, numbers)))


def numbers_of(cursor: str, count: int | None = None) -> list[int]:
    """Decode whole numbers, `count` of them if it is given. Raises 422 for an invalid cursor."""
    numbers = [whole_number(one) for one in text_of(cursor).split(",")]
    found = [number for number in numbers if number is not None]
    if len(found) != len(numbers) or count not in {None, len(found)}:
        raise broken()
    return found


def broken() -> HttpProblem:
    """The problem of an invalid cursor."""
    return HttpProblem("cursor_invalid", PROBLEMS["cursor_invalid"].example)
