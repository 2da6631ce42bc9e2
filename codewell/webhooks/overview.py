"""Figures of all deliveries, for metrics."""

from typing import Final, NamedTuple

from codewell.infra.postgres.connection import Connection

_WAITING: Final = """
    SELECT count(*) AS waiting, coalesce(extract(epoch FROM now() - min(v.stored_at)), 0)::float8 AS oldest_s
    FROM webhook_endpoint e JOIN webhook_delivery d ON d.endpoint_id = e.id AND d.state = 'waiting'
    JOIN webhook_event v ON v.id = d.event_id WHERE e.active AND e.removed_at IS NULL
    """
_ENDPOINTS: Final = """
    SELECT count(*) FILTER (WHERE active AND failures = 0) AS healthy,
           count(*) FILTER (WHERE active AND failures > 0) AS failing,
           count(*) FILTER (WHERE NOT active) AS inactive
    FROM webhook_endpoint WHERE removed_at IS NULL
    """


class DeliveryFigures(NamedTuple):
    """Deliveries to active endpoints that are to be made, the age of the oldest event (s), and endpoints by state."""

    waiting: int
    oldest_s: float
    endpoints: dict[str, int]


async def figures(connection: Connection) -> DeliveryFigures:
    """The figures now."""
    waiting = await connection.fetchrow(_WAITING)
    endpoints = await connection.fetchrow(_ENDPOINTS)
    return DeliveryFigures(waiting["waiting"], waiting["oldest_s"], dict(endpoints))
