"""Assignments in the table `holding`: the code that a profile has in a program which gives it again.

A program that shares one code with everybody has one, of the empty profile.
"""

import struct
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import repeat
from operator import itemgetter
from typing import Final

import asyncpg

from codewell.infra.postgres.columns import columns_of
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.constraints import violates
from codewell.infra.postgres.copy_binary import (
    BEGIN,
    BIGINT_BYTES,
    END,
    NULL,
    jsonb,
    moment,
    text,
    timestamp,
)
from codewell.issuing.model import AssignmentKey, PooledCode, Run, as_code, as_key

_COLUMNS: Final = ("program_id", "profile_id", "scope", "block_id", "position", "code", "expires_at", "fields")

_ROW: Final = ", ".join(_COLUMNS)
_FIND: Final = f"""
    SELECT {_ROW} FROM unnest($1::bigint[], $2::text[], $3::text[]) AS k (program_id, profile_id, scope)
    JOIN holding h USING (program_id, profile_id, scope)
    """  # noqa: S608  constants
# The index is walked in one scan, not once for each key. Batches have few different expiries, and asyncpg takes longer
# to read one than for the rest of the row.
_FIND_IN_SCOPE: Final = """
    SELECT array_agg(profile_id), array_agg(block_id), array_agg(position), array_agg(code),
           array_agg(timestamptz_send(expires_at)), array_agg(fields)
    FROM holding WHERE program_id = $1 AND profile_id = ANY($2::text[]) AND scope = $3
    """
_ASSIGN: Final = """
    INSERT INTO holding AS h (program_id, profile_id, scope, block_id, position, code, expires_at, fields)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[],
                         $7::timestamptz[], $8::jsonb[])
    ON CONFLICT (program_id, profile_id, scope) DO UPDATE
    SET block_id = excluded.block_id, position = excluded.position, code = excluded.code,
        expires_at = excluded.expires_at, fields = excluded.fields
    -- All new profiles of a shared code need the least life that a pooled code needs.
    WHERE h.expires_at <= statement_timestamp() + (
        SELECT CASE WHEN shared THEN coalesce(min_life_at_attach, interval '0') ELSE interval '0' END
        FROM program WHERE id = h.program_id)
    RETURNING 1
    """
# Sorted: two claims of the same profiles could deadlock otherwise. At each of these positions is one of these answers.
_ASSIGN_RUNS: Final = f"""
    INSERT INTO holding ({_ROW})
    SELECT program_id, profile_id, $4, block_id, position, code, expires_at, fields
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS run (block_id, first, last)
    JOIN answer USING (block_id)
    WHERE position BETWEEN first AND last AND NOT again
    ORDER BY profile_id COLLATE "C"
    """  # noqa: S608  constants
# Up to so many, one statement costs less than the two round trips more of COPY.
INSERTED_MAX: Final = 100
# Field count and program, then the length of the profile's id; block and position, then the length of the code.
_HEAD: Final = struct.Struct(">hiqi").pack
_MIDDLE: Final = struct.Struct(">iqiqi").pack
# A batch has few scopes.
_text: Final = lru_cache(maxsize=1024)(text)


class AssignmentTaken(Exception):
    """A profile has a code already, or may have, that its claim has not seen. The caller decides the batch again."""


async def assigned_codes(connection: Connection, keys: Sequence[AssignmentKey]) -> dict[AssignmentKey, PooledCode]:
    """The stored assignments of these keys; keys without one are left out."""
    if not keys:
        return {}
    program_ids, profile_ids, scopes = zip(*keys, strict=True)
    if len(set(program_ids)) > 1 or len(set(scopes)) > 1:
        rows = await connection.fetch(_FIND, program_ids, profile_ids, scopes)
        return {as_key(row[:3]): as_code(row[3:]) for row in rows}
    # The server finds sorted ones faster.
    found, block_ids, positions, texts, expiries, fields = await connection.fetchrow(
        _FIND_IN_SCOPE, program_ids[0], sorted(profile_ids), scopes[0]
    )
    if found is None:
        return {}
    codes = zip(block_ids, positions, texts, map(moment, expiries), fields, strict=True)
    found_keys = zip(repeat(program_ids[0]), found, repeat(scopes[0]))
    return dict(zip(map(as_key, found_keys), map(as_code, codes), strict=True))


async def assign(connection: Connection, assignments: Mapping[AssignmentKey, PooledCode]) -> int:
    """Store assignments, and return how many. A key that has an unexpired one already keeps it and is not counted."""
    rows = [(*key, *code) for key, code in sorted(assignments.items())]
    return len(await connection.fetch(_ASSIGN, *columns_of(rows, len(_COLUMNS))))


async def assign_all(
    connection: Connection, assignments: Mapping[AssignmentKey, PooledCode], stored: Container[AssignmentKey]
) -> None:
    """Store all of these assignments. `stored`: those keys that had an assignment when this transaction looked.

    Raises AssignmentTaken, after which the transaction can only be rolled back, when one of the keys has an unexpired
    assignment.
    """
    if len(assignments) <= INSERTED_MAX or any(key in stored for key in assignments):
        if await assign(connection, assignments) != len(assignments):
            raise AssignmentTaken
        return
    # asyncpg would read plain bytes as a file path.
    source = memoryview(_encode(assignments))
    with _taken():
        await connection.copy_to_table("holding", source=source, columns=_COLUMNS, format="binary")


async def assign_runs(connection: Connection, runs: Sequence[Run]) -> None:
    """Store the codes of these runs, of one program and scope, as their profiles'. Their answers are stored already.

    The server copies what it has just read: that takes a fifth of the time of encoding it again. Raises
    AssignmentTaken as `assign_all` does.
    """
    with _taken():
        await connection.execute(
            _ASSIGN_RUNS,
            [run.block_id for run in runs],
            [run.positions[0] for run in runs],
            [run.positions[-1] for run in runs],
            runs[0].scope,
        )


@contextmanager
def _taken() -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if not violates(error, "holding_once"):
            raise
        raise AssignmentTaken from error


def _encode(assignments: Mapping[AssignmentKey, PooledCode]) -> bytes:
    """Rows for binary COPY, in the order of their keys as `assign` stores them: another order could deadlock."""
    keys = list(assignments)
    # Sorts of one column each take a third of the time of one by keys.
    for column in (2, 1, 0):
        keys.sort(key=itemgetter(column))
    pieces = [BEGIN]
    for key in keys:
        program_id, profile_id, scope = key
        block_id, position, code, expires_at, fields = assignments[key]
        profile, code_bytes = profile_id.encode(), code.encode()
        pieces += (
            _HEAD(len(_COLUMNS), BIGINT_BYTES, program_id, len(profile)),
            profile,
            _text(scope),
            _MIDDLE(BIGINT_BYTES, block_id, BIGINT_BYTES, position, len(code_bytes)),
            code_bytes,
            NULL if expires_at is None else timestamp(expires_at),
            NULL if fields is None else jsonb(fields),
        )
    pieces.append(END)
    return b"".join(pieces)
