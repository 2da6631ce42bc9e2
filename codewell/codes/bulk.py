"""Changes of many codes at once: counts, start, stop, undo. `bulk_apply` and `bulk_undo` do the work, in chunks."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.errors import ChangeUnknown, ProgramRefused
from codewell.files import csv_writer
from codewell.infra.postgres.connection import Connection
from codewell.pool.block_rules import POOLED, UNEXPIRED
from codewell.profiles.deciding_lock import hold_deciding_lock
from schemas.changes import BulkChange, BulkCounts, ChangeFilter, ChangeState, FilterInForce

# States of codes that can change; a filter without a state means all of them.
STATES: Final[tuple[ChangeState, ...]] = ("pooled", "attached", "expired")
_ITEMS_AT_ONCE: Final = 5_000

_EXPIRES: Final = "($3::timestamptz IS NULL OR expires_at >= $3) AND ($4::timestamptz IS NULL OR expires_at < $4)"
_COUNTS: Final = f"""
    SELECT coalesce(sum({POOLED}) FILTER (WHERE {UNEXPIRED} AND {_EXPIRES}), 0)::bigint AS pooled,
           coalesce(sum({POOLED}) FILTER (WHERE NOT {UNEXPIRED} AND {_EXPIRES}), 0)::bigint AS expired,
           coalesce(sum(attached), 0)::bigint AS attached
    FROM block WHERE program_id = $1 AND ($2::uuid IS NULL OR import_id = $2)
    """  # noqa: S608  constants
_OF_PROFILE: Final = """
    SELECT count(DISTINCT (block_id, position)) FROM answer
    WHERE profile_id = $2 AND program_id = $1 AND block_id IS NOT NULL
    """

_BEGIN: Final = """
    INSERT INTO bulk_change (id, program_id, void, expires_at, code_state, profile_id, import_id, expires_from,
                             expires_until, total, actor)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    """
_SELECT: Final = """
    SELECT c.id, p.name AS program, c.state, c.void, c.expires_at, c.code_state, c.profile_id, c.import_id,
           c.expires_from, c.expires_until, c.total, c.done, c.changed, c.skipped, c.restored, c.actor AS by,
           c.started_at, c.ended_at
    FROM bulk_change c JOIN program p ON p.id = c.program_id
    """
_FIND: Final = f"{_SELECT} WHERE c.id = $1 AND ($2::text[] = '{{}}' OR p.groups && $2)"
_LIST: Final = f"{_SELECT} WHERE p.name = $1 AND ($2::uuid IS NULL OR c.id < $2) ORDER BY c.id DESC LIMIT $3"
_LOCK: Final = "SELECT state FROM bulk_change WHERE id = $1 FOR UPDATE"
_STOP: Final = "UPDATE bulk_change SET state = 'stopped', ended_at = clock_timestamp() WHERE id = $1"
_UNDO: Final = "UPDATE bulk_change SET state = 'undoing', undo_until = items, ended_at = NULL WHERE id = $1"
_PENDING: Final = "SELECT id FROM bulk_change WHERE state IN ('running', 'undoing') ORDER BY started_at LIMIT 100"

# A block's row by the place of its first code; the codes' texts are left out, as a list of changes needs none.
_ITEMS: Final = """
    SELECT i.number, i.outcome, i.codes, i.position, i.at, b.kind, b.version, b.first, b.id
    FROM bulk_change_item i JOIN block b ON b.id = i.block_id
    WHERE i.change_id = $1 AND i.number >= $2 ORDER BY i.number LIMIT $3
    """
_HEAD: Final = ("place", "codes", "outcome", "at")


class NewChange(NamedTuple):
    """What to do with the codes: another expiry, None for none; or `void`, to delete them."""

    void: bool
    expires_at: datetime | None


async def counts(connection: Connection, program_id: int, wanted: ChangeFilter) -> BulkCounts:
    """How many codes a filter finds, from the counters of blocks. Raises ProgramRefused where it can't find any."""
    if wanted.profile_id is not None:
        attached = await connection.fetchval(_OF_PROFILE, program_id, wanted.profile_id)
        return BulkCounts(pooled=0, expired=0, attached=attached, exact=attached == 0)
    row = await connection.fetchrow(_COUNTS, program_id, wanted.import_id, wanted.expires_from, wanted.expires_until)
    states = states_of(wanted)
    attached = row["attached"] if {"attached", "expired"} & states else 0
    return BulkCounts(
        pooled=row["pooled"] if "pooled" in states else 0,
        expired=row["expired"] if "expired" in states else 0,
        attached=attached,
        exact=attached == 0,
    )


def states_of(wanted: ChangeFilter) -> set[ChangeState]:
    """The states of codes that the filter finds."""
    return {*STATES} if wanted.state is None else {wanted.state}


async def start(
    connection: Connection, new_id: UUID, program_id: int, program: str, wanted: ChangeFilter, change: NewChange,
    actor: Actor,
) -> BulkChange:  # fmt: skip
    """Record a change, which any process carries out from now on, and its audit entry. Call it in a transaction.

    Raises ProgramRefused if the filter finds nothing, the expiry is past, or another change of the program runs.
    """
    await hold_deciding_lock(connection)
    if change.expires_at is not None and change.expires_at <= await connection.fetchval("SELECT statement_timestamp()"):
        raise ProgramRefused("The new expiry is past: give a later one, or delete the codes.", reason="expiry_passed")
    found = await counts(connection, program_id, wanted)
    total = found.pooled + found.expired + found.attached
    if total == 0:
        raise ProgramRefused(f"The filter finds no code of {program}: change it.", reason="filter_finds_nothing")
    try:
        async with connection.transaction():
            await connection.execute(
                _BEGIN, new_id, program_id, change.void, change.expires_at, wanted.state, wanted.profile_id,
                wanted.import_id, wanted.expires_from, wanted.expires_until, total, actor.actor,
            )  # fmt: skip
    except asyncpg.UniqueViolationError as error:
        raise _busy(program) from error
    # The log names no profile.
    given = wanted.model_dump(mode="json", exclude_none=True, exclude={"profile_id"})
    what: dict[str, object] = {"void": True} if change.void else {
        "expires_at": None if change.expires_at is None else change.expires_at.isoformat()
    }  # fmt: skip
    await audit_log.record(
        connection, actor, "change.begin", program, id=str(new_id), filter=given, codes=total,
        of_profile=wanted.profile_id is not None, **what,
    )  # fmt: skip
    return await get(connection, new_id)


async def get(connection: Connection, change_id: UUID, groups: Sequence[str] = ()) -> BulkChange:
    """The current state of a change. Raises ChangeUnknown; with `groups`, also if its program has none of them."""
    row = await connection.fetchrow(_FIND, change_id, list(groups))
    if row is None:
        raise ChangeUnknown(change_id)
    return _change(row)


async def page(connection: Connection, program: str, before: UUID | None, count: int) -> list[BulkChange]:
    """The program's changes, newest first; with `before`, those older than it."""
    return [_change(row) for row in await connection.fetch(_LIST, program, before, count)]


async def pending(connection: Connection) -> list[UUID]:
    """Changes that run or are being undone, oldest first."""
    return [row["id"] for row in await connection.fetch(_PENDING)]


async def stop(connection: Connection, change_id: UUID, actor: Actor) -> BulkChange:
    """Stop a running change; what it did stays. A stopped one stays so.

    Raises ChangeUnknown, and ProgramRefused for a change that has ended or is being undone.
    """
    async with connection.transaction():
        state = await connection.fetchval(_LOCK, change_id)
        found = await get(connection, change_id)
        if state not in {"running", "stopped"}:
            raise ProgramRefused(
                f"The change is {found.state}: only a running one can be stopped.", reason="change_ended"
            )
        if state == "running":
            await connection.execute(_STOP, change_id)
            await audit_log.record(connection, actor, "change.stop", found.program, id=str(change_id))
        return await get(connection, change_id)


async def undo(connection: Connection, change_id: UUID, actor: Actor) -> BulkChange:
    """Begin to restore what a change did, and stop it first if it runs. Safe to repeat.

    Raises ChangeUnknown, and ProgramRefused while another change of the program runs.
    """
    async with connection.transaction():
        state = await connection.fetchval(_LOCK, change_id)
        found = await get(connection, change_id)
        if state in {"undoing", "undone"}:
            return found
        try:
            async with connection.transaction():
                await connection.execute(_UNDO, change_id)
        except asyncpg.UniqueViolationError as error:
            raise _busy(found.program) from error
        await audit_log.record(connection, actor, "change.undo", found.program, id=str(change_id))
        return await get(connection, change_id)


async def items_csv(
    connections: Callable[[], AbstractAsyncContextManager[Connection]], change_id: UUID
) -> AsyncIterator[str]:
    """Yield what a change did as CSV, some thousand lines at a time: places, numbers of codes, outcomes, times.

    `connections` opens the connection for each piece. It is closed before the piece is yielded.
    """
    yield csv_writer.csv_line(_HEAD)
    after = 0
    while True:
        async with connections() as connection:
            rows = await connection.fetch(_ITEMS, change_id, after, _ITEMS_AT_ONCE)
        if not rows:
            return
        cells = ((_place(row), str(row["codes"]), row["outcome"], row["at"].isoformat()) for row in rows)
        yield "".join(map(csv_writer.csv_line, cells))
        after = rows[-1]["number"] + 1


def _place(row: Any) -> str:
    """The place of a code; of a block, that of its first code, with *."""
    position = row["position"] or 0
    is_range = row["kind"] == "range"
    place = f"0:{row['version']}:{row['first'] + position}" if is_range else f"1:{row['id']}:{position}"
    return place if row["position"] is not None else f"{place}*"


def _busy(program: str) -> ProgramRefused:
    return ProgramRefused(
        f"Another change of many codes of {program} runs: wait until it ends, or stop it.", reason="change_busy"
    )


def _change(row: Mapping[str, Any]) -> BulkChange:
    wanted = FilterInForce(
        state=row["code_state"], profile_id=row["profile_id"], import_id=row["import_id"],
        expires_from=row["expires_from"], expires_until=row["expires_until"],
    )  # fmt: skip
    given = {name: row[name] for name in BulkChange.model_fields if name not in {"filter", "skipped"}}
    return BulkChange(filter=wanted, skipped=json.loads(row["skipped"]), **given)
