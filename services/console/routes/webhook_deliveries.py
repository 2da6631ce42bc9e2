"""Endpoints for the deliveries of a webhook: what was sent, what came of it, and sending it again."""

from typing import Annotated, Final

from fastapi import APIRouter, Body, Depends, Path, Query
from fastapi.responses import Response

from codewell.infra.postgres.connection import Connection
from codewell.webhooks import deliveries, endpoints
from schemas.api import Page
from schemas.webhooks import (
    DeliveryState,
    ReplayedWebhook,
    ReplayWebhook,
    WebhookDelivery,
    WebhookDeliveryDetails,
)
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Admin, Reader
from services.console.http.idempotency import BodylessIdempotencyGuard, IdempotencyGuard
from services.console.http.problems import MAKING, documented
from services.console.routes import examples
from services.console.routes import webhook_examples as shown
from services.console.routes.webhooks import WebhookId

router = APIRouter(prefix="/webhooks/{webhook_id:int}", tags=["webhooks"])
ConsoleContext = Annotated[Context, Depends(context)]
DeliveryId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The delivery's id.", examples=[812])]
# Above every id.
_NEWEST: Final = 10**18 - 1


@router.get(
    "/deliveries",
    responses=examples.answer(200, "A page of deliveries, newest first", shown.DELIVERIES)
    | documented("cursor_invalid", "webhook_unknown"),
)
async def list_webhook_deliveries(
    here: ConsoleContext,
    caller: Reader,
    webhook_id: WebhookId,
    state: Annotated[DeliveryState | None, Query(description="Only deliveries in this state.")] = None,
    limit: pagination.Limit = 100,
    cursor: pagination.Cursor = None,
) -> Page[WebhookDelivery]:
    """List what was or is to be delivered, newest first. It is kept for 14 days."""
    before = pagination.number_of(cursor, _NEWEST)
    async with here.pool.acquire() as connection:
        await endpoints.get(connection, webhook_id, caller.groups)
        found = await deliveries.page(connection, webhook_id, state, limit + 1, before)
    return Page(items=found[:limit], next_cursor=pagination.of_next(found, limit, lambda one: str(one.id)))


@router.get(
    "/deliveries/{delivery_id:int}",
    responses=examples.answer(200, "The delivery", shown.DETAILS) | documented("delivery_unknown", "webhook_unknown"),
)
async def show_webhook_delivery(
    here: ConsoleContext, caller: Reader, webhook_id: WebhookId, delivery_id: DeliveryId
) -> WebhookDeliveryDetails:
    """Get a delivery with its body and its attempts."""
    async with here.pool.acquire() as connection:
        await endpoints.get(connection, webhook_id, caller.groups)
        return await deliveries.get(connection, webhook_id, delivery_id)


@router.post(
    "/deliveries/{delivery_id:int}:resend",
    response_model=WebhookDeliveryDetails,
    responses=examples.answer(200, "The delivery, which waits again", shown.DETAILS)
    | documented("delivery_unknown", "idempotency_key_busy", "idempotency_key_reused", "webhook_unknown"),
)
async def resend_webhook_delivery(
    caller: Admin,
    idempotency: BodylessIdempotencyGuard,
    webhook_id: WebhookId,
    delivery_id: DeliveryId,
) -> Response:
    """Send a delivery again, with the same `webhook-id` and all attempts anew; a waiting one now."""

    async def work(connection: Connection) -> WebhookDeliveryDetails:
        again = await deliveries.resend(connection, webhook_id, delivery_id, caller.groups)
        webhook = await endpoints.get(connection, webhook_id)
        await endpoints.log(connection, caller.actor, "webhook.resend", webhook, event=again.event_id)
        return again

    return await idempotency.answer(work, lambda _: None, 200)


# Not below /deliveries: it also makes deliveries of events that the webhook missed.
@router.post(
    ":replay",
    response_model=ReplayedWebhook,
    responses=examples.answer(200, "How many deliveries wait because of it", shown.REPLAYED)
    | documented(*MAKING, "webhook_unknown"),
)
async def replay_webhook(
    caller: Admin,
    idempotency: IdempotencyGuard,
    webhook_id: WebhookId,
    wanted: Annotated[ReplayWebhook, Body(examples=[shown.REPLAY])],
) -> Response:
    """Send the events since a time that the webhook subscribes to and did not get; with `delivered`, all of them.

    Also those of a time in which it was not active. Each keeps its `webhook-id`. Events are kept for 14 days.
    """

    async def work(connection: Connection) -> ReplayedWebhook:
        made = await deliveries.replay(connection, webhook_id, wanted.since, caller.groups, delivered=wanted.delivered)
        webhook = await endpoints.get(connection, webhook_id)
        since = wanted.since.isoformat()
        await endpoints.log(connection, caller.actor, "webhook.replay", webhook, since=since, deliveries=made)
        return ReplayedWebhook(deliveries=made)

    return await idempotency.answer(work, lambda _: None, 200)
