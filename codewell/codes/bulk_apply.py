"""One chunk of a change of many codes: some blocks' pooled codes as one row each, and some thousand attached codes.

A chunk is one transaction, with its place in the change's row. It locks rows of code_state in the order of their key,
then blocks in the order of their ids: as the life cycle does, so that none of them deadlocks.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from codewell.codes import bulk
from codewell.codes.bulk_attached import (
    Key,
    LookedAt,
    delete_attached,
    extend_attached,
    find_attached,
    find_of_profile,
    look_again,
)
from codewell.codes.bulk_blocks import change_pooled, following, is_for, keep_blocks, lock_blocks
from codewell.codes.bulk_undo import undo_chunk
from codewell.codes.locks import lock_codes
from codewell.codes.lookup import CodePlace, place_in
from codewell.infra.postgres.connection import Connection
from schemas.changes import BulkChange

# Attached codes of a chunk, and blocks: some tens of milliseconds.
CODES_MAX: Final = 2_000
BLOCKS_MAX: Final = 200
PAUSE_S: Final = 0.005
"""Between two chunks, so that requests get at their blocks."""
_POLL_INTERVAL_S: Final = 0.2

_LOCK_CHANGE: Final = "SELECT * FROM bulk_change WHERE id = $1 FOR UPDATE SKIP LOCKED"
_SKIP: Final = """
    INSERT INTO bulk_change_item (change_id, number, block_id, position, outcome, codes)
    SELECT $1, $2 + row_number() OVER () - 1, block_id, position, outcome, 1
    FROM unnest($3::bigint[], $4::bigint[], $5::text[]) AS w (block_id, position, outcome)
    """
_ADVANCE: Final = """
    UPDATE bulk_change SET listed = $2, major = $3, minor = $4, done = least(done + $5, total), changed = changed + $6,
        items = $7, skipped = $8::jsonb,
        state = CASE WHEN $9 THEN 'done' ELSE state END, ended_at = CASE WHEN $9 THEN clock_timestamp() END
    WHERE id = $1
    """


class _Plan(NamedTuple):
    """What a chunk looks at: blocks, attached codes, the place up to which that is all, and whether it is the end."""

    blocks: Sequence[asyncpg.Record]
    found: Sequence[LookedAt]
    after: CodePlace
    is_last: bool


class Done(NamedTuple):
    """What a chunk did: codes changed, codes restored, and whether there is more to do."""

    changed: int = 0
    restored: int = 0
    more: bool = False


async def advance(connection: Connection, change_id: UUID) -> Done:
    """Do one chunk of a change or of its undo.

    Nothing, without more to do, while another process is at it, or if the change has ended or was stopped.
    """
    async with connection.transaction():
        change = await connection.fetchrow(_LOCK_CHANGE, change_id)
        if change is None or change["state"] not in {"running", "undoing"}:
            return Done()
        if change["state"] == "undoing":
            restored, more = await undo_chunk(connection, change)
            return Done(restored=restored, more=more)
        plan = await _plan(connection, change)
        return Done(await _apply(connection, change, plan), more=not plan.is_last)


async def carry_out(connection: Connection, change_id: UUID, progress: Callable[[BulkChange], None]) -> None:
    """Do the rest of a change or of its undo, beside other processes at it. `progress` is called after each chunk."""
    while True:
        more = (await advance(connection, change_id)).more
        now = await bulk.get(connection, change_id)
        progress(now)
        if now.state not in {"running", "undoing"}:
            return
        # Without more to do here another process is at a chunk of it.
        await asyncio.sleep(PAUSE_S if more else _POLL_INTERVAL_S)


async def _plan(connection: Connection, change: asyncpg.Record) -> _Plan:
    after = CodePlace(change["listed"], change["major"], change["minor"])
    if change["profile_id"] is not None:
        found = await find_of_profile(connection, change, after, CODES_MAX)
        return _Plan((), found, found[-1].place if found else after, len(found) < CODES_MAX)
    blocks = await following(connection, change, after, BLOCKS_MAX)
    if not blocks:
        return _Plan((), (), after, True)
    found = []
    if change["code_state"] != "pooled":
        found = await find_attached(connection, change, blocks, after, CODES_MAX)
    if len(found) < CODES_MAX:
        last = blocks[-1]
        return _Plan(blocks, found, place_in(last, last["size"] - 1), False)
    here = next(index for index, block in enumerate(blocks) if block["id"] == found[-1].block_id)
    return _Plan(blocks[: here + 1], found, found[-1].place, False)


async def _as_locked(
    connection: Connection, change: asyncpg.Record, plan: _Plan, locked: Sequence[asyncpg.Record]
) -> _Plan:
    """The plan up to the first code of its blocks that it would miss, as they changed before they were locked.

    That is one that a request got since the look, and has what its block had before the change; or one that a split
    moved to another block. The next chunk begins with it. To lock it now, after its block, could deadlock.
    """
    now = {block["id"]: block for block in locked}
    changed = [(block, now[block["id"]]) for block in plan.blocks if block["id"] in now]
    ends = [
        place_in(was, block["size"] - 1) for was, block in changed
        if was["kind"] == "range" and block["size"] < was["size"]
    ]  # fmt: skip
    given = [was for was, block in changed if block["taken"] > was["taken"] and is_for(change, block)]
    if given and change["code_state"] is None:
        after = CodePlace(change["listed"], change["major"], change["minor"])
        known = {one.key for one in plan.found}
        found = await find_attached(connection, change, given, after, len(known) + 1)
        ends += [one.place._replace(minor=one.place.minor - 1) for one in found if one.key not in known]
    end = min(ends, default=plan.after)
    if end >= plan.after:
        return plan
    following_one = end._replace(minor=end.minor + 1)
    blocks = [block for block in plan.blocks if place_in(block, 0) <= following_one]
    return _Plan(blocks, [one for one in plan.found if one.place <= end], end, False)


async def _apply(connection: Connection, change: asyncpg.Record, plan: _Plan) -> int:
    """Change what the plan says, and return how many codes."""
    wanted = sorted(one.key for one in plan.found if one.outcome is None)
    await lock_codes(connection, wanted)
    if wanted and not change["void"]:
        await keep_blocks(connection, (key[0] for key in wanted))
    of_pool = set() if change["code_state"] == "attached" else {block["id"] for block in plan.blocks}
    locked = await lock_blocks(connection, of_pool | ({key[0] for key in wanted} if change["void"] else set()))
    plan = await _as_locked(connection, change, plan, locked)
    of_pool &= {block["id"] for block in plan.blocks}
    wanted = sorted(one.key for one in plan.found if one.outcome is None)
    items = change["items"]
    pooled = await change_pooled(connection, change, [one for one in locked if one["id"] in of_pool], items)
    items += pooled.items
    attached: set[Key] = set()
    if wanted:
        attached = await (delete_attached if change["void"] else extend_attached)(connection, change, wanted, items)
        items += len(attached)
    passed = [one for one in plan.found if one.outcome]
    if len(attached) < len(wanted):
        # Used between the look and the lock: look again.
        passed += [one for one in await look_again(connection, change, set(wanted) - attached) if one.outcome]
    if passed:
        columns = [one.block_id for one in passed], [one.position for one in passed], [one.outcome for one in passed]
        await connection.execute(_SKIP, change["id"], items, *columns)
        items += len(passed)
    skipped = Counter(json.loads(change["skipped"])) + Counter(one.outcome for one in passed)
    skipped += Counter({"reserved": pooled.reserved})
    await connection.execute(
        _ADVANCE, change["id"], *plan.after, len(plan.found) + pooled.looked_at, len(attached) + pooled.codes, items,
        json.dumps(skipped), plan.is_last,
    )  # fmt: skip
    return len(attached) + pooled.codes
