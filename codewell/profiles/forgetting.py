"""Forgetting a profile: a random id takes the place of its own, and its codes stay used.

It takes three steps, so that no request waits while old answers are looked for. First the codes that it would get again
are no longer its to get again, while no request is being decided: each request was decided before that moment or is
decided after it, and then it is a new customer's. Then the answers from before get the random id, and last, once nobody
is left who has read them before, what was kept for idempotency keys. A crash in between leaves a profile that is to be
forgotten again.
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

# Requests wait while this waits for those that are being decided, so it gives up soon and comes back later.
_LOCK_TIMEOUT_MS: Final = 200
_ATTEMPTS_MAX: Final = 20
_PAUSE_S: Final = 0.2
# Answers are found by running through their index of bloom filters, and what it doesn't rule out is read.
_TIMEOUT_S: Final = 600

_LOCK_EXCLUSIVE: Final = "SELECT pg_advisory_xact_lock($1, $2)"
# The index of holdings begins with the program.
_DELETE_ASSIGNMENTS: Final = """
    DELETE FROM holding h USING program p WHERE h.program_id = p.id AND h.profile_id = $1 AND h.profile_id <> ''
    """
_RENAME_IN_ANSWERS: Final = "UPDATE answer SET profile_id = $2 WHERE profile_id = $1 AND answered_at <= $3"
_RENAME_IN_RESPONSES: Final = """
    UPDATE idempotency SET body = convert_to(replace(convert_from(body, 'UTF8'), $1, $2), 'UTF8')
    WHERE position(convert_to($1, 'UTF8') IN body) > 0
    """


async def forget(connection: Connection, profile_id: str, actor: Actor | None = None) -> int:
    """Put one random id in place of the profile's everywhere, and return in how many answers. Safe to repeat.

    Logs who wants it, where a person does.

    Not to be called within a transaction. Raises StackUnavailable when requests are being decided without end.
    """
    before = await _run_exclusively(connection, _DELETE_ASSIGNMENTS, profile_id)
    # Whoever sees the new id learns neither the old one nor which other ids were random once.
    random_id = f"forgotten-{uuid4()}"
    async with connection.transaction():
        await connection.execute("DELETE FROM profile WHERE profile_id = $1", profile_id)
        renamed: str = await connection.execute(_RENAME_IN_ANSWERS, profile_id, random_id, before, timeout=_TIMEOUT_S)
        answers = int(renamed.rsplit(maxsplit=1)[-1])
        if actor is not None:
            await audit_log.record(connection, actor, "profile.forget", answers=answers)
    # Behind this moment nobody is left who has read the old id of those answers and still has to keep an answer.
    await _run_exclusively(connection)
    await connection.execute(
        _RENAME_IN_RESPONSES, _json_member(profile_id), _json_member(random_id), timeout=_TIMEOUT_S
    )
    return answers


async def _run_exclusively(connection: Connection, *statement: str) -> datetime:
    """Run the statement while no request is being decided, and return the moment that parts before from after."""
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
            await asyncio.sleep(_PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311  spreads load, keeps no secret
    raise StackUnavailable("Too many requests are being decided: try again in a moment.")


def _json_member(profile_id: str) -> str:
    """How an answer that is kept for its idempotency key names a profile."""
    return f'"profile_id":{json.dumps(profile_id, ensure_ascii=False)}'
