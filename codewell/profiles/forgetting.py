"""Forgetting a profile: replaces its id with a random one everywhere. Its codes stay used.

Three steps, so that no request waits while old answers are searched:
1. Delete the profile's holdings while no request is being decided. Each request is decided entirely before or after
   that moment; after it, the id counts as a new customer's.
2. Replace the id in answers from before that moment, in uses and holds, and in the filters of changes of many codes.
3. Once no transaction that read the old rows is running, replace the id in responses stored under idempotency keys, and
   once more in uses: an event of an order may have copied it to a new use of the order.
After a crash in between, forget the profile again.

A reissue, or the undo of a deletion, that read an old answer during the second step has copied the id to another answer
or holding. If there is such a copy after it, the first two steps are done again: who copies holds DECIDING_LOCK, so a
copy is either committed by then, or made from rows that have the random id.
"""

import json
from datetime import datetime
from typing import Final
from uuid import uuid4

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.errors import StackUnavailable
from codewell.infra.postgres.connection import Connection
from codewell.profiles.deciding_lock import run_exclusively

# The search scans the index of bloom filters on answers, and reads the pages that it does not rule out.
_TIMEOUT_S: Final = 600
# A second round is rare, and a third one needs another reissue or undo of the profile's codes during the second.
_ROUNDS_MAX: Final = 20

# The index of holdings starts with the program.
_DELETE_ASSIGNMENTS: Final = """
    DELETE FROM holding h USING program p WHERE h.program_id = p.id AND h.profile_id = $1 AND h.profile_id <> ''
    """
_RENAME_IN_ANSWERS: Final = "UPDATE answer SET profile_id = $2 WHERE profile_id = $1 AND answered_at <= $3"
_RENAME_IN_USES: Final = "UPDATE code_use SET profile_id = $2 WHERE profile_id = $1"
_RENAME_IN_CHANGES: Final = "UPDATE bulk_change SET profile_id = $2 WHERE profile_id = $1"
# The key of its pseudonyms in the stream of codes. The log before this moment still has its id, and the stream's reader
# may make no new key for that.
_DELETE_KEY: Final = """
    INSERT INTO lifecycle_profile (profile_id, forgotten_at)
    SELECT $1, pg_current_wal_insert_lsn() FROM lifecycle_progress
    ON CONFLICT (profile_id) DO UPDATE SET key = NULL, forgotten_at = excluded.forgotten_at
    """
_DELETE_UNUSED_KEY: Final = """
    DELETE FROM lifecycle_profile WHERE profile_id = $1 AND NOT EXISTS (SELECT FROM lifecycle_progress)
    """
# A holding, or a reissue since a moment, whose code was first given under another id, which is the random one.
_IS_COPIED: Final = """
    SELECT EXISTS (
        SELECT FROM program p JOIN holding h ON h.program_id = p.id
        JOIN answer a ON a.block_id = h.block_id AND a.position = h.position AND a.block_id IS NOT NULL AND NOT a.again
        WHERE h.profile_id = $1 AND h.profile_id <> '' AND a.profile_id <> $1
    ) OR EXISTS (
        SELECT FROM code_reissue r
        JOIN answer o ON o.block_id = r.old_block_id AND o.position = r.old_position
            AND o.block_id IS NOT NULL AND NOT o.again
        JOIN answer n ON n.block_id = r.new_block_id AND n.position = r.new_position
            AND n.block_id IS NOT NULL AND NOT n.again
        WHERE r.at > $2 AND n.profile_id = $1 AND o.profile_id <> $1
    )
    """
_RENAME_IN_RESPONSES: Final = """
    UPDATE idempotency SET body = convert_to(replace(convert_from(body, 'UTF8'), $1, $2), 'UTF8')
    WHERE position(convert_to($1, 'UTF8') IN body) > 0
    """


async def forget(connection: Connection, profile_id: str, actor: Actor | None = None) -> int:
    """Replace the profile's id with one random id everywhere, and return the number of answers changed. Safe to repeat.

    Records `actor`, if given, in the audit log. Must not be called within a transaction. Raises StackUnavailable if
    requests are being decided, or the profile's codes reissued, without a pause.
    """
    # The new id reveals neither the old one nor which other random ids belong to it.
    random_id = f"forgotten-{uuid4()}"
    answers = 0
    for _ in range(_ROUNDS_MAX):
        before = await run_exclusively(connection, _DELETE_ASSIGNMENTS, profile_id)
        answers += await _rename(connection, profile_id, random_id, before, actor)
        actor = None  # It has its entry.
        # After this, no transaction that read the old id from those rows can still store it anywhere.
        await run_exclusively(connection)
        if not await connection.fetchval(_IS_COPIED, profile_id, before, timeout=_TIMEOUT_S):
            break
    else:
        raise StackUnavailable("Codes of the profile are being reissued or restored: try again in a moment.")
    await _rename_copied_uses(connection, profile_id, random_id)
    await connection.execute(
        _RENAME_IN_RESPONSES, _json_member(profile_id), _json_member(random_id), timeout=_TIMEOUT_S
    )
    return answers


async def _rename(
    connection: Connection, profile_id: str, random_id: str, before: datetime, actor: Actor | None
) -> int:
    """The second step, in one transaction. Returns the number of answers changed."""
    async with connection.transaction():
        await connection.execute("DELETE FROM profile WHERE profile_id = $1", profile_id)
        await connection.execute(_DELETE_KEY, profile_id)
        await connection.execute(_DELETE_UNUSED_KEY, profile_id)
        renamed: str = await connection.execute(_RENAME_IN_ANSWERS, profile_id, random_id, before, timeout=_TIMEOUT_S)
        await connection.execute(_RENAME_IN_CHANGES, profile_id, random_id)
        answers = int(renamed.rsplit(maxsplit=1)[-1])
        await connection.execute(_RENAME_IN_USES, profile_id, random_id, timeout=_TIMEOUT_S)
        if actor is not None:
            await audit_log.record(connection, actor, "profile.forget", answers=answers)
    return answers


async def _rename_copied_uses(connection: Connection, profile_id: str, random_id: str) -> None:
    """Replace the id in uses that were copied during the second step. The log has it once more then."""
    async with connection.transaction():
        renamed: str = await connection.execute(_RENAME_IN_USES, profile_id, random_id, timeout=_TIMEOUT_S)
        if renamed != "UPDATE 0":
            await connection.execute(_DELETE_KEY, profile_id)
            await connection.execute(_DELETE_UNUSED_KEY, profile_id)


def _json_member(profile_id: str) -> str:
    """The form in which a stored response names a profile."""
    return f'"profile_id":{json.dumps(profile_id, ensure_ascii=False)}'
