"""Stores events for the endpoints that subscribe to them."""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from codewell.infra.postgres.connection import Connection

# Longer than the attempts of one delivery take. What is older is deleted, and cannot be sent again.
KEPT: Final = timedelta(days=14)
_DELETED_MAX: Final = 2_000
_FULL_TYPE: Final = re.compile(r"^dev\.codewell\.(?P<short>[a-z-]+)\.v\d+$")
# Held in shared mode to store events, and exclusively to change what an endpoint subscribes to: so an endpoint gets
# exactly the events that are stored after its `subscribed_at`. Unique among all advisory locks.
_SUBSCRIPTIONS_LOCK: Final = (0x636F6465, 41)

# Whether an endpoint `e` may have events about a program `p`; an event about no program is for those that see all.
SEES_PROGRAM: Final = "(e.groups = '{}' OR p.groups && e.groups)"
# Whether it subscribes to an event `v`, whose type is in full.
SUBSCRIBES: Final = r"substring(v.type FROM '^dev\.codewell\.([a-z-]+)\.v[0-9]+$') = ANY (e.types)"

_SHARE: Final = "SELECT pg_advisory_xact_lock_shared($1, $2)"
_EXCLUDE: Final = "SELECT pg_advisory_xact_lock($1, $2)"
_SUBSCRIBED: Final = "SELECT DISTINCT unnest(types) FROM webhook_endpoint WHERE removed_at IS NULL"
_STORE: Final = f"""
    WITH given AS (
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[], $6::text[])
            AS g (id, type, short, occurred_at, program_id, data)),
    wanted AS (
        SELECT g.id AS event_id, e.id AS endpoint_id, e.active
        FROM given g JOIN webhook_endpoint e ON e.removed_at IS NULL AND g.short = ANY (e.types)
        LEFT JOIN program p ON p.id = g.program_id WHERE {SEES_PROGRAM}),
    stored AS (
        INSERT INTO webhook_event (id, type, occurred_at, program_id, data)
        SELECT id, type, occurred_at, program_id, data FROM given WHERE id IN (SELECT event_id FROM wanted)
        ON CONFLICT (id) DO NOTHING),
    made AS (
        INSERT INTO webhook_delivery (endpoint_id, event_id) SELECT endpoint_id, event_id FROM wanted WHERE active
        ON CONFLICT (event_id, endpoint_id) DO NOTHING RETURNING 1)
    SELECT count(*) FROM made
    """  # noqa: S608  constants
_DELETE_OLD: Final = """
    WITH old AS (
        DELETE FROM webhook_event WHERE id IN (
            SELECT id FROM webhook_event WHERE stored_at < now() - $1::interval ORDER BY stored_at LIMIT $2)
        RETURNING 1)
    SELECT count(*) FROM old
    """


class WebhookEvent(NamedTuple):
    """An event. `type` in full, as `dev.codewell.alert-raised.v1`; `data` as JSON text, which is sent as it is."""

    id: UUID
    type: str
    occurred_at: datetime
    program_id: int | None
    data: str


def short_type(type_: str) -> str:
    """The type as endpoints subscribe to it: `alert-raised` of `dev.codewell.alert-raised.v1`."""
    found = _FULL_TYPE.match(type_)
    return found["short"] if found else type_


async def enqueue(connection: Connection, events: Iterable[WebhookEvent]) -> int:
    """Make a delivery of each event for each active endpoint that subscribes to it and may see its program.

    Call it in the transaction that records the events as handed on: its number of deliveries is returned. An event
    with an id that is stored already is ignored, so that a batch may be repeated.
    """
    await connection.execute(_SHARE, *_SUBSCRIPTIONS_LOCK)
    subscribed = {row[0] for row in await connection.fetch(_SUBSCRIBED)}
    wanted = [one for one in events if short_type(one.type) in subscribed] if subscribed else []
    if not wanted:
        return 0
    made: int = await connection.fetchval(
        _STORE,
        [one.id for one in wanted],
        [one.type for one in wanted],
        [short_type(one.type) for one in wanted],
        [one.occurred_at for one in wanted],
        [one.program_id for one in wanted],
        [one.data for one in wanted],
    )
    return made


async def lock_subscriptions(connection: Connection) -> None:
    """Until the end of the transaction no event is stored: call it before what an endpoint subscribes to changes."""
    await connection.execute(_EXCLUDE, *_SUBSCRIPTIONS_LOCK)


async def delete_old(connection: Connection) -> int:
    """Delete some events older than KEPT with their deliveries; returns how many, 0 when there are no more."""
    deleted: int = await connection.fetchval(_DELETE_OLD, KEPT, _DELETED_MAX)
    return deleted
