"""Lifecycle of a code after its creation: detach, change, delete. What happens at the till is in `codewell.redemption`.

Each step is one transaction. It locks the code's row in code_state, which it inserts if missing, and then the code's
block. All code uses this lock order, and claims lock only blocks. The code's state is read after both locks.
"""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, NamedTuple

from codewell.codes import lookup, typed
from codewell.codes.lookup import CodeFacts, LocatedCode
from codewell.codes.program_codes import ProgramCodes
from codewell.codes.state import code_state_reason
from codewell.errors import CodeUnknown, ProgramRefused, StackUnavailable
from codewell.infra.postgres.connection import Connection

_LOCK_STATE: Final = """
    INSERT INTO code_state AS s (block_id, position) VALUES ($1, $2)
    ON CONFLICT (block_id, position) DO UPDATE SET hole = s.hole
    """
_LOCK_BLOCK: Final = "SELECT FROM block WHERE id = $1 FOR NO KEY UPDATE"

# An attached code moves from one counter to another; a pooled code leaves a hole, which claims skip.
_MOVE_COUNT: Final = """
    UPDATE block SET attached = attached - $2, holes = holes + 1 - $2, open = open AND next + holes + 1 - $2 < size,
        deleted = deleted + $3, returned = returned + 1 - $3
    WHERE id = $1
    """
_OWN_BLOCK: Final = """
    INSERT INTO block (program_id, kind, size, expires_at, fields, origin, created_at)
    VALUES ($1, 'list', 1, $2, $3::jsonb, 'return', $4) RETURNING id
    """
_MOVE_TEXT: Final = """
    INSERT INTO code (block_id, position, program_id, text) VALUES ($1, 0, $2, $3)
    ON CONFLICT ON CONSTRAINT code_once DO UPDATE SET block_id = excluded.block_id, position = 0
    """
# Also true for a formerly shared code: other profiles than the first one have it too.
_IS_EVERYBODYS: Final = """
    SELECT shared OR EXISTS (
        SELECT FROM holding
        WHERE program_id = $1 AND profile_id = '' AND scope = '' AND block_id = $2 AND position = $3)
    FROM program WHERE id = $1
    """
# The index on assignments begins with program and profile; the empty profile id is that of a shared code.
_OF_CODE: Final = """
    WHERE program_id = $1 AND profile_id = ANY(ARRAY['', coalesce($2, '')]) AND block_id = $3 AND position = $4
    """
_DELETE_ASSIGNMENT: Final = f"DELETE FROM holding {_OF_CODE}"  # noqa: S608  a constant
_CHANGE_ASSIGNMENT: Final = f"UPDATE holding SET expires_at = $5, fields = $6::jsonb {_OF_CODE}"  # noqa: S608  a constant
# States in which a code is neither changed nor deleted.
_FIXED: Final = frozenset({"held", "activated", "deleted"})


class CodeChange(NamedTuple):
    """New expiry and custom fields of a code; both replace the old values. None means no expiry, and no fields."""

    expires_at: datetime | None
    fields: str | None
    """JSON text."""


class LockedCode(NamedTuple):
    """A code that no other transaction can change until this one ends."""

    at: LocatedCode
    facts: CodeFacts
    program: str

    @property
    def is_attached(self) -> bool:
        return self.facts.profile_id is not None


class CodeMoved(Exception):
    """The code has moved to another block since it was located. Try again."""


async def detach(codes: ProgramCodes, code: str, *, let_go: bool = False) -> CodeFacts:
    """Return an attached code to the pool in a block of its own. The profile loses it; any later request may get it.

    With `let_go` its assignment has gone before, so that no request gives the profile the code again; raises
    StackUnavailable if it has one all the same. Raises CodeUnknown, and ProgramRefused when the code is pooled, held,
    used, expired, deleted or shared.
    """
    async with locked_code(codes, code) as locked:
        if locked.facts.state == "attached" and locked.facts.uses:
            raise ProgramRefused(
                f"{code} was used: take its uses back with codes:deactivate to detach it.", reason="code_used"
            )
        if locked.facts.state != "attached":
            reason = code_state_reason(locked.facts.state)
            raise ProgramRefused(
                f"{code} is {locked.facts.state}: only an attached code can be detached.", reason=reason
            )
        await refuse_shared(codes, locked)
        # The expiry of an attached code may count from its attachment. In the pool the block's holds, unless changed.
        own = await _is_changed(codes.connection, locked.at)
        expires_at = locked.facts.expires_at if own else locked.at.block["expires_at"]
        was_assigned = await _move_out(codes, locked, expires_at, locked.facts.fields)
        if was_assigned and let_go:
            raise StackUnavailable(f"A request may be giving {code} to its profile again: try again in a moment.")
    return await _found(codes, locked.facts.code)


async def delete(codes: ProgramCodes, code: str) -> CodeFacts:
    """Delete a pooled, attached or expired code. Its record stays, so it is never given or made again.

    Also a code of which some uses are left. Raises CodeUnknown, and ProgramRefused for a code that is activated or
    deleted already, or held by an order.
    """
    async with locked_code(codes, code) as locked:
        if locked.facts.state in _FIXED:
            raise ProgramRefused(
                f"{code} is {locked.facts.state} and cannot be deleted.", reason=code_state_reason(locked.facts.state)
            )
        await delete_locked(codes.connection, locked)
        await codes.connection.execute(_DELETE_ASSIGNMENT, *_assignment_key(codes.program_id, locked))
    return await _found(codes, locked.facts.code)


async def change(codes: ProgramCodes, code: str, to: Callable[[CodeFacts], CodeChange]) -> CodeFacts:
    """Change a code's expiry and custom fields. `to` computes the new values from the current facts.

    Earlier answers stay the same. A pooled code moves to a block of its own. Raises CodeUnknown, and ProgramRefused for
    a code that is activated, deleted, or held by an order.
    """
    async with locked_code(codes, code) as locked:
        if locked.facts.state in _FIXED:
            raise ProgramRefused(
                f"{code} is {locked.facts.state} and cannot be changed.", reason=code_state_reason(locked.facts.state)
            )
        wanted = to(locked.facts)
        if locked.is_attached:
            await _mark(codes.connection, locked.at, "changed = true, expires_at = $3, fields = $4::jsonb", *wanted)
            await codes.connection.execute(_CHANGE_ASSIGNMENT, *_assignment_key(codes.program_id, locked), *wanted)
        else:
            await _move_out(codes, locked, *wanted)
    return await _found(codes, locked.facts.code)


async def delete_locked(connection: Connection, locked: LockedCode) -> None:
    """Delete a locked code that is not activated or deleted. Its assignment stays, for the caller to delete or move."""
    marked = "deleted_at = statement_timestamp(), hole = hole OR $3"
    await _mark(connection, locked.at, marked, not locked.is_attached)
    await connection.execute(_MOVE_COUNT, locked.at.block["id"], int(locked.is_attached), 1)


async def refuse_shared(codes: ProgramCodes, locked: LockedCode) -> None:
    """Raise ProgramRefused if several profiles have the code, or may have it."""
    if await codes.connection.fetchval(_IS_EVERYBODYS, codes.program_id, locked.at.block["id"], locked.at.position):
        raise ProgramRefused(
            f"All profiles of {locked.program} share {locked.facts.code}: delete it to attach another one.",
            reason="code_shared",
        )


def change_details(given: Collection[str], changed: CodeFacts) -> dict[str, object]:
    """What the audit log says about a change: the names of what was given, and the new expiry if it was."""
    until = changed.expires_at
    expiry = {"expires_at": None if until is None else until.isoformat()} if "expires_at" in given else {}
    return {"changed": sorted(given), **expiry}


@asynccontextmanager
async def locked_code(codes: ProgramCodes, code: str) -> AsyncIterator[LockedCode]:
    """Run the with-block in a transaction that has locked the code; commit at the end, roll back on an error.

    Starts again when the code moves before it is locked. Raises CodeUnknown, and ProgramRefused if it was archived.
    """
    while True:
        transaction = codes.connection.transaction()
        await transaction.start()
        try:
            locked = await _lock(codes, code)
        except CodeMoved:
            await transaction.rollback()
            continue
        except BaseException:
            await transaction.rollback()
            raise
        break
    try:
        yield locked
    except BaseException:
        await transaction.rollback()
        raise
    await transaction.commit()


async def _lock(codes: ProgramCodes, given: str) -> LockedCode:
    [(code, at)] = await typed.meant_all(codes, [given])
    if at is None:
        raise CodeUnknown(code)
    await codes.connection.execute(_LOCK_STATE, at.block["id"], at.position)
    await codes.connection.execute(_LOCK_BLOCK, at.block["id"])
    now = await lookup.locate(codes, code)
    if now is None or (now.block["id"], now.position) != (at.block["id"], at.position):
        raise CodeMoved
    [facts] = await lookup.facts_of(codes, [now], [code])
    if facts is None:
        raise CodeMoved
    if now.block["archived"] and facts.profile_id is None:
        raise ProgramRefused(
            f"{code} ended long ago, and its record was archived: it can't be changed any more.", reason="code_archived"
        )
    name = await codes.connection.fetchval("SELECT name FROM program WHERE id = $1", codes.program_id)
    return LockedCode(now, facts, name)


async def _move_out(codes: ProgramCodes, locked: LockedCode, expires_at: datetime | None, fields: str | None) -> bool:
    """Move the code to a block of its own, as a pooled code. Returns whether a profile would have got it again."""
    at = locked.at
    own = await codes.connection.fetchval(_OWN_BLOCK, codes.program_id, expires_at, fields, at.block["created_at"])
    moved = "returned_at = statement_timestamp(), moved_to = $4, hole = hole OR $3"
    await _mark(codes.connection, at, moved, not locked.is_attached, own)
    await codes.connection.execute(_MOVE_COUNT, at.block["id"], int(locked.is_attached), 0)
    deleted = await codes.connection.execute(_DELETE_ASSIGNMENT, *_assignment_key(codes.program_id, locked))
    await codes.connection.execute(_MOVE_TEXT, own, codes.program_id, locked.facts.code)
    return bool(deleted != "DELETE 0")


async def _mark(connection: Connection, at: LocatedCode, what: str, *values: object) -> None:
    await connection.execute(
        f"UPDATE code_state SET {what} WHERE block_id = $1 AND position = $2",  # noqa: S608  constants of this module
        at.block["id"],
        at.position,
        *values,
    )


def _assignment_key(program_id: int, locked: LockedCode) -> tuple[int, str | None, int, int]:
    """Parameters $1 to $4 of _OF_CODE: program, profile, block and position."""
    return program_id, locked.facts.profile_id, locked.at.block["id"], locked.at.position


async def _is_changed(connection: Connection, at: LocatedCode) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT changed FROM code_state WHERE block_id = $1 AND position = $2", at.block["id"], at.position
        )
    )


async def _found(codes: ProgramCodes, code: str) -> CodeFacts:
    facts = await lookup.find(codes, code)
    if facts is None:
        raise CodeUnknown(code)
    return facts
