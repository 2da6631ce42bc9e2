"""Decodes what Postgres' output plugin `pgoutput` says of committed transactions (protocol version 1, binary).

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

from codewell.errors import CodewellError
from codewell.lifecycle.given_rows import COLUMNS, GivenRow, read_row

_BEGIN: Final = struct.Struct(">qqI").unpack_from
_COMMIT: Final = struct.Struct(">xqqq").unpack_from
_INT: Final = struct.Struct(">i").unpack_from
_OID: Final = struct.Struct(">I").unpack_from
_SHORT: Final = struct.Struct(">h").unpack_from
_LONG: Final = struct.Struct(">q").unpack

_NULL, _UNCHANGED = ord("n"), ord("u")

Raw = bytes | None
_Unchanged: Final = b"\x00unchanged"
"""A long value that an update left as it was: the plugin does not repeat it."""

# Binary formats, by the type's oid in Postgres. Other types stay bytes, which can still be compared.
_READ: Final[dict[int, Callable[[bytes], Any]]] = {
    16: lambda raw: raw != b"\x00",
    20: lambda raw: _LONG(raw)[0],
    21: lambda raw: _SHORT(raw)[0],
    23: lambda raw: _INT(raw)[0],
    25: bytes.decode,
    114: bytes.decode,
    # Microseconds since the year 2000.
    1184: lambda raw: _LONG(raw)[0],
    2950: lambda raw: str(UUID(bytes=raw)),
    # Its first byte is a version.
    3802: lambda raw: raw[1:].decode(),
}


class LogInvalid(CodewellError):
    """The database's log says something that this version does not know."""


@dataclass(frozen=True)
class Relation:
    """A published table."""

    name: str
    columns: tuple[str, ...]
    types: tuple[int, ...]

    def values(self, raw: list[Raw]) -> dict[str, Any]:
        """A row by column."""
        return {
            column: None if value is None else _READ.get(oid, bytes)(value)
            for column, oid, value in zip(self.columns, self.types, raw, strict=True)
        }


class RowChange(NamedTuple):
    """A row that was inserted (`old` is None) or updated. Their values as the plugin sent them."""

    relation: Relation
    old: list[Raw] | None
    new: list[Raw]

    @property
    def before(self) -> dict[str, Any] | None:
        """The row before the update."""
        return None if self.old is None else self.relation.values(self.old)

    @property
    def after(self) -> dict[str, Any]:
        """The row after it."""
        return self.relation.values(self.new)


class Transaction(NamedTuple):
    """A committed transaction: where its commit begins and ends in the log, when it was (us since 2000), its id."""

    lsn: int
    end_lsn: int
    at: int
    xid: int
    changes: list[RowChange | GivenRow]


class LogDecoder:
    """Decodes the messages of one reading of a slot, in order; their tables are described once in it."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._begun: tuple[int, int, int] = (0, 0, 0)
        self._changes: list[RowChange | GivenRow] = []
        self._given = 0

    def decode(self, message: bytes) -> Transaction | None:
        """The transaction that this message ends, or None. Raises LogInvalid."""
        match message[0]:
            case 73:  # I
                oid = _OID(message, 1)[0]
                if oid == self._given:
                    self._changes.append(read_row(message))
                else:
                    self._changes.append(RowChange(self._relations[oid], None, _row(message, 6)[0]))
            case 85:  # U
                self._changes.append(self._update(message))
            case 66:  # B
                self._begun = _BEGIN(message, 1)
                self._changes = []
            case 67:  # C
                lsn, end_lsn, _ = _COMMIT(message, 1)
                _, at, xid = self._begun
                return Transaction(lsn, end_lsn, at, xid, self._changes)
            case 82:  # R
                self._describe(message)
            case 89 | 79:  # Y, O: a type of the database's own, and where a replicated change came from
                pass
            case other:
                raise LogInvalid(f"The log has a message of the unknown kind {chr(other)!r}.")
        return None

    def _update(self, message: bytes) -> RowChange:
        relation = self._relations[_OID(message, 1)[0]]
        old: list[Raw] | None = None
        at = 6
        if message[5] != ord("N"):
            old, at = _row(message, 6)
            at += 1
        new, _ = _row(message, at)
        if old is None:
            raise LogInvalid(f"The log lacks the old row of an update of {relation.name}.")
        return RowChange(relation, old, [was if now is _Unchanged else now for was, now in zip(old, new, strict=True)])

    def _describe(self, message: bytes) -> None:
        [oid] = _OID(message, 1)
        _, at = _text(message, 5)
        name, at = _text(message, at)
        [count] = _SHORT(message, at + 1)
        columns = list(_columns(message, at + 3, count))
        if name == "answer":
            if tuple(name for name, _ in columns) != COLUMNS:
                raise LogInvalid("The log has other columns of answers: run codewell migrate.")
            self._given = oid
        self._relations[oid] = Relation(name, tuple(name for name, _ in columns), tuple(kind for _, kind in columns))


def _columns(message: bytes, at: int, count: int) -> Iterator[tuple[str, int]]:
    for _ in range(count):
        name, at = _text(message, at + 1)
        yield name, _OID(message, at)[0]
        at += 8


def _text(message: bytes, at: int) -> tuple[str, int]:
    end = message.index(0, at)
    return message[at:end].decode(), end + 1


def _row(message: bytes, at: int) -> tuple[list[Raw], int]:
    """The values of a row that begins at `at`, and where it ends."""
    values: list[Raw] = []
    count = message[at] << 8 | message[at + 1]
    at += 2
    for _ in range(count):
        kind = message[at]
        at += 1
        if kind == _NULL:
            values.append(None)
        elif kind == _UNCHANGED:
            values.append(_Unchanged)
        else:
            start = at + 4
            at = start + int.from_bytes(message[at:start], "big")
            values.append(message[start:at])
    return values, at
