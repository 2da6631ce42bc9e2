"""Opaque cursors of paginated lists."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Final

from fastapi import HTTPException, Query

from codewell.codes.lookup import START, CodePlace

_PLACE_MAX: Final = 2**63 - 1

Limit = Annotated[int, Query(ge=1, le=1_000, description="Maximum number of entries.")]
Cursor = Annotated[
    str | None,
    Query(min_length=1, max_length=200, description="The next_cursor of the previous page.", examples=["U1BSSU5H"]),
]


def of_text(text: str) -> str:
    """Encode a text as a cursor."""
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def of_place(place: CodePlace) -> str:
    """Encode a code's place as a cursor."""
    return of_text(":".join(map(str, place)))


def text_of(cursor: str | None, first: str = "") -> str:
    """Decode a cursor; `first` for None. Raises 422 for an invalid one."""
    if cursor is None:
        return first
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise _broken() from error
    if of_text(text) != cursor or "\0" in text:
        raise _broken()
    return text


def place_of(cursor: str | None) -> CodePlace:
    """Decode the place after which the page starts. Raises 422 for an invalid cursor."""
    if cursor is None:
        return START
    try:
        listed, major, minor = map(int, text_of(cursor).split(":"))
    except ValueError as error:
        raise _broken() from error
    if listed not in {0, 1} or not (0 <= major <= _PLACE_MAX and 0 <= minor < _PLACE_MAX):
        raise _broken()
    return CodePlace(listed, major, minor)


def _broken() -> HTTPException:
    return HTTPException(422, "The cursor is not valid: use the next_cursor of a page, or leave it out.")
