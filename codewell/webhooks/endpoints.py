"""Endpoints: make, list, change, remove. A caller with access groups sees those of these groups alone."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.errors import ProgramRefused, WebhookUnknown
from codewell.infra.postgres.connection import Connection
from codewell.keys.master_keys import MasterKeys
from codewell.webhooks import secrets
from codewell.webhooks.events import SEES_PROGRAM, SUBSCRIBES, lock_subscriptions
from codewell.webhooks.secrets import RotatedSecret
from schemas.webhooks import EndpointKind, NewWebhook, Webhook, WebhookChange, check_target, check_types

ENDPOINTS_MAX: Final = 500

_COLUMNS: Final = """
    id, kind, target, description, types, groups, active, inactive_reason, failures, rest_until,
    (SELECT count(*) FROM webhook_delivery d WHERE d.endpoint_id = e.id AND d.state = 'waiting') AS waiting,
    delivered_at, created_at
    """
_VISIBLE: Final = "e.removed_at IS NULL AND ($2::text[] = '{}' OR e.groups <> '{}' AND e.groups <@ $2)"
_PAGE: Final = f"SELECT {_COLUMNS} FROM webhook_endpoint e WHERE e.id > $1 AND {_VISIBLE} ORDER BY e.id LIMIT $3"  # noqa: S608  constants
_GET: Final = f"SELECT {_COLUMNS} FROM webhook_endpoint e WHERE e.id = $1 AND {_VISIBLE}"  # noqa: S608  constants
_LOCK: Final = f"SELECT 1 FROM webhook_endpoint e WHERE e.id = $1 AND {_VISIBLE} FOR NO KEY UPDATE"  # noqa: S608  constants
_CREATE: Final = """
    INSERT INTO webhook_endpoint (kind, target, description, types, groups) VALUES ($1, $2, $3, $4, $5) RETURNING id
    """
_COUNT: Final = "SELECT count(*) FROM webhook_endpoint WHERE removed_at IS NULL"
_CHANGE: Final = """
    UPDATE webhook_endpoint SET target = $2, description = $3, types = $4, groups = $5, active = $6,
        inactive_reason = CASE WHEN $6 THEN NULL ELSE coalesce(inactive_reason, 'person') END,
        failures = CASE WHEN $7 THEN 0 ELSE failures END, rest_until = CASE WHEN $7 THEN NULL ELSE rest_until END,
        subscribed_at = CASE WHEN types <> $4 OR groups <> $5 OR active <> $6 THEN clock_timestamp()
                             ELSE subscribed_at END
    WHERE id = $1
    """
# Events that wait and that it may or wants to have no longer.
_WITHDRAW: Final = f"""
    UPDATE webhook_delivery d SET state = 'failed', ended_at = statement_timestamp()
    FROM webhook_endpoint e, webhook_event v LEFT JOIN program p ON p.id = v.program_id
    WHERE e.id = $1 AND d.endpoint_id = e.id AND d.state = 'waiting' AND v.id = d.event_id
      AND NOT ({SUBSCRIBES} AND {SEES_PROGRAM})
    """  # noqa: S608  constants
_REMOVE: Final = """
    UPDATE webhook_endpoint SET active = false, inactive_reason = coalesce(inactive_reason, 'person'),
        removed_at = clock_timestamp() WHERE id = $1
    """


async def create(connection: Connection, keys: MasterKeys, new: NewWebhook) -> tuple[Webhook, str | None]:
    """Make an endpoint in the current transaction; returns it with its secret, if its kind is signed.

    Raises ProgramRefused if there are too many.
    """
    await lock_subscriptions(connection)
    if await connection.fetchval(_COUNT) >= ENDPOINTS_MAX:
        raise ProgramRefused(
            f"There are {ENDPOINTS_MAX} webhooks already: remove some first.", reason="webhooks_exhausted"
        )
    shown = _shown_target(new.kind, new.target)
    id_ = await connection.fetchval(_CREATE, new.kind, shown, new.description, _sorted(new.types), _sorted(new.groups))
    secret = None
    if new.kind == "slack":
        await secrets.set_url(connection, keys, id_, new.target)
    elif new.kind == "webhook":
        secret = await secrets.add(connection, keys, id_)
    return await get(connection, id_), secret


async def page(connection: Connection, groups: Sequence[str], after: int, limit: int) -> list[Webhook]:
    """Up to `limit` endpoints with ids after this one; with `groups`, those of these access groups alone."""
    return [_of_row(row) for row in await connection.fetch(_PAGE, after, list(groups), limit)]


async def get(connection: Connection, webhook_id: int, groups: Sequence[str] = ()) -> Webhook:
    """An endpoint; with `groups`, of these access groups alone. Raises WebhookUnknown if there is none such."""
    row = await connection.fetchrow(_GET, webhook_id, list(groups))
    if row is None:
        raise WebhookUnknown(webhook_id)
    return _of_row(row)


async def lock(connection: Connection, webhook_id: int, groups: Sequence[str] = ()) -> None:
    """Lock an endpoint until the end of the transaction. Raises WebhookUnknown as `get` does."""
    if not await connection.fetchval(_LOCK, webhook_id, list(groups)):
        raise WebhookUnknown(webhook_id)


async def change(
    connection: Connection, keys: MasterKeys, webhook_id: int, wanted: WebhookChange, groups: Sequence[str] = ()
) -> Webhook:
    """Change an endpoint in the current transaction.

    Raises WebhookUnknown, and ProgramRefused if target or types do not fit the kind.
    """
    await lock_subscriptions(connection)
    await lock(connection, webhook_id, groups)
    now = await get(connection, webhook_id, groups)
    given = wanted.model_dump(exclude_none=True)
    types = given.get("types", tuple(now.types))
    target = now.target
    try:
        if wanted.target is not None:
            target = _shown_target(now.kind, check_target(now.kind, wanted.target))
        check_types(now.kind, types)
    except ValueError as error:
        name = "types" if wanted.target is None or target != now.target else "target"
        raise ProgramRefused(f"{name}: {error}.", reason="field_invalid", setting=name) from error
    if now.kind == "slack" and wanted.target is not None:
        await secrets.set_url(connection, keys, webhook_id, wanted.target)
    active = given.get("active", now.active)
    # A new target may work where the old one did not.
    starts_anew = wanted.active is True or wanted.target is not None
    await connection.execute(
        _CHANGE, webhook_id, target, given.get("description", now.description), _sorted(types),
        _sorted(given.get("groups", now.groups)), active, starts_anew,
    )  # fmt: skip
    await connection.execute(_WITHDRAW, webhook_id)
    return await get(connection, webhook_id)


async def remove(connection: Connection, webhook_id: int, groups: Sequence[str] = ()) -> Webhook:
    """Remove an endpoint and its secrets in the current transaction. Raises WebhookUnknown."""
    await lock_subscriptions(connection)
    await lock(connection, webhook_id, groups)
    removed = await get(connection, webhook_id)
    await connection.execute(_REMOVE, webhook_id)
    await secrets.delete(connection, webhook_id)
    return removed


async def rotate_secret(connection: Connection, keys: MasterKeys, webhook: Webhook) -> RotatedSecret:
    """Make a new secret of an endpoint that is locked.

    Raises ProgramRefused if its kind is not signed, or too many secrets are active.
    """
    if webhook.kind != "webhook":
        raise ProgramRefused(
            f"Messages to an endpoint of kind {webhook.kind} are not signed: there is no secret to rotate.",
            reason="webhook_not_signed",
        )
    return await secrets.rotate(connection, keys, webhook.id)


async def log(connection: Connection, actor: Actor, verb: str, webhook: Webhook, **details: object) -> None:
    """Log an action with an endpoint. The entry has no address and no path, which may be secrets."""
    await audit_log.record(
        connection, actor, verb, None, webhook=webhook.id, kind=webhook.kind, host=_host(webhook), **details
    )


def _host(webhook: Webhook) -> str | None:
    if webhook.kind == "email":
        return webhook.target.rpartition("@")[2]
    return urlsplit(webhook.target).hostname


def _shown_target(kind: EndpointKind, target: str) -> str:
    """The target as it is stored in plain: of Slack's URLs only scheme and host, as anyone with all of it can post."""
    if kind != "slack":
        return target
    parts = urlsplit(target)
    return f"{parts.scheme}://{parts.netloc}/..."


def _sorted(names: Sequence[str]) -> list[str]:
    return sorted(set(names))


def _of_row(row: asyncpg.Record) -> Webhook:
    facts: dict[str, Any] = dict(row)
    return Webhook(**facts)
