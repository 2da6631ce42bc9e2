"""Forgetting a profile: replaces its id with a random one everywhere. Its codes stay used.

Three steps, so that no request waits while old answers are searched:
1. Delete the profile's holdings while no request is being decided. Each request is decided entirely before or after
   that moment; after it, the id counts as a new customer's.
2. Replace the id in answers from before that moment, in uses and holds, and in the filters of changes of many codes.
3. Once no transaction that read the old rows is running, replace the id in responses stored under idempotency keys, and
   once more in uses: an event of an order may have copied it to a new use of the order.
After a crash in between, forget the profile again.
"""

import json
from typing import Final
from uuid import uuid4

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.infra.postgres.connection import Connection
from codewell.profiles.deciding_lock import run_exclusively

# The search scans the index of bloom filters on answers, and reads the pages that it does not rule out.
_TIMEOUT_S: Final = 600

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
_RENAME_IN_RESPONSES: Final = """
    UPDATE idempotency SET body = convert_to(replace(convert_from(body, 'UTF8'), $1, $2), 'UTF8')
    WHERE position(convert_to($1, 'UTF8') IN body) > 0
    """


async def forget(connection: Connection, profile_id: str, actor: Actor | None = None) -> int:
    """Replace the profile's id with one random id everywhere, and return the number of answers changed. Safe to repeat.

    Records `actor`, if given, in the audit log. Must not be called within a transaction. Raises StackUnavailable if
    requests are being decided without a pause.
    """
    before = await run_exclusively(connection, _DELETE_ASSIGNMENTS, profile_id)
    # The new id reveals neither the old one nor which other random ids belong to it.
    random_id = f"forgotten-{uuid4()}"
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
    # After this, no transaction that read the old id from those rows can still store a response or a use.
    await run_exclusively(connection)
    await connection.execute(_RENAME_IN_USES, profile_id, random_id, timeout=_TIMEOUT_S)
    await connection.execute(
        _RENAME_IN_RESPONSES, _json_member(profile_id), _json_member(random_id), timeout=_TIMEOUT_S
    )
    return answers


def _json_member(profile_id: str) -> str:
    """The form in which a stored response names a profile."""
    return f'"profile_id":{json.dumps(profile_id, ensure_ascii=False)}'
