"""Sends due orders to remote services concurrently and stores their answers."""

import asyncio
import contextlib
import random
import time
from collections import Counter as Count
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import structlog
from prometheus_client import Counter, Histogram

from codewell.errors import RemoteFailed, StackUnavailable
from codewell.infra.postgres.connection import CONTENTION_ERRORS, UNAVAILABLE_ERRORS, Pool, outage_reason
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.infra.process.lifecycle import end_tasks
from codewell.infra.telemetry.health import Health
from codewell.pool.minter_cache import Minters
from codewell.remote import order_leases, signing_secrets
from codewell.remote.client import Client
from codewell.remote.order_leases import Order
from schemas.remote import RemoteCode, RemoteRequest
from services.generator.prefetched_orders import PREFETCHED_MAX_S, PrefetchedOrders
from services.generator.remote_receiver import FillPool, RemoteReceiver

log = structlog.get_logger()

REQUESTS: Final = Counter("codewell_remote_requests", "Requests to remote services, by outcome.", ["outcome"])
SECONDS: Final = Histogram(
    "codewell_remote_seconds", "Duration of a request to a remote service.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)  # fmt: skip
for _outcome in ("done", "not_needed", "refused", "failed", "given_up"):
    REQUESTS.labels(_outcome)

_POSTGRES: Final = "postgres (remote services)"
# The console places orders too, and failed ones become due again.
POLL_INTERVAL_S: Final = 1.0
GIVE_UP_INTERVAL_S: Final = 60.0
SIGNING_KEYS_TTL_S: Final = 1.0
# Time to store the answer after the exchange. An expired lease of a dead generator is taken over by another one.
LEASE_MARGIN_S: Final = 5.0
# Running exchanges and answers to be stored, as a multiple of the concurrency.
_ANSWERS_MAX_TIMES: Final = 3


class SendLimits(NamedTuple):
    """Concurrent exchanges, the timeout of each (s), and how long an order is retried (s)."""

    concurrency: int
    timeout_s: float
    give_up_s: float


class RemoteSender:
    """Leases due orders and runs their exchanges, at most `limits.concurrency` at once."""

    def __init__(
        self,
        pool: Pool,
        minters: Minters,
        client: Client,
        limits: SendLimits,
        fill: FillPool,
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
        self._exchanges: dict[asyncio.Task[None], int] = {}
        """Running exchanges, each with its program id."""
        self._storing: set[asyncio.Task[None]] = set()
        """Ended exchanges whose answers are being stored."""
        self._per_program_max = limits.concurrency // 2
        self._prefetched = PrefetchedOrders(self._per_program_max)
        self._signing_key_cache: dict[int, tuple[float, list[bytes]]] = {}
        self._expired_at = 0.0
        self._stop = asyncio.Event()

    async def run(self, stop: asyncio.Event, grace_s: float) -> None:
        """Send until `stop` is set; running exchanges then have `grace_s` (s) to end. Raises nothing.

        A cancelled order is retried by any generator after its lease expires, under the same idempotency key.
        """
        self._stop = stop
        stopped = asyncio.ensure_future(stop.wait())
        stopped.add_done_callback(lambda _: self._wake.set())
        while not stop.is_set():
            self._health.heartbeat("send")
            self._wake.clear()
            if not await self._send_next():
                await self._pause()
        unsent = asyncio.create_task(self._return(self._prefetched.drop_all()))
        await end_tasks({*self._exchanges, *self._storing, unsent}, grace_s)

    async def _send_next(self) -> bool:
        """Send due orders into the free slots, and lease the next ones. False when nothing is due that may be leased.

        An answer frees its slot. The answers to be stored are limited: a slow database slows the sending down.
        """
        self._fill_slots()
        free, room, old = self._free_slots(), self._prefetched.room(self._running()), self._prefetched.drop_old()
        if free <= 0 and not room and not old:
            return False
        try:
            found = await self._lease(free, room, old)
        except (*UNAVAILABLE_ERRORS, *CONTENTION_ERRORS) as error:
            self._health.set_waiting(_POSTGRES, outage_reason(error))
            return False
        except Exception:
            log.exception("request_not_taken")
            return False
        self._health.set_ready(_POSTGRES)
        return found > 0

    async def _lease(self, free: int, room: Mapping[int, int], old: Sequence[Order]) -> int:
        """Return old orders, send due ones into the free slots, and lease some ahead; returns how many it leased."""
        lease_s = PREFETCHED_MAX_S + self._limits.timeout_s + LEASE_MARGIN_S
        orders: list[Order] = []
        prefetched: list[Order] = []
        async with self._pool.acquire() as connection:
            now = time.monotonic()
            if now - self._expired_at >= GIVE_UP_INTERVAL_S:
                self._expired_at = now
                REQUESTS.labels("given_up").inc(await order_leases.give_up_old(connection, self._limits.give_up_s))
            if old:
                await order_leases.return_orders(connection, old)
            if free > 0:
                orders = await order_leases.lease_orders(
                    connection, lease_s, self._running(), self._per_program_max, free
                )
                for order in orders:
                    self._start(order)
            if room:
                prefetched = await order_leases.prefetch_orders(connection, lease_s, room)
                for order in prefetched:
                    self._prefetched.add(order)
        return len(orders) + len(prefetched)

    def _fill_slots(self) -> None:
        """Send prefetched orders into the free slots, unless the process stops."""
        while not self._stop.is_set() and self._free_slots() > 0 and (order := self._prefetched.take(self._running())):
            self._start(order)

    def _start(self, order: Order) -> None:
        task = asyncio.create_task(self._exchange(order))
        self._exchanges[task] = order.program_id
        task.add_done_callback(self._exchange_ended)

    def _running(self) -> Count[int]:
        """The number of running exchanges, by program id."""
        return Count(self._exchanges.values())

    async def _return(self, orders: Sequence[Order]) -> None:
        """End the leases of orders that are not sent. Raises nothing: a lease that is left ends by itself."""
        if not orders:
            return
        with contextlib.suppress(*UNAVAILABLE_ERRORS, *CONTENTION_ERRORS):
            async with self._pool.acquire() as connection:
                await order_leases.return_orders(connection, orders)

    async def _pause(self) -> None:
        """Wait for a free slot, a new order, the poll interval, or the stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_INTERVAL_S * random.uniform(0.5, 1.5)):  # noqa: S311  spreads load
                await self._wake.wait()

    def _free_slots(self) -> int:
        """How many more exchanges may run."""
        running = len(self._exchanges)
        of_answers = _ANSWERS_MAX_TIMES * self._limits.concurrency - running - len(self._storing)
        return min(self._limits.concurrency - running, of_answers)

    def _exchange_ended(self, task: asyncio.Task[None]) -> None:
        held_up = task in self._exchanges or self._free_slots() <= 0
        self._exchanges.pop(task, None)
        self._storing.discard(task)
        if held_up:
            self._fill_slots()
            self._wake.set()

    async def _exchange(self, order: Order) -> None:
        """Send one order and store its answer, or record the failure. Raises nothing."""
        try:
            reach(Failpoint.ORDERED)
            try:
                codes = await self._request_codes(order)
                reach(Failpoint.ANSWERED)
                stored = await self._receiver.store(order, codes)
                REQUESTS.labels("done" if stored is not None else "not_needed").inc()
            except RemoteFailed as error:
                if await self._record_failure(order, error):
                    # The order was given up, so the pool needs a new one.
                    await self._fill(order.program_id)
        except (*UNAVAILABLE_ERRORS, *CONTENTION_ERRORS) as error:
            # The order is retried, under the same idempotency key, after its lease expires.
            self._health.set_waiting(_POSTGRES, outage_reason(error))
        except StackUnavailable as error:
            log.warning("program_unusable", program=order.program, why=str(error))
        except Exception:
            log.exception("request_not_settled", program=order.program, request_id=str(order.id))

    async def _free_slot(self) -> None:
        if task := asyncio.current_task():
            self._exchanges.pop(task, None)
            self._storing.add(task)
            self._fill_slots()
            self._wake.set()
            # The next request goes out before this answer is checked.
            await asyncio.sleep(0)

    async def _request_codes(self, order: Order) -> Sequence[RemoteCode]:
        """Request the codes from the service. Raises RemoteFailed."""
        keys = await self._signing_keys(order.program_id)
        request = RemoteRequest(
            version=1, request_id=order.id, program=order.program, count=order.asked, fields=order.fields
        )
        began = time.perf_counter()
        with SECONDS.time():
            codes = await self._client.order(order.url, request, keys, order.taken_s, self._free_slot)
        self._prefetched.answered(order.program_id, time.perf_counter() - began)
        return codes

    async def _signing_keys(self, program_id: int) -> list[bytes]:
        """The signing secrets in force, cached: a rotated secret stays in force far longer than SIGNING_KEYS_TTL_S."""
        read_at, keys = self._signing_key_cache.get(program_id, (0.0, []))
        if not keys or time.monotonic() - read_at >= SIGNING_KEYS_TTL_S:
            read_at = time.monotonic()
            async with self._pool.acquire() as connection:
                secrets = await signing_secrets.active_secrets(connection, self._minters, program_id)
            keys = [secret.key for secret in secrets]
            self._signing_key_cache[program_id] = read_at, keys
        return keys

    async def _record_failure(self, order: Order, error: RemoteFailed) -> bool:
        unsent = self._prefetched.drop(order.program_id)
        async with self._pool.acquire() as connection:
            given_up = await order_leases.record_failure(connection, order, error, self._limits.give_up_s)
        await self._return(unsent)
        REQUESTS.labels("refused" if error.answered else "failed").inc()
        log.warning("remote_failed", program=order.program, request_id=str(order.id), attempt=order.attempt,
                    why=str(error), given_up=given_up)  # fmt: skip
        if given_up:
            REQUESTS.labels("given_up").inc()
        return given_up
