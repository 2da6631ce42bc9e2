"""Delivers events to the endpoints that subscribe to them, many receivers at once."""

import asyncio
import contextlib
import random
import time
from collections import Counter as Count
from typing import Final

import asyncpg
import structlog
from prometheus_client import Counter, Gauge, Histogram

from codewell.errors import StackUnavailable
from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Pool, outage_reason
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.infra.process.lifecycle import end_tasks
from codewell.infra.telemetry.health import Health
from codewell.keys.master_keys import MasterKeys, WrappedKey
from codewell.webhooks import events, leases, overview, secrets
from codewell.webhooks.leases import Delivery, Outcome
from codewell.webhooks.messages import Message
from codewell.webhooks.sending import Courier

log = structlog.get_logger()

DELIVERIES: Final = Counter("codewell_webhook_deliveries", "Attempts to deliver events, by outcome.", ["outcome"])
SECONDS: Final = Histogram(
    "codewell_webhook_seconds", "Duration of an attempt to deliver an event.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
)  # fmt: skip
WAITING: Final = Gauge("codewell_webhook_waiting", "Deliveries to active endpoints that are not made yet.")
OLDEST: Final = Gauge("codewell_webhook_oldest_seconds", "Age of the oldest event that waits for an active endpoint.")
ENDPOINTS: Final = Gauge("codewell_webhook_endpoints", "Endpoints, by state.", ["state"])
for _outcome in ("delivered", "waiting", "failed"):
    DELIVERIES.labels(_outcome)

_POSTGRES: Final = "postgres (webhooks)"
_LOOP: Final = "webhooks"
# Also how late a new event is noticed.
POLL_INTERVAL_S: Final = 0.5
SENDING_MAX: Final = 64
# Time to record an attempt. An expired lease of a dead generator is taken over by another one.
LEASE_MARGIN_S: Final = 5.0
FIGURES_INTERVAL_S: Final = 15.0


class WebhookSender:
    """Leases due deliveries and sends them, at most SENDING_MAX at once. Any number of generators share them."""

    def __init__(self, pool: Pool, keys: MasterKeys, courier: Courier, timeout_s: float, health: Health) -> None:
        self._pool = pool
        self._keys = keys
        self._courier = courier
        self._lease_s = timeout_s + LEASE_MARGIN_S
        self._health = health
        self._wake = asyncio.Event()
        self._sending: dict[asyncio.Task[None], int] = {}
        """Running attempts, each with its endpoint's id."""
        self._figures_at = 0.0

    async def run(self, stop: asyncio.Event, grace_s: float) -> None:
        """Send until `stop` is set; running attempts then have `grace_s` (s) to end. Raises nothing.

        An attempt that is cut off is repeated by any generator after its lease, with the same webhook-id.
        """
        stopped = asyncio.ensure_future(stop.wait())
        stopped.add_done_callback(lambda _: self._wake.set())
        while not stop.is_set():
            self._health.heartbeat(_LOOP)
            self._wake.clear()
            if not await self._send_next():
                self._health.set_idle(_LOOP)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_INTERVAL_S * random.uniform(0.5, 1.5)):  # noqa: S311  spreads load
                        await self._wake.wait()
        await end_tasks(set(self._sending), grace_s)

    async def _send_next(self) -> bool:
        """Begin to send what is due. False when nothing was, or when all slots are taken."""
        free = SENDING_MAX - len(self._sending)
        if free <= 0:
            return False
        try:
            async with self._pool.acquire() as connection:
                await self._look_around(connection)
                # A lease counts as an attempt, so none is kept of what cannot be sent.
                async with connection.transaction():
                    found = await leases.lease(connection, self._lease_s, Count(self._sending.values()), free)
                    stored = await secrets.active(connection, [one.endpoint_id for one in found])
            self._health.set_ready(_POSTGRES)
        except (*UNAVAILABLE_ERRORS, asyncpg.PostgresError) as error:
            self._health.set_waiting(_POSTGRES, outage_reason(error))
            return False
        except Exception:
            log.exception("webhooks_not_read")
            return False
        for one in found:
            task = asyncio.create_task(self._deliver(one, stored.get(one.endpoint_id, [])))
            self._sending[task] = one.endpoint_id
            task.add_done_callback(self._ended)
        return bool(found)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task, None)
        self._wake.set()

    async def _deliver(self, delivery: Delivery, stored: list[WrappedKey]) -> None:
        """Make one attempt and record it. Raises nothing."""
        began = time.monotonic()
        try:
            message = Message(delivery.event_id, delivery.type, delivery.occurred_at, delivery.program, delivery.data)
            outcome = await self._send(delivery, stored, message)
            reach(Failpoint.NOTIFIED)
            took_s = time.monotonic() - began
            SECONDS.observe(took_s)
            async with self._pool.acquire() as connection:
                state = await leases.record(connection, delivery, outcome, took_s)
            DELIVERIES.labels(state).inc()
            if outcome.error is not None:
                log.warning("webhook_failed", endpoint_id=delivery.endpoint_id, event_id=str(delivery.event_id),
                            attempt=delivery.attempt, why=outcome.error, state=state)  # fmt: skip
        except (*UNAVAILABLE_ERRORS, asyncpg.PostgresError) as error:
            # It is repeated after its lease.
            self._health.set_waiting(_POSTGRES, outage_reason(error))
        except Exception:
            log.exception("webhook_not_recorded", endpoint_id=delivery.endpoint_id)

    async def _send(self, delivery: Delivery, stored: list[WrappedKey], message: Message) -> Outcome:
        try:
            keys = [self._keys.unwrap(one) for one in stored]
            return await self._courier.send(delivery.kind, delivery.target, keys, message)
        except StackUnavailable as error:
            return Outcome(None, str(error))
        except Exception:
            # A fault of ours counts as a failed attempt, so that it ends too.
            log.exception("webhook_broke", endpoint_id=delivery.endpoint_id)
            return Outcome(None, "Codewell failed: the generator's log says why.")

    async def _look_around(self, connection: "asyncpg.Connection") -> None:
        """Now and then: set the gauges, and delete what is old."""
        now = time.monotonic()
        if now - self._figures_at < FIGURES_INTERVAL_S:
            return
        self._figures_at = now
        figures = await overview.figures(connection)
        WAITING.set(figures.waiting)
        OLDEST.set(figures.oldest_s)
        for state, number in figures.endpoints.items():
            ENDPOINTS.labels(state).set(number)
        await events.delete_old(connection)
