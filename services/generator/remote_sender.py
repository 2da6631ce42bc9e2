"""Sends the requests that are due to remote services, side by side, and hands over what they answer."""

import asyncio
import contextlib
import random
import time
from collections import Counter as Count
from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog
from prometheus_client import Counter, Histogram

from codewell.errors import RemoteFailed, StackUnavailable
from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Pool, outage_reason
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.infra.process.lifecycle import CANCEL_TIMEOUT_S
from codewell.infra.telemetry.health import Health
from codewell.pool.minter_cache import Minters
from codewell.remote import order_leases, signing_secrets
from codewell.remote.client import Client
from codewell.remote.order_leases import Order
from schemas.remote import RemoteCode, RemoteRequest
from services.generator.remote_receiver import TRANSIENT, Fill, RemoteReceiver

log = structlog.get_logger()

REQUESTS: Final = Counter("codewell_remote_requests", "Requests to remote services, by outcome.", ["outcome"])
SECONDS: Final = Histogram(
    "codewell_remote_seconds", "Duration of a request to a remote service.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)  # fmt: skip
for _outcome in ("done", "not_needed", "refused", "failed", "given_up"):
    REQUESTS.labels(_outcome)

_POSTGRES: Final = "postgres (remote services)"
# Others order too, at the API, and what failed becomes due again.
LOOK_INTERVAL_S: Final = 1.0
GIVE_UP_INTERVAL_S: Final = 60.0
KEYS_KEPT_S: Final = 1.0
# For the database, after the exchange. A request whose generator died is taken by another when this is over too.
LEASE_MARGIN_S: Final = 5.0


class SendLimits(NamedTuple):
    """How many requests are out at once, how long each may take (s), and for how long each is tried again (s)."""

    concurrency: int
    timeout_s: float
    give_up_s: float


class RemoteSender:
    """Takes stored requests that are due, and has up to so many of them out at once."""

    def __init__(
        self,
        pool: Pool,
        minters: Minters,
        client: Client,
        limits: SendLimits,
        fill: Fill,
        health: Health,
        wake: asyncio.Event,
    ) -> None:
        self._pool = pool
        self._minters = minters
        self._client = client
        self._limits = limits
        self._fill = fill
        self._receiver = RemoteReceiver(pool, fill)
        self._health = health
        self._wake = wake
        self._out: dict[asyncio.Task[None], int] = {}
        """Exchanges that go on, and the program of each."""
        self._answered: set[asyncio.Task[None]] = set()
        """Those that have ended, whose answers are being stored."""
        self._keys: dict[int, tuple[float, list[bytes]]] = {}
        self._looked_for_old_at = 0.0

    async def run(self, stop: asyncio.Event, grace_s: float) -> None:
        """Send until told to stop; what is out then has `grace_s` (s) to end. Raises nothing.

        A request that is cut off is tried again by whoever is there when its lease is over, under the same key.
        """
        stopped = asyncio.ensure_future(stop.wait())
        stopped.add_done_callback(lambda _: self._wake.set())
        while not stop.is_set():
            self._health.heartbeat("send")
            self._wake.clear()
            if not await self._send_next():
                await self._pause()
        left = {*self._out, *self._answered}
        if left:
            await asyncio.wait(left, timeout=grace_s)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=CANCEL_TIMEOUT_S)

    async def _send_next(self) -> bool:
        """Send what is due, as far as there are slots. False when there is nothing, or no slot.

        A slot is free again when the answer is there. As many answers may wait to be stored, and no more: a slow
        database holds up the sending.
        """
        free = min(self._limits.concurrency - len(self._out), self._room())
        if free <= 0:
            return False
        try:
            orders = await self._next(free)
        except (*UNAVAILABLE_ERRORS, *TRANSIENT) as error:
            self._health.set_waiting(_POSTGRES, outage_reason(error))
            return False
        except Exception:
            log.exception("request_not_taken")
            return False
        self._health.set_ready(_POSTGRES)
        for order in orders:
            task = asyncio.create_task(self._exchange(order))
            self._out[task] = order.program_id
            task.add_done_callback(self._ended)
        return bool(orders)

    async def _next(self, most: int) -> list[Order]:
        lease_s = self._limits.timeout_s + LEASE_MARGIN_S
        async with self._pool.acquire() as connection:
            now = time.monotonic()
            if now - self._looked_for_old_at >= GIVE_UP_INTERVAL_S:
                self._looked_for_old_at = now
                REQUESTS.labels("given_up").inc(await order_leases.give_up_old(connection, self._limits.give_up_s))
            of_program_max = self._limits.concurrency // 2
            return await order_leases.lease_orders(connection, lease_s, Count(self._out.values()), of_program_max, most)

    async def _pause(self) -> None:
        """Until a slot is free, something was ordered, some time has passed, or all is to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_INTERVAL_S * random.uniform(0.5, 1.5)):  # noqa: S311  spreads load
                await self._wake.wait()

    def _room(self) -> int:
        """How many more may be out or waiting to be stored: as many as are out at most may wait."""
        return 2 * self._limits.concurrency - len(self._out) - len(self._answered)

    def _ended(self, task: asyncio.Task[None]) -> None:
        held_up = task in self._out or self._room() <= 0
        self._out.pop(task, None)
        self._answered.discard(task)
        if held_up:
            self._wake.set()

    async def _exchange(self, order: Order) -> None:
        """Send one request and store its answer, or note why there is none. Raises nothing."""
        try:
            reach(Failpoint.ORDERED)
            try:
                codes = await self._codes(order)
                reach(Failpoint.ANSWERED)
                self._free_slot()
                stored = await self._receiver.store(order, codes)
                REQUESTS.labels("done" if stored is not None else "not_needed").inc()
            except RemoteFailed as error:
                if await self._put_off(order, error):
                    # Its codes are missing.
                    await self._fill(order.program_id)
        except (*UNAVAILABLE_ERRORS, *TRANSIENT) as error:
            # Its answer is asked for again, under the same key, when its lease is over.
            self._health.set_waiting(_POSTGRES, outage_reason(error))
        except StackUnavailable as error:
            log.warning("program_unusable", program=order.program, why=str(error))
        except Exception:
            log.exception("request_not_settled", program=order.program, request_id=str(order.id))

    def _free_slot(self) -> None:
        if task := asyncio.current_task():
            self._out.pop(task, None)
            self._answered.add(task)
            self._wake.set()

    async def _codes(self, order: Order) -> Sequence[RemoteCode]:
        """What the service answers. Raises RemoteFailed."""
        keys = await self._keys_of(order.program_id)
        request = RemoteRequest(
            version=1, request_id=order.id, program=order.program, count=order.asked, fields=order.fields
        )
        with SECONDS.time():
            return await self._client.order(order.url, request, keys, order.taken_s)

    async def _keys_of(self, program_id: int) -> list[bytes]:
        """The secrets in force, of a moment ago at most: one that is replaced stays in force for far longer."""
        read_at, keys = self._keys.get(program_id, (0.0, []))
        if not keys or time.monotonic() - read_at >= KEYS_KEPT_S:
            read_at = time.monotonic()
            async with self._pool.acquire() as connection:
                secrets = await signing_secrets.active_secrets(connection, self._minters, program_id)
            keys = [secret.key for secret in secrets]
            self._keys[program_id] = read_at, keys
        return keys

    async def _put_off(self, order: Order, error: RemoteFailed) -> bool:
        async with self._pool.acquire() as connection:
            given_up = await order_leases.record_failure(connection, order, error, self._limits.give_up_s)
        REQUESTS.labels("refused" if error.answered else "failed").inc()
        log.warning("remote_failed", program=order.program, request_id=str(order.id), attempt=order.attempt,
                    why=str(error), given_up=given_up)  # fmt: skip
        if given_up:
            REQUESTS.labels("given_up").inc()
        return given_up
