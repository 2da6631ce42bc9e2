"""Conditional changes as in RFC 9110: the `ETag` of a program, and the header `If-Match` that names it."""

import re
from typing import Annotated, Final

from fastapi import Header
from fastapi.responses import Response

from codewell.programs.revision import revision_of
from schemas import patterns
from schemas.program import Program

_ANY: Final = "*"
_STRONG: Final = re.compile(r'(W/)?"([^"]*)"')
_CHARACTERS_MAX: Final = 1_000

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=_CHARACTERS_MAX,
        pattern=patterns.IF_MATCH,
        description="The `ETag` of the program that the change is based on. If the program was changed since, nothing "
        "is changed. Without this header the last change wins.",
        examples=['"8f14e45fceea167a5a36dedd4bea2543"'],
    ),
]
ETAG_HEADERS: Final = {
    "ETag": {
        "description": "The revision of these settings, for `If-Match`.",
        "schema": {"type": "string"},
        "example": '"8f14e45fceea167a5a36dedd4bea2543"',
    }
}


def required_revisions(if_match: str | None) -> frozenset[str] | None:
    """The revisions that a change accepts; None: any. A weak tag matches none, as RFC 9110 says."""
    if if_match is None or if_match.strip() == _ANY:
        return None
    return frozenset(tag for weak, tag in _STRONG.findall(if_match) if not weak)


def tag(response: Response, program: Program) -> None:
    """Give the response the program's `ETag`."""
    response.headers["ETag"] = f'"{revision_of(program)}"'
