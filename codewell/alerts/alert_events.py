"""Events of alerts: written with each change of an alert, then published and given to webhooks, at least once each."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote
from uuid import UUID

from codewell.alerts.kinds import KINDS
from codewell.infra.postgres.connection import Connection
from schemas.alerts import AlertCleared, AlertKind, AlertLevel, AlertRaised
from schemas.events import ALERT_CLEARED, ALERT_RAISED

# Of one look; the next one finds the others.
EVENTS_MAX: Final = 200
# Published events stay for this long.
KEPT_DAYS: Final = 35

_COLUMNS: Final = """
    SELECT e.number, e.id, e.type, e.level, e.count, e.details, e.occurred_at, e.alert_id, a.kind, a.key, a.raised_at,
           a.cleared_by, e.program_id, p.name AS program
    FROM alert_event e JOIN alert a ON a.id = e.alert_id JOIN program p ON p.id = e.program_id
    """
_UNPUBLISHED: Final = f"{_COLUMNS} WHERE e.published_at IS NULL ORDER BY e.number LIMIT $1"
_UNHANDED: Final = f"{_COLUMNS} WHERE e.handed_at IS NULL ORDER BY e.number LIMIT $1 FOR UPDATE OF e SKIP LOCKED"
_PUBLISHED: Final = "UPDATE alert_event SET published_at = statement_timestamp() WHERE number = ANY($1::bigint[])"
_HANDED: Final = "UPDATE alert_event SET handed_at = statement_timestamp() WHERE number = ANY($1::bigint[])"
_PENDING: Final = """
    SELECT EXISTS (SELECT FROM alert_event WHERE published_at IS NULL),
           EXISTS (SELECT FROM alert_event WHERE handed_at IS NULL)
    """
_REMIND: Final = """
    UPDATE alert SET reminded_at = statement_timestamp() WHERE id IN (
        SELECT id FROM alert WHERE cleared_at IS NULL
          AND coalesce(reminded_at, raised_at) <= statement_timestamp() - interval '1 day'
        ORDER BY id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED)
    """
_DELETE_OLD: Final = """
    DELETE FROM alert_event WHERE number IN (
        SELECT number FROM alert_event
        WHERE occurred_at < statement_timestamp() - make_interval(days => $1)
          AND published_at IS NOT NULL AND handed_at IS NOT NULL
        ORDER BY occurred_at LIMIT 10000)
    """


class Pending(NamedTuple):
    """Whether there are events that were not published, and not handed to webhooks."""

    unpublished: bool
    unhanded: bool


class NotedAlert(NamedTuple):
    """Something that happened to an alert."""

    number: int
    id: UUID
    change: Literal["raised", "cleared", "reminder"]
    level: AlertLevel
    times: int
    figures: dict[str, Any]
    at: datetime
    alert_id: int
    kind: AlertKind
    key: str
    raised_at: datetime
    cleared_by: str | None
    program_id: int
    program: str

    @property
    def type(self) -> str:
        """The type of its event."""
        return ALERT_CLEARED if self.change == "cleared" else ALERT_RAISED

    def data(self, console_url: str | None) -> AlertRaised | AlertCleared:
        """The data of its event. `console_url`: where people reach the console, if that is known."""
        data = {
            "alert_id": self.alert_id, "program": self.program, "rule": self.kind, "key": self.key, "level": self.level,
            "title": KINDS[self.kind].title, "figures": self.figures, "count": self.times, "raised_at": self.raised_at,
            "at": self.at, "link": console_url and f"{console_url.rstrip('/')}/programs/{quote(self.program, safe='')}",
        }  # fmt: skip
        if self.change == "cleared":
            return AlertCleared.model_validate({**data, "cleared_by": self.cleared_by})
        return AlertRaised.model_validate(
            {**data, "reminder": self.change == "reminder", "action": KINDS[self.kind].action}
        )


async def pending(connection: Connection) -> Pending:
    """Whether there is something to do."""
    return Pending(*await connection.fetchrow(_PENDING))


async def unpublished(connection: Connection) -> list[NotedAlert]:
    """Up to EVENTS_MAX events that are not published, in their order."""
    return await _read(connection, _UNPUBLISHED)


async def take_unhanded(connection: Connection) -> list[NotedAlert]:
    """Up to EVENTS_MAX events that no webhook was given, locked until the end of the transaction."""
    return await _read(connection, _UNHANDED)


async def set_published(connection: Connection, noted: Sequence[NotedAlert]) -> None:
    """Record that these events were published."""
    await connection.execute(_PUBLISHED, [one.number for one in noted])


async def set_handed(connection: Connection, noted: Sequence[NotedAlert]) -> None:
    """Record that webhooks were given these events."""
    await connection.execute(_HANDED, [one.number for one in noted])


async def remind(connection: Connection) -> None:
    """Note a reminder of each alert that is open and had no event for a day."""
    await connection.execute(_REMIND, EVENTS_MAX)


async def delete_old(connection: Connection) -> None:
    """Delete events that were published and handed to webhooks, and are older than KEPT_DAYS."""
    await connection.execute(_DELETE_OLD, KEPT_DAYS)


async def _read(connection: Connection, statement: str) -> list[NotedAlert]:
    rows = await connection.fetch(statement, EVENTS_MAX)
    return [NotedAlert(*{**row, "details": json.loads(row["details"])}.values()) for row in rows]
