"""Encodes answer rows for binary COPY."""

import struct
from collections.abc import Iterable
from typing import Final

from codewell.infra.postgres.copy_binary import (
    BEGIN,
    BIGINT,
    BIGINT_BYTES,
    END,
    NULL,
    bigint_or_null,
    jsonb,
    text,
    timestamp,
)
from codewell.issuing.model import AnswerRow

# Columns that are never null come first, so that one struct packs them.
COLUMNS: Final = (
    "request_id", "ordinal", "again", "preview", "answered_at", "profile_id",
    "program_id", "block_id", "position", "code", "expires_at", "fields", "refusals",
)  # fmt: skip

# Field count; request id, ordinal, again, preview and time, each with its length prefix; length of the profile id.
_HEAD: Final = struct.Struct(">hi16sihi?i?12si").pack


def encode(rows: Iterable[AnswerRow]) -> bytes:
    """The rows in the binary COPY format, with their fields in the order of COLUMNS."""
    pieces = [BEGIN]
    for row in rows:
        (request_id, ordinal, program_id, block_id, position, again, preview, profile_id,
         code, expires_at, fields, refusals, answered_at) = row  # fmt: skip
        profile = profile_id.encode()
        head = _HEAD(
            len(COLUMNS), 16, request_id.bytes, 2, ordinal, 1, again, 1, preview, timestamp(answered_at), len(profile)
        )
        pieces += (
            head,
            profile,
            bigint_or_null(program_id),
            bigint_or_null(block_id),
            NULL if position is None else BIGINT(BIGINT_BYTES, position),
            NULL if code is None else text(code),
            NULL if expires_at is None else timestamp(expires_at),
            NULL if fields is None else jsonb(fields),
            NULL if refusals is None else text(refusals),
        )
    pieces.append(END)
    return b"".join(pieces)
