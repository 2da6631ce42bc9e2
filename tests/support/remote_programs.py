"""Remote programs in the database, and a generator's steps with their orders."""

from collections.abc import Mapping, Sequence
from typing import Any

from codewell.errors import RemoteFailed
from codewell.infra.postgres.connection import Connection
from codewell.pool import orders
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from codewell.remote import deliveries, order_leases
from codewell.remote.order_leases import Order
from schemas.program import Program
from schemas.remote import RemoteCode
from tests.support import factories

LEASE_S = 60.0
DAY_S = 86_400.0
URL = "https://codes.example/orders"
FAILED = RemoteFailed("The service answered 500 instead of 200.")
REFUSED = RemoteFailed("version: give a value, it is required.", answered=True)


async def remote(
    connection: Connection, minters: Minters, name: str = "SPRING", request_max: int = 10, **changed: Any
) -> Program:
    source = {"kind": "remote", "url": URL, "request_max": request_max}
    return await factories.program(connection, minters, name, source=source, **{"pool_max": 25, **changed})


async def take(connection: Connection, lease_s: float, in_hand: Mapping[int, int], of_program_max: int) -> Order | None:
    """Lease one due order, if there is one."""
    found = await order_leases.lease_orders(connection, lease_s, in_hand, of_program_max, 1)
    assert len(found) <= 1
    return found[0] if found else None


async def taken(connection: Connection, lease_s: float = LEASE_S) -> Order:
    order = await take(connection, lease_s, {}, 100)
    assert order is not None
    return order


async def store(connection: Connection, order: Order, given: Sequence[RemoteCode]) -> int | None:
    """Store one answer in a transaction of its own."""
    [outcome] = (
        await deliveries.store(connection, order.program_id, [deliveries.ServiceAnswer(order, given)])
    ).outcomes
    if isinstance(outcome, RemoteFailed):
        raise outcome
    return outcome


def codes(count: int, start: int = 0, **given: Any) -> list[RemoteCode]:
    return [RemoteCode(code=f"C{start + number}", **given) for number in range(count)]


async def stock(connection: Connection, name: str = "SPRING") -> tuple[int, int, int]:
    found = await overview.stock(connection, name)
    return found.made, found.pooled, found.on_order


async def asked(connection: Connection) -> list[int]:
    rows = await connection.fetch("SELECT count FROM remote_request WHERE state = 'open' ORDER BY count DESC")
    return [row["count"] for row in rows]


async def no_more_pauses(connection: Connection) -> None:
    """Make all delayed orders due."""
    await connection.execute("UPDATE remote_request SET next_attempt_at = now()")
    await connection.execute("UPDATE remote_service SET rest_until = now() WHERE rest_until IS NOT NULL")


async def circuit(connection: Connection) -> str:
    return (await orders.service_of(connection, "SPRING")).circuit
