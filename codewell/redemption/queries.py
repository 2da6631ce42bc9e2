"""SQL statements of redemption: lock codes, read what counts of them, write what was decided."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg

from codewell.access import stored_responses
from codewell.access.stored_responses import StoredResponse, TokenKey
from codewell.codes import typed
from codewell.codes.lookup import FACT_COLUMNS, FACT_JOINS, LocatedCode
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.columns import columns_of
from codewell.infra.postgres.connection import Connection
from codewell.pool.program_conditions import SWITCHED_ON, USES_PER_CODE, USES_PER_PROFILE
from codewell.redemption.model import CodeTally, TillRules, Use

# Rows are locked in key order, so that two batches can't deadlock. A code that no profile has needs no row.
_LOCK: Final = """
    INSERT INTO code_state AS s (block_id, position)
    SELECT a.block_id, a.position FROM unnest($1::bigint[], $2::bigint[]) AS w (block_id, position)
    JOIN answer a ON a.block_id = w.block_id AND a.position = w.position AND NOT a.again AND a.block_id IS NOT NULL
    ORDER BY a.block_id, a.position
    ON CONFLICT (block_id, position) DO UPDATE SET hole = s.hole
    RETURNING block_id, position
    """
# All $7 texts are looked up and locked at once. If one is not found as it is written, none is locked (null): it may be
# found by another statement, and a transaction that locked twice would not lock in order.
_FIND_AND_LOCK: Final = f"""
    WITH found AS MATERIALIZED ({typed.BLOCKS_OF_MEANT}), every AS (
        SELECT FROM found WHERE folded IS NULL HAVING count(DISTINCT text) = $7
    ), locked AS (
        INSERT INTO code_state AS s (block_id, position)
        SELECT f.id, f.position FROM (SELECT DISTINCT id, position FROM found) f
        WHERE EXISTS (SELECT FROM every) AND (
            SELECT true FROM answer a WHERE a.block_id = f.id AND a.position = f.position AND NOT a.again
              AND a.block_id IS NOT NULL)
        ORDER BY f.id, f.position
        ON CONFLICT (block_id, position) DO UPDATE SET hole = s.hole
        RETURNING block_id, position
    )
    SELECT f.*, CASE WHEN EXISTS (SELECT FROM every) THEN l.block_id IS NOT NULL END AS locked
    FROM found f LEFT JOIN locked l ON l.block_id = f.id AND l.position = f.position
    """  # noqa: S608  a constant

_LIVES: Final = "u.ended_at IS NULL AND (u.used_at IS NOT NULL OR u.held_until > statement_timestamp())"
_USE: Final = """
    u.id, u.order_id, u.profile_id, u.context, u.per_code, u.taken_at, u.held_until, u.used_at, u.ended_at, u.ended_by
    """.strip()
# Read after the lock: its time is later than that of the transaction that had the lock before. The first row alone has
# the program's rules.
_COUNTING: Final = f"""
    SELECT p.name, {SWITCHED_ON}, p.valid_from, p.shared, {USES_PER_CODE}, {USES_PER_PROFILE}, p.holder_only, p.refund,
           statement_timestamp(),
           (SELECT count(*) FROM code_use u WHERE u.block_id = w.block_id AND u.position = w.position
            AND u.used_at IS NULL AND u.ended_at IS NULL AND u.held_until > statement_timestamp()),
           CASE WHEN w.profile_id IS NOT NULL THEN
               (SELECT count(*) FROM code_use u WHERE u.block_id = w.block_id AND u.position = w.position
                AND u.profile_id = w.profile_id AND {_LIVES}) END,
           u.*, {FACT_COLUMNS}
    FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[]) WITH ORDINALITY
         AS w (block_id, position, order_id, profile_id, n)
    LEFT JOIN program p ON p.id = $1 AND w.n = 1 {FACT_JOINS}
    LEFT JOIN LATERAL (
        SELECT {_USE} FROM code_use u
        WHERE u.order_id = w.order_id AND u.block_id = w.block_id AND u.position = w.position
        ORDER BY u.ended_at IS NOT NULL, u.ended_at DESC, u.id DESC LIMIT 1
    ) u (use_id, order_of, used_by, used_in, use_limit, taken_at, use_until, used_at, ended_at, ended_by) ON true
    ORDER BY w.n
    """  # noqa: S608  constants
_OF_USE: Final = slice(11, 21)
_OF_PROFILES: Final = f"""
    SELECT w.n, (SELECT count(*) FROM code_use u WHERE u.block_id = w.block_id AND u.position = w.position
                 AND u.profile_id = w.id AND {_LIVES}) AS count
    FROM unnest($1::bigint[], $2::bigint[], $3::text[]) WITH ORDINALITY AS w (block_id, position, id, n)
    """  # noqa: S608  constants
_LONE: Final = f"""
    SELECT w.n, u.* FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS w (block_id, position, n)
    CROSS JOIN LATERAL (
        SELECT {_USE} FROM code_use u
        WHERE u.block_id = w.block_id AND u.position = w.position AND u.ended_at IS NULL AND u.used_at IS NOT NULL
        ORDER BY u.order_id IS NOT NULL, u.id DESC LIMIT 1
    ) u
    """  # noqa: S608  constants
# Whether these profiles have these codes. The index on profiles is made of bloom filters, so it costs milliseconds.
_HOLDERS: Final = """
    SELECT w.n FROM unnest($1::bigint[], $2::bigint[], $3::text[]) WITH ORDINALITY AS w (block_id, position, id, n)
    WHERE EXISTS (
        SELECT FROM answer a WHERE a.profile_id = w.id AND a.block_id = w.block_id AND a.position = w.position)
    """

# When the last hold of each code ends, but for these.
_OTHER_HOLDS: Final = """
    SELECT w.n, (SELECT max(u.held_until) FROM code_use u
                 WHERE u.block_id = w.block_id AND u.position = w.position AND u.used_at IS NULL AND u.ended_at IS NULL
                   AND u.held_until > $4 AND u.id <> ALL($3::bigint[])) AS until
    FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS w (block_id, position, n)
    """

# A profile that was only read is not written: it may be forgotten meanwhile.
# An activation that no row records is kept as one that was undone; the last fifty are.
_CHANGES: Final = """
    changed AS (
        UPDATE code_use u SET profile_id = coalesce(w.profile_id, u.profile_id), context = w.context,
            per_code = w.per_code, taken_at = w.taken_at, held_until = w.held_until, used_at = w.used_at,
            ended_at = w.ended_at, ended_by = w.ended_by
        FROM unnest($13::bigint[], $14::text[], $15::text[], $16::integer[], $17::timestamptz[], $18::timestamptz[],
                    $19::timestamptz[], $20::timestamptz[], $21::text[])
            AS w (id, profile_id, context, per_code, taken_at, held_until, used_at, ended_at, ended_by)
        WHERE u.id = w.id
    ), added AS (
        INSERT INTO code_use (program_id, block_id, position, order_id, profile_id, context, per_code, taken_at,
                              held_until, used_at, ended_at, ended_by)
        SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::integer[],
                                 $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[],
                                 $12::text[])
    )
    UPDATE code_state s SET uses = w.uses, activated_at = w.activated_at, held_until = w.held_until,
        undone_activations = CASE WHEN w.undone THEN
            (coalesce(undone_activations, '{}') || ARRAY[s.activated_at, statement_timestamp()])
            [greatest(1, coalesce(cardinality(undone_activations), 0) - 97):] ELSE undone_activations END
    FROM unnest($22::bigint[], $23::bigint[], $24::integer[], $25::timestamptz[], $26::timestamptz[], $27::boolean[])
         AS w (block_id, position, uses, activated_at, held_until, undone)
    WHERE s.block_id = w.block_id AND s.position = w.position
    """
_WRITE: Final = f"WITH {_CHANGES}"
_WRITE_AND_STORE: Final = f"WITH {stored_responses.storing(28)}, {_CHANGES}"
# The next profile gets the next code. The row is there once for a program whose profiles share a code.
_GIVE_NO_MORE: Final = """
    DELETE FROM holding h USING unnest($2::bigint[], $3::bigint[]) AS w (block_id, position)
    WHERE h.program_id = $1 AND h.profile_id = '' AND h.scope = '' AND h.block_id = w.block_id
      AND h.position = w.position
    """


class Place(NamedTuple):
    """Where a code is: the key of its rows."""

    block_id: int
    position: int


class Asked(NamedTuple):
    """A code of which something is asked, and by whom."""

    block_id: int
    position: int
    order_id: str | None
    profile_id: str | None


class Counting(NamedTuple):
    """What counts of a code: how many orders hold it, how often the profile uses or holds it, and what the order has.

    That is the order's use or hold of the code that has not ended, or the last one that has.
    """

    holds: int
    of_profile: int | None
    of_order: Use | None
    code: asyncpg.Record
    """What `codewell.codes.lookup.fact` reads of the code."""


async def find_and_lock(codes: ProgramCodes, given: Sequence[str]) -> list[typed.Meant]:
    """The codes that texts stand for, as `typed.meant_all` finds them; locked, if the rows say so (`locked_ones`)."""
    texts = {text for one in given for text in typed.readings(one)}
    return await typed.meant_by(codes, given, _FIND_AND_LOCK, len(texts))


async def locked_ones(connection: Connection, found: Sequence[LocatedCode]) -> set[Place]:
    """The attached ones of these codes, which stay locked until the transaction ends."""
    places = [Place(at.block["id"], at.position) for at in found]
    locked = [at.block.get("locked") for at in found]
    if None in locked:
        return await lock(connection, places)
    return {place for place, is_locked in zip(places, locked, strict=True) if is_locked}


async def lock(connection: Connection, places: Iterable[Place]) -> set[Place]:
    """Lock the attached ones of these codes until the transaction ends, and return them."""
    return {Place(*row) for row in await connection.fetch(_LOCK, *columns_of(sorted(set(places)), 2))}


async def counting(connection: Connection, program_id: int, asked: Sequence[Asked]) -> tuple[TillRules, list[Counting]]:
    """The program's rules with the time, and what counts of each code asked for. Call it once the codes are locked."""
    rows = await connection.fetch(_COUNTING, program_id, *columns_of(asked, 4))
    found = [Counting(row[9], row[10], None if row["use_id"] is None else Use(*row[_OF_USE]), row) for row in rows]
    return TillRules(*rows[0][:9]), found


async def of_profiles(connection: Connection, keys: Sequence[tuple[Place, str]]) -> dict[tuple[Place, str], int]:
    """By place and profile: how many living uses and holds the profile has of the code."""
    rows = await connection.fetch(_OF_PROFILES, *_keyed(keys)) if keys else []
    return {keys[row["n"] - 1]: row["count"] for row in rows}


async def holders(connection: Connection, keys: Sequence[tuple[Place, str]]) -> set[tuple[Place, str]]:
    """Those of these places and profiles where the profile has the code."""
    rows = await connection.fetch(_HOLDERS, *_keyed(keys)) if keys else []
    return {keys[row["n"] - 1] for row in rows}


async def lone(connection: Connection, places: Sequence[Place]) -> dict[Place, Use]:
    """Of each code the newest living use that names no order; the newest that does if there is none."""
    rows = await connection.fetch(_LONE, *columns_of(places, 2)) if places else []
    return {places[row["n"] - 1]: _use(row) for row in rows}


async def other_holds(
    connection: Connection, now: datetime, places: Sequence[Place], known: Collection[int]
) -> dict[Place, datetime]:
    """When the last hold of each code ends that lives `now`, but for holds with these ids."""
    rows = await connection.fetch(_OTHER_HOLDS, *columns_of(places, 2), list(known), now)
    return {places[row["n"] - 1]: row["until"] for row in rows if row["until"] is not None}


async def write(
    connection: Connection,
    program_id: int,
    shared: bool,
    tallies: Mapping[Place, CodeTally],
    responses: Mapping[TokenKey, StoredResponse],
) -> None:
    """Write the changes of these codes, and store responses. Raises as `stored_responses.store_responses` does."""
    added = [row for place, code in tallies.items() for row in new_rows(place, code)]
    changed = [
        (use.id, use.profile_id if use.has_new_profile else None, *_facts(use))
        for code in tallies.values()
        for use in code.changed
        if use.id is not None
    ]
    counts = [
        (*place, code.uses, code.activated_at, code.facts.held_until, code.undoes_unrecorded)
        for place, code in tallies.items()
        if code.is_changed
    ]
    if added and changed:
        # Changes come first, as a new use may take the place of an ended one of the same order.
        await connection.execute(_WRITE, program_id, *columns_of([], 11), *columns_of(changed, 9), *columns_of([], 6))
        changed = []
    columns = [*columns_of(added, 11), *columns_of(changed, 9), *columns_of(counts, 6)]
    if responses:
        stored = stored_responses.parameters_of(responses)
        await connection.execute(_WRITE_AND_STORE, program_id, *columns, *stored)
    elif counts:
        await connection.execute(_WRITE, program_id, *columns)
    used_up = [place for place, code in tallies.items() if code.is_changed and code.activated_at is not None]
    if shared and used_up:
        await connection.execute(_GIVE_NO_MORE, program_id, *columns_of(used_up, 2))


def new_rows(place: Place, code: CodeTally) -> list[tuple[object, ...]]:
    """The rows of code_use that are added for a code, without their program: eleven columns."""
    return [(*place, use.order_id, use.profile_id, *_facts(use)) for use in code.changed if use.id is None]


def _facts(use: Use) -> tuple[object, ...]:
    return (use.context, use.per_code, use.taken_at, use.held_until, use.used_at, use.ended_at, use.ended_by)


def _use(row: asyncpg.Record) -> Use:
    _, *columns = row
    return Use(*columns)


def _keyed(keys: Sequence[tuple[Place, str]]) -> list[list[Any]]:
    return columns_of([(*place, text) for place, text in keys], 3)
