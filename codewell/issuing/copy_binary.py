"""Answers and texts in the binary format of COPY, packed here for a quarter of what asyncpg takes a field at a time.

The format is PostgreSQL's (its manual, "COPY", section "Binary Format"): a signature, each row as its number of
fields and each field as its length and its bytes in network order, a trailer. The length of a null is -1.
"""

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from codewell.issuing.model import AnswerRow

# Those that are never null come first.
COLUMNS: Final = (
    "request_id", "ordinal", "again", "preview", "answered_at", "profile_id",
    "program_id", "block_id", "position", "code", "expires_at", "fields", "refusals",
)  # fmt: skip

CODE_COLUMNS: Final = ("block_id", "position", "program_id", "text")

_BEGIN: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_END: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
_JSONB_VERSION: Final = b"\x01"
# The number of fields; request id, ordinal, again, preview and time, each behind its length; the profile id's length.
_HEAD: Final = struct.Struct(">hi16sihi?i?12si").pack
# The number of fields; block, position and program, each behind its length; the text's length.
_CODE_HEAD: Final = struct.Struct(">hiqiqiqi").pack
_LENGTH: Final = struct.Struct(">i").pack
_BIGINT: Final = struct.Struct(">iq").pack
_BIGINT_BYTES: Final = 8
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def packed(rows: Iterable[AnswerRow]) -> bytes:
    """What COPY reads as these rows, with their fields in the order of COLUMNS."""
    pieces = [_BEGIN]
    for row in rows:
        (request_id, ordinal, program_id, block_id, position, again, preview, profile_id,
         code, expires_at, fields, refusals, answered_at) = row  # fmt: skip
        profile = profile_id.encode()
        head = _HEAD(
            len(COLUMNS), 16, request_id.bytes, 2, ordinal, 1, again, 1, preview, _time(answered_at), len(profile)
        )
        pieces += (
            head,
            profile,
            _bigint(program_id),
            _bigint(block_id),
            _NULL if position is None else _BIGINT(_BIGINT_BYTES, position),
            _NULL if code is None else _bytes(code.encode()),
            _NULL if expires_at is None else _time(expires_at),
            _NULL if fields is None else _bytes(_JSONB_VERSION + fields.encode()),
            _NULL if refusals is None else _bytes(refusals.encode()),
        )
    pieces.append(_END)
    return b"".join(pieces)


def packed_codes(program_id: int, runs: Iterable[tuple[int, int, Sequence[str]]]) -> bytes:
    """What COPY reads as texts of list blocks, by CODE_COLUMNS. A run is a block, a first position and its texts."""
    pieces = [_BEGIN]
    for block_id, first, texts in runs:
        for position, text in enumerate(texts, first):
            encoded = text.encode()
            pieces += (_CODE_HEAD(4, 8, block_id, 8, position, 8, program_id, len(encoded)), encoded)
    pieces.append(_END)
    return b"".join(pieces)


@lru_cache(maxsize=1024)  # A batch is of few programs and blocks, and all codes of a block share one time.
def _bigint(value: int | None) -> bytes:
    return _NULL if value is None else _BIGINT(_BIGINT_BYTES, value)


@lru_cache(maxsize=1024)
def _time(moment: datetime) -> bytes:
    return _BIGINT(_BIGINT_BYTES, (moment - _EPOCH) // _MICROSECOND)


def _bytes(value: bytes) -> bytes:
    return _LENGTH(len(value)) + value
