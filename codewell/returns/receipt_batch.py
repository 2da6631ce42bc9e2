"""The codes of a batch of receipts while it is settled."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.infra.postgres.connection import Connection
from codewell.returns import moves, queries
from codewell.returns.attempts import EarlierAttempts, Given, MayBeGivenAgain, Place
from codewell.returns.moves import Moved
from codewell.returns.rules import AS_GIVEN, NOTHING_BEFORE, Before, CodeNow, ProgramReturns
from schemas.reports import ReceiptKind, ReturnOutcome, ReturnReason

_STRONGEST_LAST: Final[tuple[ReceiptKind, ...]] = ("delivered", "opened", "clicked")


class Earlier(NamedTuple):
    """A receipt about one code, as it was decided."""

    kind: ReceiptKind
    program_id: int | None
    outcome: ReturnOutcome
    reason: ReturnReason
    due_at: datetime | None
    decided_at: datetime
    ended: ReturnOutcome | None = None
    """How its quarantine ended."""


class ReceiptBatch:
    """The codes of a batch of receipts while it is settled."""

    def __init__(self, rows: Iterable[asyncpg.Record], receipts: Iterable[asyncpg.Record]) -> None:
        self.answers: dict[UUID, list[asyncpg.Record]] = {}
        for row in rows:
            self.answers.setdefault(row["request_id"], []).append(row)
        self._receipts: dict[UUID, dict[int, list[Earlier]]] = {}
        for request_id, ordinal, *facts in receipts:
            self._receipts.setdefault(request_id, {}).setdefault(ordinal, []).append(Earlier(*facts))
        self.programs: dict[int, ProgramReturns] = {}
        self._reusing: set[int] = set()
        self.now: datetime | None = None
        self.states: dict[Place, asyncpg.Record] = {}
        self.assigned: dict[Place, asyncpg.Record] = {}
        self.returning: list[asyncpg.Record] = []
        self.stored: list[tuple[UUID, tuple[Any, ...]]] = []
        self.ended: list[tuple[UUID, int, str, str]] = []
        self.counted: Counter[tuple[int, datetime]] = Counter()
        self.conflicts: list[asyncpg.Record] = []
        self.voids: list[Place] = []

    async def read_programs(self, connection: Connection) -> None:
        """Read the programs of all answers, and the time."""
        ids = {row["program_id"] for some in self.answers.values() for row in some} - {None}
        for program_id, row in (await queries.programs(connection, ids) if ids else {}).items():
            self.now = row["now"]
            if row["reuses"]:
                self._reusing.add(program_id)
            self.programs[program_id] = ProgramReturns(
                row["name"], row["returns"], row["return_after"] or timedelta(), row["shared"], row["stopped"]
            )

    async def look(self, connection: Connection, rows: Iterable[asyncpg.Record]) -> None:
        """Lock and read what decides about these codes."""
        codes = [given(row) for row in rows if row["block_id"] is not None]
        if codes:
            self.states = await queries.states(connection, [code[2:] for code in codes])
            self.assigned = await queries.assigned(connection, codes)

    def code(self, row: asyncpg.Record, now: datetime) -> CodeNow:
        """The code of an answer as it is now."""
        place = (row["block_id"], row["position"])
        state, found = self.states.get(place), self.assigned.get(place)
        until = self._until(row, state)
        expired = until is not None and until <= now
        everybodys = found is not None and found["everybodys"]
        assigned = everybodys or (found is not None and found["given_again"])
        if state is None and not (assigned or expired or row["again"] or row["preview"]):
            return AS_GIVEN
        return CodeNow(
            preview=row["preview"],
            again=row["again"],
            everybodys=everybodys,
            used=state is not None and state["used_or_held"],
            held=state is not None and state["held"],
            deleted=state is not None and state["deleted"],
            moved=state is not None and state["moved"],
            expired=expired,
            assigned=assigned,
        )

    def check_let_go(self, attempt: EarlierAttempts, rows: Iterable[asyncpg.Record]) -> None:
        """Raise MayBeGivenAgain unless no request can get these answers' codes again, which leave their profiles."""
        found: list[Given] = []
        for row in rows:
            place = (row["block_id"], row["position"])
            state = self.assigned.get(place)
            is_assigned = state is not None and state["reusable"]
            if is_assigned or (row["program_id"] in self._reusing and place not in attempt.awaited):
                found.append(given(row))
        if found:
            raise MayBeGivenAgain(found)

    def earlier(self, request_id: UUID, ordinal: int) -> Sequence[Earlier]:
        """The receipts about this code so far, those of this batch too."""
        of_request = self._receipts.get(request_id)
        return () if of_request is None else of_request.get(ordinal, ())

    def is_new(self, request_id: UUID) -> bool:
        """Whether there is no receipt about the request so far."""
        return request_id not in self._receipts

    def store(self, request_id: UUID, ordinal: int, receipt: Earlier) -> None:
        """Note a receipt that is decided now, for the batch's statement and for later receipts of the batch."""
        earlier = self._receipts.setdefault(request_id, {}).setdefault(ordinal, [])
        self.stored.append((request_id, (ordinal, len(earlier), *receipt[:6])))
        earlier.append(receipt)

    def before(self, request_id: UUID, ordinal: int) -> Before:
        """What the receipts about this code led to so far."""
        if request_id not in self._receipts:
            return NOTHING_BEFORE
        outcome: ReturnOutcome | None = None
        due_at, seen = None, -1
        for one in self.earlier(request_id, ordinal):
            if one.kind in _STRONGEST_LAST:
                seen = max(seen, _STRONGEST_LAST.index(one.kind))
                continue
            if one.reason != "before":
                outcome, due_at = one.ended or one.outcome, one.due_at
        return Before(outcome, due_at, None if seen < 0 else _STRONGEST_LAST[seen])

    def pool_terms(self, row: asyncpg.Record, block: asyncpg.Record) -> tuple[datetime | None, str | None]:
        """The expiry and the fields that the code has in the pool: those of its block, unless they were changed."""
        state = self.states.get((row["block_id"], row["position"]))
        if state is not None and state["changed"]:
            return state["expires_at"], state["fields"]
        return block["expires_at"], row["fields"]

    def _until(self, row: asyncpg.Record, state: asyncpg.Record | None) -> datetime | None:
        until: datetime | None = row["expires_at"] if state is None or not state["changed"] else state["expires_at"]
        return until


def given(row: asyncpg.Record) -> Given:
    """The code of an answer."""
    return row["program_id"], row["profile_id"], row["block_id"], row["position"]


async def move_back(connection: Connection, batch: ReceiptBatch) -> None:
    """Move the codes that return into few blocks: one for each program, expiry and fields."""
    blocks = await queries.blocks(connection, {row["block_id"] for row in batch.returning})
    groups: dict[tuple[int, datetime | None, str | None], list[asyncpg.Record]] = {}
    for row in batch.returning:
        groups.setdefault((row["program_id"], *batch.pool_terms(row, blocks[row["block_id"]])), []).append(row)
    moved = []
    for (program_id, expires_at, fields), rows in groups.items():
        made_at = min(blocks[block_id]["created_at"] for block_id in {row["block_id"] for row in rows})
        block_id = await moves.new_block(connection, program_id, len(rows), expires_at, fields, made_at)
        moved += [
            Moved(row["block_id"], row["position"], block_id, place, program_id, row["code"])
            for place, row in enumerate(rows)
        ]
    await moves.move(connection, sorted(moved), batch.states.keys(), batch.voids)


async def log_outcomes(
    connection: Connection, actor: Actor | None, batch: ReceiptBatch, outcomes: Counter[tuple[int, ReturnOutcome]]
) -> None:
    """Log how many codes of each program were decided now, by outcome, if somebody is to have entries for it."""
    if actor is None:
        return
    for program_id in sorted({program_id for program_id, _ in outcomes}):
        counts = {outcome: number for (of, outcome), number in outcomes.items() if of == program_id}
        await audit_log.record(connection, actor, "receipt.settle", batch.programs[program_id].name, **counts)
