"""Forgetting a profile: replaces its id with a random one everywhere. Its codes stay used.

Three steps, so that no request waits while old answers are searched:
1. Delete the profile's holdings while no request is being decided. Each request is decided entirely before or after
   that moment; after it, the id counts as a new customer's.
2. Replace the id in answers from before that moment.
3. Once no transaction that read the old answers is running, replace the id in responses stored under idempotency keys.
After a crash in between, forget the profile again.
"""

import asyncio
import json
import random
from datetime import datetime
from typing import Final
from uuid import uuid4

import asyncpg

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.errors import StackUnavailable
from codewell.infra.postgres.connection import Connection
from codewell.profiles.deciding_lock import DECIDING_LOCK

# New requests wait while this waits for those being decided, so it gives up early and retries later.
_LOCK_TIMEOUT_MS: Final = 200
_ATTEMPTS_MAX: Final = 20
_PAUSE_S: Final = 0.2
# The search scans the index of bloom filters on answers, and reads the pages that it does not rule out.
_TIMEOUT_S: Final = 600

_LOCK_EXCLUSIVE: Final = "SELECT pg_advisory_xact_lock($1, $2)"
# The index of holdings starts with the program.
_DELETE_ASSIGNMENTS: Final = """
    DELETE FROM holding h USING program p WHERE h.program_id = p.id AND h.profile_id = $1 AND h.profile_id <> ''
    """
_RENAME_IN_ANSWERS: Final = "UPDATE answer SET profile_id = $2 WHERE profile_id = $1 AND answered_at <= $3"
_RENAME_IN_RESPONSES: Final = """
    UPDATE idempotency SET body = convert_to(replace(convert_from(body, 'UTF8'), $1, $2), 'UTF8')
    WHERE position(convert_to($1, 'UTF8') IN body) > 0
    """


async def forget(connection: Connection, profile_id: str, actor: Actor | None = None) -> int:
    """Replace the profile's id with one random id everywhere, and return the number of answers changed. Safe to repeat.

    Records `actor`, if given, in the audit log. Must not be called within a transaction. Raises StackUnavailable if
    requests are being decided without a pause.
    """
    before = await _run_exclusively(connection, _DELETE_ASSIGNMENTS, profile_id)
    # The new id reveals neither the old one nor which other random ids belong to it.
    random_id = f"forgotten-{uuid4()}"
    async with connection.transaction():
        await connection.execute("DELETE FROM profile WHERE profile_id = $1", profile_id)
        renamed: str = await connection.execute(_RENAME_IN_ANSWERS, profile_id, random_id, before, timeout=_TIMEOUT_S)
        answers = int(renamed.rsplit(maxsplit=1)[-1])
        if actor is not None:
            await audit_log.record(connection, actor, "profile.forget", answers=answers)
    # After this, no transaction that read the old id from those answers can still store a response.
    await _run_exclusively(connection)
    await connection.execute(
        _RENAME_IN_RESPONSES, _json_member(profile_id), _json_member(random_id), timeout=_TIMEOUT_S
    )
    return answers


async def _run_exclusively(connection: Connection, *statement: str) -> datetime:
    """Run the statement while no request is being decided; return the moment that separates earlier from later ones."""
    for _ in range(_ATTEMPTS_MAX):
        try:
            async with connection.transaction():
                await connection.execute("SELECT set_config('lock_timeout', $1, true)", str(_LOCK_TIMEOUT_MS))
                await connection.execute(_LOCK_EXCLUSIVE, *DECIDING_LOCK)
                if statement:
                    await connection.execute(*statement)
                moment: datetime = await connection.fetchval("SELECT clock_timestamp()")
                return moment
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(_PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311  jitter, not security
    raise StackUnavailable("Too many requests are being decided: try again in a moment.")


def _json_member(profile_id: str) -> str:
    """The form in which a stored response names a profile."""
    return f'"profile_id":{json.dumps(profile_id, ensure_ascii=False)}'
