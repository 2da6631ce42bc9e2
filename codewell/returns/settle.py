"""Settles receipts: what senders report about their messages decides whether codes come back. A batch a transaction."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from codewell.alerts.alerts import raise_alert
from codewell.audit.audit_log import Actor
from codewell.infra.postgres.connection import Connection
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.profiles.deciding_lock import hold_deciding_lock
from codewell.returns import moves, queries
from codewell.returns.attempts import EarlierAttempts, keep_others, until_settled
from codewell.returns.conflicts import report_conflicts
from codewell.returns.queries import Raced
from codewell.returns.receipt_batch import Earlier, ReceiptBatch, log_outcomes, move_back
from codewell.returns.rules import FAILED, FORGOTTEN, Before, Verdict, end_quarantine, judge
from schemas.reports import ReceiptKind, ReturnOutcome, ReturnReason

# Below it a program's returns are never stopped: few codes are no sign of a fault.
RETURNS_FREE: Final = 100
SHARE_MAX_DEFAULT: Final = 0.2
# Of codes that come back, or wait for it.
_COUNTED: Final = frozenset[ReturnReason](("before_handoff", "after_handoff", "returns_stopped"))


class Receipt(NamedTuple):
    """A sender's report about the message of a request."""

    request_id: UUID
    profile_id: str
    kind: ReceiptKind


class SettledCode(NamedTuple):
    """What became of one code of the request. `due_at`: when its quarantine is over."""

    program: str
    code: str
    outcome: ReturnOutcome
    reason: ReturnReason
    due_at: datetime | None


class Settled(NamedTuple):
    """What became of the codes of a receipt. A copy of the receipt gives the same.

    `reason` is set where the request has no code that it could be about. `decided_at` None: nothing was stored.
    """

    codes: list[SettledCode]
    reason: ReturnReason | None = None
    decided_at: datetime | None = None


class Settlement(NamedTuple):
    """Outcome of a batch."""

    settled: dict[Receipt, Settled]
    unknown: list[Receipt]
    """Their requests have no answer yet, or one that is none of the caller's."""
    outcomes: Counter[tuple[int, ReturnOutcome]]
    """How many codes were decided now, by program and outcome."""


class Returns:
    """Settles receipts and ends quarantines.

    `share_max`: when more than this share of the codes that a program attached in the last hour comes back, its returns
    stop until somebody clears the alert. `actor`: who has entries in the audit log for it; None: no one, as machines.
    """

    def __init__(self, share_max: float = SHARE_MAX_DEFAULT, actor: Actor | None = None) -> None:
        self._share_max = share_max
        self._actor = actor

    async def settle(
        self, connection: Connection, receipts: Iterable[Receipt], given_up: frozenset[UUID] = frozenset(),
        groups: Sequence[str] = (),
    ) -> Settlement:  # fmt: skip
        """Settle a batch in one transaction. Raises what asyncpg raises.

        `given_up` are requests that have waited long enough for their answer. With access groups, requests that gave
        codes of a program outside of them are unknown.
        """
        batch = list(dict.fromkeys(receipts))
        try:
            settled = await until_settled(
                connection, lambda attempt: self._settle(connection, batch, given_up, groups, attempt)
            )
        except Raced as error:
            raise asyncpg.SerializationError("codes of this batch change all the time") from error
        reach(Failpoint.COMMITTED)
        return settled

    async def end_quarantines(self, connection: Connection, limit: int) -> list[tuple[int, ReturnOutcome]]:
        """End up to `limit` quarantines that are over; the program and outcome of each. Raises what asyncpg raises."""
        try:
            return await until_settled(connection, lambda attempt: self._end_quarantines(connection, limit, attempt))
        except Raced:
            return []

    async def _settle(
        self, connection: Connection, receipts: list[Receipt], given_up: frozenset[UUID], groups: Sequence[str],
        attempt: EarlierAttempts,
    ) -> Settlement:  # fmt: skip
        await hold_deciding_lock(connection)
        ids = list({receipt.request_id for receipt in receipts})
        earlier = await queries.receipts(connection, ids)
        batch = ReceiptBatch(await queries.requests(connection, ids), earlier)
        await batch.read_programs(connection)
        # Looked for last, as each of these requests may have been answered just now.
        hidden = await queries.hidden(connection, ids, groups) if groups else frozenset()
        result = Settlement({}, [one for one in receipts if one.request_id in hidden], Counter())
        receipts = [one for one in receipts if one.request_id not in hidden]
        failed = {receipt.request_id for receipt in receipts if receipt.kind in FAILED}
        await batch.look(connection, (row for id_ in failed for row in batch.answers.get(id_, ())))
        for receipt in receipts:
            rows = batch.answers.get(receipt.request_id)
            known = self._known(batch, receipt)
            if known is not None:
                result.settled[receipt] = known
            elif rows is not None:
                result.settled[receipt] = self._decide(batch, receipt, rows, result)
            elif receipt.request_id in given_up:
                result.settled[receipt] = await self._give_up(connection, batch, receipt)
            else:
                result.unknown.append(receipt)
        batch.check_let_go(attempt, batch.returning)
        await keep_others(connection, attempt.let_go, batch.returning)
        await self._write(connection, batch)
        await log_outcomes(connection, self._actor, batch, result.outcomes)
        reach(Failpoint.CLAIMED)
        return result

    def _known(self, batch: ReceiptBatch, receipt: Receipt) -> Settled | None:
        """What was decided about the same receipt before; None if it is new."""
        if batch.is_new(receipt.request_id):
            return None
        rows = batch.answers.get(receipt.request_id, ())
        if _is_of_another(rows, receipt):
            return None
        codes: list[SettledCode] = []
        decided_at: datetime | None = None
        for ordinal in range(max(1, len(rows))):
            for one in batch.earlier(receipt.request_id, ordinal):
                if one.kind != receipt.kind:
                    continue
                decided_at = one.decided_at
                if one.program_id is None:
                    return Settled([], "unknown_request", decided_at)
                answer = rows[ordinal]
                name = batch.programs[answer["program_id"]].name
                codes.append(SettledCode(name, answer["code"], one.outcome, one.reason, one.due_at))
        return None if decided_at is None else Settled(codes, None, decided_at)

    def _decide(
        self, batch: ReceiptBatch, receipt: Receipt, rows: Sequence[asyncpg.Record], result: Settlement
    ) -> Settled:
        if _is_of_another(rows, receipt):
            return Settled([], "other_profile")
        now = batch.now
        if now is None or rows[0]["refused"]:
            return Settled([], "request_refused")
        codes = []
        for row in rows:
            before = batch.before(receipt.request_id, row["ordinal"])
            program_id = row["program_id"]
            program = batch.programs[program_id]
            verdict = judge(receipt.kind, batch.code(row, now), before, program, now)
            codes.append(SettledCode(program.name, row["code"], verdict.outcome, verdict.reason, verdict.due_at))
            if row["preview"]:
                continue
            self._note(batch, receipt, row, before, verdict, now)
            result.outcomes[program_id, verdict.outcome] += 1
        return Settled(codes, None, None if rows[0]["preview"] else now)

    def _note(
        self, batch: ReceiptBatch, receipt: Receipt, row: asyncpg.Record, before: Before, verdict: Verdict,
        now: datetime,
    ) -> None:  # fmt: skip
        """Note what a verdict changes, for the batch's statements and for later receipts of the batch."""
        request_id, ordinal, program_id = receipt.request_id, row["ordinal"], row["program_id"]
        outcome, reason, due_at, moves_now = verdict
        batch.store(request_id, ordinal, Earlier(receipt.kind, program_id, outcome, reason, due_at, now))
        if moves_now:
            batch.returning.append(row)
        if reason in _COUNTED:
            batch.counted[program_id, row["answered_at"]] += 1
        if receipt.kind in FAILED:
            return
        if before.outcome == "quarantined":
            batch.ended.append((request_id, ordinal, "kept", reason))
        elif before.outcome == "returned":
            batch.conflicts.append(row)

    async def _give_up(self, connection: Connection, batch: ReceiptBatch, receipt: Receipt) -> Settled:
        now: datetime = await connection.fetchval("SELECT statement_timestamp()")
        batch.store(receipt.request_id, 0, Earlier(receipt.kind, None, "kept", "unknown_request", None, now))
        return Settled([], "unknown_request", now)

    async def _write(self, connection: Connection, batch: ReceiptBatch) -> None:
        if batch.conflicts:
            await report_conflicts(connection, batch, come_back_now=False)
        if batch.returning:
            await move_back(connection, batch)
        if batch.conflicts:
            await report_conflicts(connection, batch, come_back_now=True)
        if batch.voids:
            await moves.void_pooled(connection, batch.voids)
        if batch.stored:
            await queries.store(connection, batch.stored)
        if batch.ended:
            # After the receipts are stored: another one of the batch may have begun the quarantine.
            await queries.end(connection, batch.ended)
        if batch.counted:
            await self._count(connection, batch)

    async def _count(self, connection: Connection, batch: ReceiptBatch) -> None:
        """Count what comes back, last of all as other workers wait for these rows, and stop a program's returns."""
        await queries.count_returns(connection, batch.counted)
        programs = {program_id for program_id, _ in batch.counted if not batch.programs[program_id].stopped}
        for program_id, (returned, attached) in (await queries.shares(connection, programs)).items():
            if returned > max(RETURNS_FREE, self._share_max * attached):
                details = {"returned": returned, "attached": attached, "share_max": self._share_max}
                await raise_alert(connection, program_id, "returns-stopped", details=details)

    async def _end_quarantines(
        self, connection: Connection, limit: int, attempt: EarlierAttempts
    ) -> list[tuple[int, ReturnOutcome]]:
        await hold_deciding_lock(connection)
        due = list(set(await queries.due(connection, limit)))
        if not due:
            # Another worker has ended them, or is about to: it does not know which assignments they had.
            await keep_others(connection, attempt.let_go, ())
            return []
        batch = ReceiptBatch(await queries.requests(connection, due), await queries.receipts(connection, due))
        await batch.read_programs(connection)
        now = batch.now
        if now is None:
            return []
        rows = [
            row for some in batch.answers.values() for row in some
            if _is_over(batch.earlier(row["request_id"], row["ordinal"]), now)
        ]  # fmt: skip
        await batch.look(connection, rows)
        deleted, outcomes = [], []
        for row in rows:
            program = batch.programs[row["program_id"]]
            if program.stopped:
                continue
            verdict = end_quarantine(batch.code(row, now), program)
            batch.ended.append((row["request_id"], row["ordinal"], verdict.outcome, verdict.reason))
            outcomes.append((row["program_id"], verdict.outcome))
            if verdict.moves:
                batch.returning.append(row)
            elif verdict.outcome == "voided":
                deleted.append(row)
        leaving = [*batch.returning, *deleted]
        batch.check_let_go(attempt, leaving)
        await keep_others(connection, attempt.let_go, leaving)
        if deleted:
            await moves.delete(connection, [(row["block_id"], row["position"]) for row in deleted])
        await self._write(connection, batch)
        return outcomes


def _is_of_another(rows: Iterable[asyncpg.Record], receipt: Receipt) -> bool:
    for row in rows:
        profile_id: str = row["profile_id"]
        if profile_id != receipt.profile_id and not profile_id.startswith(FORGOTTEN):
            return True
    return False


def _is_over(receipts: Iterable[Earlier], now: datetime) -> bool:
    return any(
        one.outcome == "quarantined" and one.ended is None and one.due_at is not None and one.due_at <= now
        and one.reason != "before"
        for one in receipts
    )  # fmt: skip
