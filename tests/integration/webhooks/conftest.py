"""Endpoints, events and senders of tests about webhooks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import pytest

from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.connection import pool as open_pool
from codewell.infra.telemetry.health import Health
from codewell.infra.uuid7 import uuid7
from codewell.keys.master_keys import MasterKeys
from codewell.webhooks import WebhookEvent, endpoints, enqueue, leases
from codewell.webhooks.sending import Courier
from codewell.webhooks.settings import WebhookSettings
from schemas.webhooks import NewWebhook, Webhook
from services.generator import webhook_sender
from services.generator.webhook_sender import WebhookSender
from tests.support.running import running
from tests.support.servers import as_role

HERE = [ip_network("127.0.0.0/8")]
KEYS = MasterKeys(bytes(range(32)))
DATA = '{"program": "SPRING", "title": "No codes left", "level": "critical", "figures": {"pooled": 0}}'
Sending = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is tried again sooner; how soon is the matter of one test."""
    monkeypatch.setattr(webhook_sender, "POLL_INTERVAL_S", 0.02)
    monkeypatch.setattr(webhook_sender, "LEASE_MARGIN_S", 0.5)
    monkeypatch.setattr(leases, "RETRY_DELAYS_S", (0.02,) * 9)
    monkeypatch.setattr(leases, "REST_FIRST_S", 0.02)
    monkeypatch.setattr(leases, "REST_MAX_S", 0.05)


@pytest.fixture
def sending(database_url: str) -> Sending:
    """Runs what delivers in a generator during a block, with a generator's rights."""

    @asynccontextmanager
    async def running_sender(*, timeout_s: float = 2.0, allowed: Any = HERE, **mail: Any) -> AsyncIterator[None]:
        url = as_role(database_url, "generator")
        settings = WebhookSettings(postgres_url=url, kafka_bootstrap="127.0.0.1:1", webhook_timeout_s=timeout_s, **mail)
        async with open_pool(url, "codewell-generator", 4) as pool, aclosing(Courier(settings, allowed)) as courier:
            sender = WebhookSender(pool, KEYS, courier, timeout_s, Health("postgres"))

            async def run(_: object, stop: asyncio.Event) -> None:
                await sender.run(stop, 5)

            async with running(run, None):
                yield

    return running_sender


async def subscribe(connection: Connection, target: str, **given: Any) -> tuple[Webhook, str | None]:
    """An endpoint with its secret."""
    async with connection.transaction():
        return await endpoints.create(connection, KEYS, NewWebhook.model_validate({"target": target, **given}))


def event(program_id: int | None = None, type_: str = "dev.codewell.alert-raised.v1", data: str = DATA) -> WebhookEvent:
    return WebhookEvent(uuid7(), type_, datetime.now(UTC), program_id, data)


async def publish(connection: Connection, *events: WebhookEvent) -> list[UUID]:
    """Store events for their endpoints; returns their ids."""
    async with connection.transaction():
        await enqueue(connection, events)
    return [one.id for one in events]


async def states(connection: Connection, webhook_id: int) -> list[str]:
    """The states of all deliveries of an endpoint, oldest first."""
    rows = await connection.fetch("SELECT state FROM webhook_delivery WHERE endpoint_id = $1 ORDER BY id", webhook_id)
    return [row["state"] for row in rows]
