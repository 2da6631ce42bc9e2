"""Reads rows of `answer` from the log. Most of all events are about them, so each costs a few microseconds only."""

import struct
from functools import lru_cache
from typing import Final, NamedTuple

from codewell.lifecycle.drafts import EventDraft, moment
from codewell.lifecycle.facts import KnownFacts
from schemas import lifecycle

COLUMNS: Final = (
    "request_id", "ordinal", "program_id", "block_id", "position", "again", "profile_id", "expires_at", "fields",
    "asked_program_id", "link",
)  # fmt: skip
# The values that are never null, each after a byte and its length; then the length of the profile id.
_HEAD: Final = struct.Struct(">h5x16s5xh5xq5xq5xq5x?xi")
_LENGTH: Final = struct.Struct(">i").unpack_from
_LONG: Final = struct.Struct(">q").unpack_from
_SHORT: Final = struct.Struct(">h").unpack_from
_NULL: Final = ord("n")
_START: Final = 6
_HEADS_MAX: Final = 100_000


class GivenRow(NamedTuple):
    """A code that was given: the columns of the row, the last four as bytes."""

    request_id: bytes
    ordinal: int
    block_id: int
    position: int
    again: bool
    profile_id: str
    expires_at: bytes | None
    fields: bytes | None
    asked_program_id: bytes | None
    link: bytes | None

    @property
    def asked(self) -> int | None:
        """The program that was asked, if it is not the code's own."""
        return None if self.asked_program_id is None else int(_LONG(self.asked_program_id)[0])


def read_row(message: bytes) -> GivenRow:
    """The row in a message about an insert, whose columns are COLUMNS."""
    _, request_id, ordinal, _, block_id, position, again, length = _HEAD.unpack_from(message, _START)
    at = _START + _HEAD.size + length
    profile_id = message[at - length : at].decode()
    if message[at:] == b"nnnn":
        return GivenRow(request_id, ordinal, block_id, position, again, profile_id, None, None, None, None)
    rest: list[bytes | None] = []
    for _ in range(4):
        if message[at] == _NULL:
            rest.append(None)
            at += 1
        else:
            start = at + 5
            at = start + _LENGTH(message, at + 1)[0]
            rest.append(message[start:at])
    return GivenRow(request_id, ordinal, block_id, position, again, profile_id, *rest)


class GivenDrafts:
    """Events about given codes. It keeps what all codes of a block have in common."""

    def __init__(self, facts: KnownFacts) -> None:
        self._facts = facts
        self._heads: dict[int, tuple[int, int, str, str]] = {}

    def draft(self, row: GivenRow) -> EventDraft:
        """The event that a profile got the code."""
        program_id, first, head, key = self._heads.get(row.block_id) or self._head(row.block_id)
        number = first + row.position
        request = row.request_id.hex()
        tail = (
            f',"request_id":"{request[:8]}-{request[8:12]}-{request[12:16]}-{request[16:20]}-{request[20:]}",'
            f'"ordinal":{row.ordinal},{self._rest(row)}'
        )
        return EventDraft(
            lifecycle.CODE_ATTACHED, program_id, f"{key}{number}", f'{head}{number}","profile":', row.profile_id, tail
        )

    def _head(self, block_id: int) -> tuple[int, int, str, str]:
        block = self._facts.blocks[block_id]
        name = self._facts.names[block.program_id]
        head = f'{{"program_id":{block.program_id},"program":"{name}","place":"{block.run}:'
        found = (block.program_id, block.first, head, f"{block.program_id}:{block.run}:")
        if len(self._heads) > _HEADS_MAX:
            self._heads.clear()
        self._heads[block_id] = found
        return found

    def _rest(self, row: GivenRow) -> str:
        asked = row.asked
        name = None if asked is None else self._facts.names[asked]
        return _rest(row.again, row.expires_at, row.fields, name, row.link)


# Cached: all codes of a block have one expiry and the same fields.
@lru_cache(maxsize=1024)
def _rest(again: bool, expires_at: bytes | None, fields: bytes | None, asked: str | None, link: bytes | None) -> str:
    return (
        f'"again":{"true" if again else "false"},'
        f'"expires_at":{moment(None if expires_at is None else _LONG(expires_at)[0])},'
        f'"fields":{"null" if fields is None else fields[1:].decode()},'
        f'"asked_program":{"null" if asked is None else _quoted(asked)},'
        f'"fallback":{"null" if link is None else _SHORT(link)[0]}}}'
    )


def _quoted(name: str) -> str:
    return f'"{name}"'
