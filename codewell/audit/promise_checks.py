"""Checks of the promises in the background of a console: one at a time, with progress and a stored result."""

import json
from typing import Any, Final

import asyncpg

from codewell.audit.promises import audit, rules
from codewell.infra.postgres.advisory_lock import try_lock
from codewell.infra.postgres.connection import Connection
from schemas.promises import PromiseCheck

# Held by the connection that checks. The numbers are unique among all advisory locks.
_ADVISORY_LOCK: Final = (0x636F6465, 28)
# Held while a check begins, so that two people begin one.
_BEGIN_LOCK: Final = (0x636F6465, 29)
# A check whose process has not begun after this time, or has gone, is interrupted.
_BEGIN_TIMEOUT_S: Final = 15

_LAST: Final = """
    SELECT id, actor, rules, started_at, rules_done, ended_at, error, findings, ended_at IS NULL AND (
        started_at > now() - make_interval(secs => $1) OR EXISTS (
            SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = $2 AND objid = $3
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))) AS is_running
    FROM promise_check ORDER BY id DESC LIMIT 1
    """


async def last(connection: Connection) -> PromiseCheck | None:
    """The last check, or None if there was none."""
    row = await connection.fetchrow(_LAST, _BEGIN_TIMEOUT_S, *_ADVISORY_LOCK)
    return None if row is None else _check(row)


async def begin(connection: Connection, actor: str) -> int | None:
    """Note a check that is to be made, and return its id; None while another one runs."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", *_BEGIN_LOCK)
        before = await last(connection)
        if before is not None and before.state == "running":
            return None
        made: int = await connection.fetchval(
            "INSERT INTO promise_check (actor, rules) VALUES ($1, $2) RETURNING id", actor, len(rules())
        )
    return made


async def run(reading: Connection, writing: Connection, check_id: int) -> None:
    """Check all rules in a snapshot of `reading`; note progress and result by `writing`. Raises what asyncpg raises."""

    async def progress(done: int) -> None:
        await writing.execute("UPDATE promise_check SET rules_done = $2 WHERE id = $1", check_id, done)

    async with try_lock(reading, _ADVISORY_LOCK) as is_held:
        if not is_held:
            await fail(writing, check_id, "Another check runs.")
            return
        found = await audit(reading, progress)
    findings = [{"promise": one.rule.promise, "says": one.rule.says, "count": one.breaking} for one in found]
    await writing.execute(
        "UPDATE promise_check SET ended_at = now(), rules_done = rules, findings = $2 WHERE id = $1",
        check_id,
        json.dumps(findings),
    )


async def fail(connection: Connection, check_id: int, why: str) -> None:
    """Note that a check could not be made."""
    await connection.execute("UPDATE promise_check SET ended_at = now(), error = $2 WHERE id = $1", check_id, why)


def _check(row: asyncpg.Record) -> PromiseCheck:
    state: Any = "running"
    if row["ended_at"] is not None:
        state = "failed" if row["error"] else "clean" if row["findings"] == "[]" else "broken"
    elif not row["is_running"]:
        state = "interrupted"
    return PromiseCheck(
        state=state, actor=row["actor"], started_at=row["started_at"], ended_at=row["ended_at"], rules=row["rules"],
        rules_done=row["rules_done"], error=row["error"], findings=json.loads(row["findings"]),
    )  # fmt: skip
