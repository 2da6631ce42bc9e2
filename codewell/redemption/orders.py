"""Applies what the shop says about orders: paid ones use the codes that they hold, others give them back.

A batch is a transaction. It locks the orders, then the codes of all programs as tills lock them, and raises alerts at
last. What an order is follows from all its events, so repeated events and events out of order end the same.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import asyncpg

from codewell.alerts.alerts import clear_keys, raise_alert
from codewell.codes.lookup import COLUMNS, LocatedCode
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Connection
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.pool.minter_cache import Minters
from codewell.profiles.deciding_lock import deciding
from codewell.redemption import queries, till
from codewell.redemption.batch import Applied, Located
from codewell.redemption.model import Step, TillRequest
from schemas.reports import OrderState

Outcome = Literal["used", "ended", "refused"]

# Codes that an order holds or used, or did before. `wanted`: other than by a call that gave it back.
_CODES: Final = f"""
    SELECT u.order_id, u.program_id, u.position, u.wanted, p.refund, a.text, {COLUMNS}
    FROM (
        SELECT order_id, program_id, block_id, position, bool_or(ended_by IS DISTINCT FROM 'call') AS wanted
        FROM code_use WHERE order_id = ANY($1::text[]) GROUP BY order_id, program_id, block_id, position
    ) u
    JOIN block b ON b.id = u.block_id JOIN program p ON p.id = u.program_id
    JOIN (SELECT block_id, position, code AS text FROM answer WHERE NOT again AND block_id IS NOT NULL) a
         ON a.block_id = u.block_id AND a.position = u.position
    ORDER BY u.order_id, u.block_id, u.position
    """  # noqa: S608  a constant

# Orders are locked by their ids in order, so that two batches can't deadlock.
_NOTE: Final = """
    INSERT INTO shop_order AS o (order_id, paid_at, cancelled_at, refunded_at)
    SELECT w.order_id, max(coalesce(w.at, '-infinity')) FILTER (WHERE w.state = 'paid'),
           max(coalesce(w.at, 'infinity')) FILTER (WHERE w.state = 'cancelled'),
           max(coalesce(w.at, 'infinity')) FILTER (WHERE w.state = 'refunded')
    FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS w (order_id, state, at)
    GROUP BY w.order_id ORDER BY w.order_id
    ON CONFLICT (order_id) DO UPDATE SET
        paid_at = greatest(o.paid_at, excluded.paid_at),
        cancelled_at = greatest(o.cancelled_at, excluded.cancelled_at),
        refunded_at = greatest(o.refunded_at, excluded.refunded_at), changed_at = now()
    RETURNING order_id, refusals, paid_at IS NOT NULL AS was_paid,
              coalesce(paid_at > greatest(cancelled_at, refunded_at), paid_at IS NOT NULL) AS is_paid
    """

_REFUSE: Final = """
    UPDATE shop_order o SET refusals = w.refusals::jsonb
    FROM unnest($1::text[], $2::text[]) AS w (order_id, refusals)
    WHERE o.order_id = w.order_id AND o.refusals <> w.refusals::jsonb
    """


class OrderEvent(NamedTuple):
    """What the shop says about an order. `at` None: it says not when."""

    order_id: str
    state: OrderState
    at: datetime | None


class OrderOutcome(NamedTuple):
    """What an event changed for a code of an order."""

    program_id: int
    outcome: Outcome


async def settle(connection: Connection, minters: Minters, events: Sequence[OrderEvent]) -> list[OrderOutcome]:
    """Apply a batch of events in one transaction; returns what changed. Raises what asyncpg raises.

    Orders that have neither held nor used a code are left alone.
    """
    async with deciding(connection):
        outcomes = await _settle(connection, minters, events)
        reach(Failpoint.CLAIMED)
    reach(Failpoint.COMMITTED)
    return outcomes


async def _settle(connection: Connection, minters: Minters, events: Sequence[OrderEvent]) -> list[OrderOutcome]:
    codes = await connection.fetch(_CODES, list({one.order_id for one in events}))
    known = {row["order_id"] for row in codes}
    told = [one for one in events if one.order_id in known]
    if not told:
        return []
    batch = _Batch(await connection.fetch(_NOTE, *map(list, zip(*told, strict=True))))
    # Codes that orders give back come first: another order of this batch may have paid for one of them.
    requests = sorted(((row, batch.request(row)) for row in codes), key=_uses)
    await queries.lock(connection, (located.place for _, located in requests))
    for program_id in sorted({row["program_id"] for row in codes}):
        own = [one for one in requests if one[0]["program_id"] == program_id]
        ended = await till.apply_located(ProgramCodes(connection, minters, program_id), [located for _, located in own])
        for (row, located), outcome in zip(own, ended, strict=True):
            batch.add(row, located, outcome)
    await connection.execute(_REFUSE, list(batch.refusals), [json.dumps(one) for one in batch.refusals.values()])
    for program_id, order_id, reason, place in sorted(batch.alerts):
        await raise_alert(connection, program_id, "order-unpaid-code", order_id, {"reason": reason, "place": place})
    await clear_keys(connection, "order-unpaid-code", batch.settled())
    return batch.outcomes


class _Batch:
    """The orders of a batch while it is settled."""

    def __init__(self, orders: Iterable[asyncpg.Record]) -> None:
        self.refusals: dict[str, list[dict[str, Any]]] = {}
        self.outcomes: list[OrderOutcome] = []
        self.alerts: list[tuple[int, str, str, str]] = []
        self._steps: dict[str, Step] = {}
        self._refused_before: set[tuple[str, int, str]] = set()
        for row in orders:
            order_id: str = row["order_id"]
            self._steps[order_id] = "pay" if row["is_paid"] else "undo_paid" if row["was_paid"] else "undo"
            self.refusals[order_id] = []
            for refusal in json.loads(row["refusals"]):
                self._refused_before.add((order_id, refusal["program_id"], refusal["code"]))

    def settled(self) -> set[tuple[int, str]]:
        """The (program id, order) that lacked a code before, and lack none now: paid for it, or no longer paid."""
        before = {(program_id, order_id) for order_id, program_id, _ in self._refused_before}
        return before - {
            (one["program_id"], order_id) for order_id, refusals in self.refusals.items() for one in refusals
        }

    def request(self, row: asyncpg.Record) -> Located:
        """The step for a code of an order."""
        step = self._steps[row["order_id"]]
        return Located.of(TillRequest(step, row["text"], order_id=row["order_id"]), LocatedCode(row, row["position"]))

    def add(self, row: asyncpg.Record, located: Located, outcome: Applied | CodewellError | None) -> None:
        """Note how the step ended. A code that has moved is no longer the customer's."""
        uses = _uses((row, located))
        if isinstance(outcome, Applied):
            if outcome.is_new:
                self.outcomes.append(OrderOutcome(row["program_id"], "used" if uses else "ended"))
        elif not uses:
            # The code went back after the hold had passed: there is nothing to end.
            return
        elif outcome is not None:
            self._refuse(row, located, outcome.reason, str(outcome))
        elif row["wanted"]:
            sentence = f"{row['text']} went back after the hold had passed: the customer no longer has it."
            self._refuse(row, located, "code_not_attached", sentence)

    def _refuse(self, row: asyncpg.Record, located: Located, reason: str, detail: str) -> None:
        order_id, program_id, text = row["order_id"], row["program_id"], row["text"]
        self.refusals[order_id].append({"program_id": program_id, "code": text, "reason": reason, "detail": detail})
        if located.request.step == "pay" and (order_id, program_id, text) not in self._refused_before:
            self.alerts.append((program_id, order_id, reason, str(located.at.place)))
            self.outcomes.append(OrderOutcome(program_id, "refused"))


def _uses(asked: tuple[asyncpg.Record, Located]) -> bool:
    """Whether this step uses the code, rather than gives it back."""
    row, located = asked
    step = located.request.step
    return step == "pay" or (step == "undo_paid" and row["refund"] == "keep_used")
