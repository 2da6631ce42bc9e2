"""Deliveries of one endpoint: list them, look at one, send one or many again."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection
from codewell.webhooks import endpoints
from codewell.webhooks.events import KEPT, SEES_PROGRAM, SUBSCRIBES, lock_subscriptions
from codewell.webhooks.messages import Message
from schemas.webhooks import DeliveryState, WebhookAttempt, WebhookDelivery, WebhookDeliveryDetails

ATTEMPTS_SHOWN_MAX: Final = 50
_ID_MAX: Final = 2**63 - 1

_SELECT: Final = f"""
    SELECT d.id, d.event_id::text, v.type, p.name AS program, v.occurred_at, d.state, d.attempts,
           CASE WHEN d.state = 'waiting' THEN d.next_attempt_at END AS next_attempt_at, d.ended_at,
           t.status, t.error, v.data
    FROM webhook_delivery d JOIN webhook_event v ON v.id = d.event_id LEFT JOIN program p ON p.id = v.program_id
    LEFT JOIN LATERAL (SELECT status, error FROM webhook_attempt a WHERE a.delivery_id = d.id
                       ORDER BY a.number DESC LIMIT 1) t ON true
    JOIN webhook_endpoint e ON e.id = d.endpoint_id
    WHERE d.endpoint_id = $1 AND {SEES_PROGRAM}
    """  # noqa: S608  constants
_PAGE: Final = f"""{_SELECT}
    AND d.id < $2 AND ($3::text IS NULL OR d.state = $3) ORDER BY d.id DESC LIMIT $4
    """
_GET: Final = f"{_SELECT} AND d.id = $2"
_ATTEMPTS: Final = """
    SELECT number, ended_at, status, took_ms / 1000.0::float8 AS took_s, error, answer FROM webhook_attempt
    WHERE delivery_id = $1 ORDER BY number DESC LIMIT $2
    """
# One that is being sent is not sent a second time beside that: it is due after its lease.
_AGAIN: Final = """
    state = 'waiting', attempts_before = webhook_delivery.attempts, ended_at = NULL,
    next_attempt_at = CASE WHEN webhook_delivery.state = 'waiting' AND webhook_delivery.attempts > 0 AND NOT EXISTS (
            SELECT FROM webhook_attempt a
            WHERE a.delivery_id = webhook_delivery.id AND a.number = webhook_delivery.attempts)
        THEN webhook_delivery.next_attempt_at ELSE statement_timestamp() END
    """
_RESEND: Final = f"""
    UPDATE webhook_delivery SET {_AGAIN}
    FROM webhook_endpoint e, webhook_event v LEFT JOIN program p ON p.id = v.program_id
    WHERE endpoint_id = $1 AND webhook_delivery.id = $2 AND e.id = endpoint_id AND v.id = event_id AND {SEES_PROGRAM}
    RETURNING 1
    """  # noqa: S608  constants
_REPLAY: Final = f"""
    WITH wanted AS (
        SELECT v.id FROM webhook_event v JOIN webhook_endpoint e ON e.id = $1
        LEFT JOIN program p ON p.id = v.program_id
        WHERE v.stored_at > statement_timestamp() - $4::interval AND v.occurred_at >= $2
          AND {SUBSCRIBES} AND {SEES_PROGRAM}),
    made AS (
        INSERT INTO webhook_delivery (endpoint_id, event_id) SELECT $1, id FROM wanted
        ON CONFLICT (event_id, endpoint_id) DO UPDATE SET {_AGAIN}
        WHERE $3 OR webhook_delivery.state <> 'delivered' RETURNING 1)
    SELECT count(*) FROM made
    """  # noqa: S608  constants


async def page(
    connection: Connection, webhook_id: int, state: DeliveryState | None, limit: int, before: int | None = None
) -> list[WebhookDelivery]:
    """Up to `limit` deliveries that an endpoint may see, newest first, with an id below `before`."""
    rows = await connection.fetch(_PAGE, webhook_id, before or _ID_MAX, state, limit)
    return [WebhookDelivery(**{name: value for name, value in row.items() if name != "data"}) for row in rows]


async def get(connection: Connection, webhook_id: int, delivery_id: int) -> WebhookDeliveryDetails:
    """A delivery with its body and attempts. Raises ProgramRefused (`delivery_unknown`)."""
    row = await connection.fetchrow(_GET, webhook_id, delivery_id)
    if row is None:
        raise _unknown(delivery_id)
    facts: dict[str, Any] = dict(row)
    message = Message(facts["event_id"], facts["type"], facts["occurred_at"], facts["program"], facts.pop("data"))
    attempts = await connection.fetch(_ATTEMPTS, delivery_id, ATTEMPTS_SHOWN_MAX)
    return WebhookDeliveryDetails(
        **facts, body=json.loads(message.body), tried=[WebhookAttempt(**one) for one in reversed(attempts)]
    )


async def resend(
    connection: Connection, webhook_id: int, delivery_id: int, groups: Sequence[str] = ()
) -> WebhookDeliveryDetails:
    """Have a delivery sent again, with the same webhook-id. Raises ProgramRefused (`delivery_unknown`)."""
    await endpoints.lock(connection, webhook_id, groups)
    if not await connection.fetchval(_RESEND, webhook_id, delivery_id):
        raise _unknown(delivery_id)
    return await get(connection, webhook_id, delivery_id)


async def replay(
    connection: Connection, webhook_id: int, since: datetime, groups: Sequence[str] = (), *, delivered: bool = False
) -> int:
    """Have the events since then sent that the endpoint subscribes to, each with its webhook-id; returns how many.

    Without `delivered`, those alone that it did not get, also those of a time in which it was not active. Events are
    kept for KEPT. Raises WebhookUnknown.
    """
    await lock_subscriptions(connection)
    await endpoints.lock(connection, webhook_id, groups)
    made: int = await connection.fetchval(_REPLAY, webhook_id, since, delivered, KEPT)
    return made


def _unknown(delivery_id: int) -> ProgramRefused:
    return ProgramRefused(
        f"There is no delivery {delivery_id} of this webhook: list its deliveries. Old ones are deleted.",
        reason="delivery_unknown",
    )
