"""Endpoints for webhooks: who is told of events by HTTP, Slack or e-mail. Secrets are answered once."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path
from fastapi.responses import Response

from codewell.access.tokens import Token
from codewell.infra.postgres.connection import Connection
from codewell.webhooks import endpoints, trial
from schemas.api import Page
from schemas.webhooks import (
    CreatedWebhook,
    NewWebhook,
    Webhook,
    WebhookChange,
    WebhookSecret,
    WebhookTestResult,
)
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Admin, Reader
from services.console.http.idempotency import BodylessIdempotencyGuard, IdempotencyGuard
from services.console.http.problems import MAKING, WITH_BODY, HttpProblem, documented
from services.console.routes import examples
from services.console.routes import webhook_examples as shown

router = APIRouter(prefix="/webhooks", tags=["webhooks"])
ConsoleContext = Annotated[Context, Depends(context)]
WebhookId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The webhook's id.", examples=[3])]


@router.get(
    "", responses=examples.answer(200, "A page of webhooks, oldest first", shown.PAGE) | documented("cursor_invalid")
)
async def list_webhooks(
    here: ConsoleContext, caller: Reader, limit: pagination.Limit = 100, cursor: pagination.Cursor = None
) -> Page[Webhook]:
    """List the webhooks, without their secrets. A token with access groups sees those of these groups alone."""
    after = pagination.number_of(cursor, 0)
    async with here.pool.acquire() as connection:
        found = await endpoints.page(connection, caller.groups, after, limit + 1)
    return Page(items=found[:limit], next_cursor=pagination.of_next(found, limit, lambda one: str(one.id)))


@router.post(
    "",
    status_code=201,
    response_model=CreatedWebhook,
    responses=examples.answer(201, "The webhook, with the secret that signs", shown.CREATED)
    | documented(*MAKING, "group_refused", "mail_server_missing", "webhooks_exhausted"),
)
async def create_webhook(
    here: ConsoleContext,
    caller: Admin,
    idempotency: IdempotencyGuard,
    wanted: Annotated[NewWebhook, Body(examples=[shown.NEW])],
) -> Response:
    """Have events delivered to a URL, signed as Standard Webhooks says, to Slack, or to an e-mail address.

    The secret is answered once. A token with access groups makes webhooks of these groups only.
    """
    _refuse_other_groups(caller, wanted.groups)
    if wanted.kind == "email" and not here.has_mail_server:
        raise HttpProblem(
            "mail_server_missing", "No mail server is set: the operator sets CODEWELL_SMTP_HOST for all services."
        )

    async def work(connection: Connection) -> CreatedWebhook:
        made, secret = await endpoints.create(connection, here.minters.keys, wanted)
        await endpoints.log(connection, caller.actor, "webhook.create", made, types=made.types)
        return CreatedWebhook(**made.model_dump(), secret=secret)

    return await idempotency.answer(work, lambda _: None, to_store=_without_secret)


@router.get(
    "/{webhook_id:int}",
    responses=examples.answer(200, "The webhook", shown.WEBHOOK) | documented("webhook_unknown"),
)
async def show_webhook(here: ConsoleContext, caller: Reader, webhook_id: WebhookId) -> Webhook:
    """Get a webhook with its state, without its secrets."""
    async with here.pool.acquire() as connection:
        return await endpoints.get(connection, webhook_id, caller.groups)


@router.patch(
    "/{webhook_id:int}",
    responses=examples.answer(200, "The changed webhook", shown.WEBHOOK)
    | documented(*WITH_BODY, "group_refused", "webhook_unknown"),
)
async def change_webhook(
    here: ConsoleContext,
    caller: Admin,
    webhook_id: WebhookId,
    wanted: Annotated[WebhookChange, Body(examples=[shown.CHANGE])],
) -> Webhook:
    """Change a webhook, or switch it on or off. Events that it no longer subscribes to are not sent any more."""
    if wanted.groups is not None:
        _refuse_other_groups(caller, wanted.groups)
    async with here.pool.acquire() as connection, connection.transaction():
        changed = await endpoints.change(connection, here.minters.keys, webhook_id, wanted, caller.groups)
        fields = sorted(wanted.model_dump(exclude_none=True))
        await endpoints.log(connection, caller.actor, "webhook.update", changed, fields=fields, active=changed.active)
    return changed


@router.delete(
    "/{webhook_id:int}",
    responses=examples.answer(200, "The removed webhook", shown.REMOVED) | documented("webhook_unknown"),
)
async def remove_webhook(here: ConsoleContext, caller: Admin, webhook_id: WebhookId) -> Webhook:
    """Remove a webhook and its secrets. What waits for it is not sent."""
    async with here.pool.acquire() as connection, connection.transaction():
        removed = await endpoints.remove(connection, webhook_id, caller.groups)
        await endpoints.log(connection, caller.actor, "webhook.remove", removed)
    return removed


@router.post(
    "/{webhook_id:int}/secrets:rotate",
    response_model=WebhookSecret,
    responses=examples.answer(200, "The new secret", shown.ROTATED)
    | documented("idempotency_key_busy", "idempotency_key_reused", "secrets_exhausted", "webhook_not_signed",
                 "webhook_unknown"),
)  # fmt: skip
async def rotate_webhook_secret(
    here: ConsoleContext, caller: Admin, idempotency: BodylessIdempotencyGuard, webhook_id: WebhookId
) -> Response:
    """Make a new secret, answered once. For a day, deliveries are signed with the one before it too."""

    async def work(connection: Connection) -> WebhookSecret:
        await endpoints.lock(connection, webhook_id, caller.groups)
        webhook = await endpoints.get(connection, webhook_id)
        rotated = await endpoints.rotate_secret(connection, here.minters.keys, webhook)
        await endpoints.log(connection, caller.actor, "webhook.rotate_secret", webhook)
        return WebhookSecret(secret=rotated.text, previous_end_at=rotated.previous_end_at)

    return await idempotency.answer(work, lambda _: None, 200, _without_rotated)


@router.post(
    "/{webhook_id:int}:test",
    responses=examples.answer(200, "What came of the message", shown.TEST)
    | documented("tests_exhausted", "webhook_unknown"),
)
async def test_webhook(here: ConsoleContext, caller: Admin, webhook_id: WebhookId) -> WebhookTestResult:
    """Send a test message now, of type `dev.codewell.webhook-test.v1`, also to a webhook that is not active."""
    with here.remote_tests.slot(caller.id):
        async with here.pool.acquire() as connection:
            webhook = await endpoints.get(connection, webhook_id, caller.groups)
            await endpoints.log(connection, caller.actor, "webhook.test", webhook)
            keys = await trial.keys_of(connection, here.minters.keys, webhook)
        async with here.courier() as courier:
            return await trial.send_test(courier, webhook, keys)


def _refuse_other_groups(caller: Token, groups: Sequence[str]) -> None:
    if caller.groups and not (groups and set(groups) <= set(caller.groups)):
        own = ", ".join(caller.groups)
        raise HttpProblem("group_refused", f"This token may make webhooks only of its own groups: some of {own}.")


def _without_secret(made: CreatedWebhook) -> CreatedWebhook:
    return made.model_copy(update={"secret": None})


def _without_rotated(made: WebhookSecret) -> WebhookSecret:
    return made.model_copy(update={"secret": None})
