"""What an order holds and has used, and what the shop said about it."""

from collections.abc import Sequence
from typing import Final

from codewell.errors import OrderUnknown
from codewell.infra.postgres.connection import Connection
from codewell.redemption.uses import facts_of
from schemas.till import OrderCode, OrderRefusal, ShopOrder

_CODES_MAX: Final = 1_000
_SEEN: Final = "($2::text[] = '{}' OR p.groups && $2)"
_CODES: Final = f"""
    SELECT p.name AS program, a.code, u.order_id, u.profile_id, u.context, u.held_until, u.used_at, u.ended_at,
           u.ended_by, statement_timestamp() AS now
    FROM code_use u JOIN program p ON p.id = u.program_id
    JOIN answer a ON a.block_id = u.block_id AND a.position = u.position AND NOT a.again AND a.block_id IS NOT NULL
    WHERE u.order_id = $1 AND {_SEEN} ORDER BY u.id DESC LIMIT {_CODES_MAX}
    """  # noqa: S608  constants
# Times that the shop did not give are infinite.
_ORDER: Final = """
    SELECT CASE WHEN is_paid THEN 'paid' WHEN coalesce(refunded_at >= cancelled_at, refunded_at IS NOT NULL)
                THEN 'refunded' ELSE 'cancelled' END AS state,
           CASE WHEN isfinite(paid_at) THEN paid_at END AS paid_at,
           CASE WHEN isfinite(cancelled_at) THEN cancelled_at END AS cancelled_at,
           CASE WHEN isfinite(refunded_at) THEN refunded_at END AS refunded_at, changed_at
    FROM (SELECT *, coalesce(paid_at > greatest(cancelled_at, refunded_at), paid_at IS NOT NULL) AS is_paid
          FROM shop_order WHERE order_id = $1) o
    """
_REFUSALS: Final = f"""
    SELECT p.name AS program, r ->> 'code' AS code, r ->> 'reason' AS reason, r ->> 'detail' AS detail
    FROM shop_order o CROSS JOIN LATERAL jsonb_array_elements(o.refusals) WITH ORDINALITY AS e (r, n)
    JOIN program p ON p.id = (r ->> 'program_id')::bigint
    WHERE o.order_id = $1 AND {_SEEN} ORDER BY e.n
    """  # noqa: S608  a constant
_UNTOLD: Final = dict.fromkeys(("state", "paid_at", "cancelled_at", "refunded_at", "changed_at"))


async def get(connection: Connection, order_id: str, groups: Sequence[str] = ()) -> ShopOrder:
    """The order with its codes in programs with one of these access groups; empty: of all programs.

    Raises OrderUnknown if there are none.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        codes = await connection.fetch(_CODES, order_id, groups)
        if not codes:
            raise OrderUnknown(order_id)
        told = await connection.fetchrow(_ORDER, order_id)
        refusals = await connection.fetch(_REFUSALS, order_id, groups)
    return ShopOrder(
        order_id=order_id,
        **(_UNTOLD if told is None else dict(told)),
        codes=[OrderCode(program=row["program"], code=row["code"], **facts_of(row)) for row in codes],
        refusals=[OrderRefusal(**row) for row in refusals],
    )
