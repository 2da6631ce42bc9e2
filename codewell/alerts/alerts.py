"""Alerts about programs. An alert is open until it is cleared; raised again meanwhile, it is counted.

A trigger writes the event of each alert that is opened or cleared, in the same transaction: see `alert_events`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from codewell.alerts.kinds import ITSELF, KINDS
from codewell.infra.postgres.connection import Connection
from codewell.usage.usage_key import FALLBACK_OUTCOMES
from schemas.alerts import Alert, AlertKind, AlertLevel, ProgramAlert

_RAISE: Final = """
    INSERT INTO alert AS a (program_id, kind, key, details, level) VALUES ($1, $2, $3, $4::jsonb, $5)
    ON CONFLICT (program_id, kind, key) WHERE cleared_at IS NULL
    DO UPDATE SET last_at = now(), count = a.count + 1, details = excluded.details
    RETURNING count = 1
    """
_PAGE: Final = """
    SELECT id, kind, key, level, raised_at, last_at, count, details, cleared_at, cleared_by FROM alert
    WHERE program_id = $1 AND id < $2 AND (cleared_at IS NOT NULL) = $3 ORDER BY id DESC LIMIT $4
    """
# Open alerts are few, and have an index of their own.
_PAGE_OF_ALL: Final = {
    cleared: f"""
    SELECT a.id, a.kind, a.key, a.level, a.raised_at, a.last_at, a.count, a.details, a.cleared_at, a.cleared_by,
           p.name AS program
    FROM alert a JOIN program p ON p.id = a.program_id
    WHERE a.id < $1 AND a.cleared_at IS {"NOT NULL" if cleared else "NULL"} AND ($2::text[] = '{{}}' OR p.groups && $2)
      AND ($3::text IS NULL OR p.name = $3) AND ($4::text IS NULL OR a.kind = $4)
      AND ($5::text IS NULL OR a.level = $5)
    ORDER BY a.id DESC LIMIT $6
    """  # noqa: S608  constants
    for cleared in (False, True)
}
_CLEAR: Final = """
    WITH cleared AS (
        UPDATE alert SET cleared_at = now(), cleared_by = $4
        WHERE program_id = $1 AND cleared_at IS NULL AND ($2::text IS NULL OR kind = $2)
          AND ($3::text IS NULL OR key = $3)
        RETURNING 1)
    SELECT count(*) FROM cleared
    """
_RAISE_MANY: Final = """
    INSERT INTO alert (program_id, kind, level, details)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::jsonb[])
    ON CONFLICT (program_id, kind, key) WHERE cleared_at IS NULL DO NOTHING RETURNING 1
    """
_CLEAR_THESE: Final = """
    UPDATE alert SET cleared_at = statement_timestamp(), cleared_by = $2, over_at = statement_timestamp()
    WHERE id = ANY ($1::bigint[]) AND cleared_at IS NULL RETURNING 1
    """
_OVER: Final = "UPDATE alert SET over_at = statement_timestamp() WHERE id = ANY ($1::bigint[])"
_REFRESH: Final = """
    UPDATE alert a SET details = w.details FROM unnest($1::bigint[], $2::jsonb[]) AS w (id, details)
    WHERE a.id = w.id AND a.cleared_at IS NULL AND a.details <> w.details
    """
# An hour and a half after the last code of a fallback.
_CLEAR_FALLBACKS: Final = """
    UPDATE alert a SET cleared_at = statement_timestamp(), cleared_by = $1
    WHERE kind = 'fallback-used' AND cleared_at IS NULL AND last_at < statement_timestamp() - interval '90 minutes'
      AND NOT EXISTS (
        SELECT FROM usage_minute u WHERE u.program_id = a.program_id AND u.outcome = ANY ($2::text[])
          AND u.minute > statement_timestamp() - interval '90 minutes')
    RETURNING 1
    """
_CLEAR_KEYS: Final = """
    UPDATE alert a SET cleared_at = statement_timestamp(), cleared_by = $4
    FROM unnest($2::bigint[], $3::text[]) AS w (program_id, key)
    WHERE a.program_id = w.program_id AND a.kind = $1 AND a.key = w.key AND a.cleared_at IS NULL
    """
# A refused code that its order uses after all, as a till may have it.
_CLEAR_ORDERS: Final = """
    UPDATE alert a SET cleared_at = statement_timestamp(), cleared_by = $1
    WHERE kind = 'order-unpaid-code' AND cleared_at IS NULL AND NOT EXISTS (
        SELECT FROM shop_order o, jsonb_to_recordset(o.refusals) AS r (program_id bigint, code text)
        WHERE o.order_id = a.key AND r.program_id = a.program_id AND NOT EXISTS (
            SELECT FROM code_use u JOIN answer w ON w.block_id = u.block_id AND w.position = u.position AND NOT w.again
            WHERE u.order_id = o.order_id AND u.program_id = r.program_id AND w.code = r.code
              AND u.used_at IS NOT NULL AND u.ended_at IS NULL))
    RETURNING 1
    """
_ID_MAX: Final = 2**63 - 1


async def raise_alert(
    connection: Connection, program_id: int, kind: AlertKind, key: str = "", details: Mapping[str, Any] | None = None
) -> bool:
    """Open an alert, or count it if it is open; True if it was opened.

    The newest `details` (JSON) stay. In a transaction it is the last step or near it: it locks the alert's row.
    """
    opened: bool = await connection.fetchval(
        _RAISE, program_id, kind, key, json.dumps(details or {}), KINDS[kind].level
    )
    return opened


async def clear_alerts(
    connection: Connection, program_id: int, by: str, kind: AlertKind | None = None, key: str | None = None
) -> int:
    """Clear the program's open alerts of this kind and with this key, or any, and return how many."""
    cleared: int = await connection.fetchval(_CLEAR, program_id, kind, key, by)
    return cleared


async def page(
    connection: Connection, program_id: int, limit: int, before: int | None = None, *, cleared: bool = False
) -> list[Alert]:
    """Up to `limit` open alerts of a program, or cleared ones, newest first, with an id below `before`."""
    rows = await connection.fetch(_PAGE, program_id, before or _ID_MAX, cleared, limit)
    return [Alert(**{**row, "details": json.loads(row["details"])}) for row in rows]


async def page_of_all(
    connection: Connection, limit: int, before: int | None = None, *, groups: Sequence[str] = (),
    program: str | None = None, kind: AlertKind | None = None, level: AlertLevel | None = None, cleared: bool = False,
) -> list[ProgramAlert]:  # fmt: skip
    """Up to `limit` open alerts, or cleared ones, newest first, with an id below `before`: of all programs, or of one.

    Only of programs with one of these access groups, where there are some. `kind`, `level`: only such alerts.
    """
    rows = await connection.fetch(_PAGE_OF_ALL[cleared], before or _ID_MAX, list(groups), program, kind, level, limit)
    return [ProgramAlert(**{**row, "details": json.loads(row["details"])}) for row in rows]


async def open_by_kind(connection: Connection) -> dict[str, int]:
    """How many alerts are open, by kind."""
    rows = await connection.fetch("SELECT kind, count(*) AS open FROM alert WHERE cleared_at IS NULL GROUP BY kind")
    return {row["kind"]: row["open"] for row in rows}


async def raise_many(connection: Connection, raised: Iterable[tuple[int, AlertKind, Mapping[str, Any]]]) -> int:
    """Open alerts as (program id, kind, details), but those that are open already; returns how many it opened."""
    rows = [(id_, kind, KINDS[kind].level, json.dumps(details)) for id_, kind, details in raised]
    if not rows:
        return 0
    return len(await connection.fetch(_RAISE_MANY, *map(list, zip(*rows, strict=True))))


async def clear_by_themselves(connection: Connection, ids: Sequence[int]) -> int:
    """Clear the open ones of these alerts, as their causes are gone, and return how many."""
    return len(await connection.fetch(_CLEAR_THESE, ids, ITSELF)) if ids else 0


async def clear_keys(connection: Connection, kind: AlertKind, keys: Iterable[tuple[int, str]]) -> None:
    """Clear the open alerts of this kind with these (program id, key), as their causes are gone."""
    rows = sorted(keys)
    if rows:
        await connection.execute(_CLEAR_KEYS, kind, *map(list, zip(*rows, strict=True)), ITSELF)


async def clear_unused_fallbacks(connection: Connection) -> int:
    """Clear alerts of fallbacks that give no codes any more, and return how many."""
    return len(await connection.fetch(_CLEAR_FALLBACKS, ITSELF, list(FALLBACK_OUTCOMES)))


async def clear_used_orders(connection: Connection) -> int:
    """Clear alerts of orders that use all codes which they were refused, and return how many."""
    return len(await connection.fetch(_CLEAR_ORDERS, ITSELF))


async def set_over(connection: Connection, ids: Sequence[int]) -> None:
    """Note that the causes of these alerts, which people have cleared, are gone."""
    if ids:
        await connection.execute(_OVER, ids)


async def refresh(connection: Connection, found: Sequence[tuple[int, str]]) -> None:
    """Set the details (JSON text) of open alerts, by id."""
    if found:
        await connection.execute(_REFRESH, *map(list, zip(*found, strict=True)))
