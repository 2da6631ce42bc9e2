"""The state of reservations as events: noted in the database first, and published from there at least once."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

from codewell.infra.postgres.columns import columns_of
from codewell.infra.postgres.connection import Connection
from codewell.pool.block_rules import POOLED, RESERVED
from codewell.reservations import reservations
from schemas.reservations import EndedBy, ReservationState

# Of one look at the table; the next one finds the others.
EVENTS_MAX: Final = 500

_DUE: Final = """
    SELECT r.program_id, r.id,
           CASE WHEN p.removed_at IS NOT NULL THEN 'program_removed'
                WHEN r.until <= statement_timestamp() THEN 'until' ELSE 'program_ended' END AS by
    FROM reservation r JOIN program p ON p.id = r.program_id
    WHERE r.ended_at IS NULL AND (
        r.until <= statement_timestamp() OR p.removed_at IS NOT NULL OR p.valid_until <= statement_timestamp())
    ORDER BY r.id LIMIT $1
    """
_TOTALS: Final = f"""
    SELECT count(*), coalesce(sum(b.left), 0)::bigint, coalesce(sum(r.count - r.granted), 0)::bigint
    FROM reservation r CROSS JOIN LATERAL (
        SELECT sum(least({POOLED}, reserved_size - reserved_used)) AS left FROM block
        WHERE program_id = r.program_id AND reservation_id = r.id AND {RESERVED}
    ) b WHERE r.ended_at IS NULL
    """  # noqa: S608  constants
_HAS_WORK: Final = """
    SELECT EXISTS (SELECT FROM reservation WHERE ended_at IS NULL)
        OR EXISTS (SELECT FROM reservation_event WHERE published_at IS NULL)
    """
# Nothing of those that were released since they were read: that is their last event. A release in progress is waited
# for. What is noted already locks nothing.
_NOTE: Final = """
    INSERT INTO reservation_event (reservation_id, revision, state, count, reserved, used)
    SELECT n.* FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[])
        AS n (reservation_id, revision, state, count, reserved, used)
    JOIN reservation r ON r.id = n.reservation_id
    WHERE r.ended_at IS NULL AND NOT EXISTS (
        SELECT FROM reservation_event e
        WHERE e.reservation_id = n.reservation_id AND e.revision = n.revision AND e.state = n.state)
    ORDER BY r.id FOR SHARE OF r
    ON CONFLICT ON CONSTRAINT reservation_event_once DO NOTHING
    """
_UNPUBLISHED: Final = """
    SELECT e.id, e.reservation_id, e.revision, e.state, e.count, e.reserved, e.used, e.at, r.program_id,
           p.name AS program, r.source, r.source_id, r.ended_by
    FROM reservation_event e JOIN reservation r ON r.id = e.reservation_id JOIN program p ON p.id = r.program_id
    WHERE e.published_at IS NULL ORDER BY e.id LIMIT $1
    """
_PUBLISHED: Final = "UPDATE reservation_event SET published_at = statement_timestamp() WHERE id = ANY($1::bigint[])"


class ReservationTotals(NamedTuple):
    """All open reservations together, in codes except `open`."""

    open: int
    reserved: int
    shortfall: int


class DueReservation(NamedTuple):
    """An open reservation that is to end, and why."""

    program_id: int
    id: int
    by: EndedBy


class NotedChange(NamedTuple):
    """A reservation's new state that is not published yet."""

    id: int
    reservation_id: int
    revision: int
    state: ReservationState
    wanted: int
    reserved: int
    used: int
    at: datetime
    program_id: int
    program: str
    source: str
    source_id: str
    ended_by: EndedBy | None

    @property
    def event_id(self) -> UUID:
        """The same whenever the event is published, so that a copy is recognized."""
        return uuid5(NAMESPACE_URL, f"codewell:reservation:{self.reservation_id}:{self.revision}:{self.state}")


async def has_work(connection: Connection) -> bool:
    """Whether there is an open reservation, or a change of one that is not published."""
    found: bool = await connection.fetchval(_HAS_WORK)
    return found


async def figures(connection: Connection) -> ReservationTotals:
    """How many reservations are open, their codes that are not given, and how many they lack."""
    return ReservationTotals(*await connection.fetchrow(_TOTALS))


async def end_due(connection: Connection) -> list[DueReservation]:
    """End the reservations whose time has come, or whose program has ended, each in a transaction; return them."""
    due = [DueReservation(*row) for row in await connection.fetch(_DUE, EVENTS_MAX)]
    for one in due:
        await reservations.release(connection, one.program_id, one.id, one.by)
    return due


async def note_changes(connection: Connection) -> None:
    """Note the state of each open reservation, unless that is noted for its present count. Pending ones have none."""
    found = [one for one in await reservations.open_with_revisions(connection) if one[0].state != "pending"]
    rows = [(one.id, revision, one.state, one.count, one.reserved, one.used) for one, revision in found]
    await connection.execute(_NOTE, *columns_of(rows, 6))


async def unpublished(connection: Connection) -> list[NotedChange]:
    """Up to EVENTS_MAX changes that are not published, in their order."""
    return [NotedChange(*row) for row in await connection.fetch(_UNPUBLISHED, EVENTS_MAX)]


async def set_published(connection: Connection, changes: list[NotedChange]) -> None:
    """Record that these changes were published."""
    await connection.execute(_PUBLISHED, [change.id for change in changes])
