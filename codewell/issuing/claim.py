"""A claim: one transaction takes the codes of a whole batch of requests and stores its answers.

The lock order prevents deadlocks. A claim locks block rows with SKIP LOCKED, or waits for one block while it holds no
other lock. It writes requests in the order of their ids. A program's row is locked only in a separate transaction.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import chain
from operator import attrgetter
from typing import Final, NamedTuple

import asyncpg

from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.postgres.constraints import violates
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.issuing import claim_queries, reserved_claim, reserved_queries
from codewell.issuing.claim_result import ClaimResult
from codewell.issuing.decide import decide
from codewell.issuing.decision import Decision
from codewell.issuing.known_rules import KnownRules
from codewell.issuing.look_ups import LookUps
from codewell.issuing.model import LockedPrograms, Request
from codewell.issuing.small_claim import SmallClaims
from codewell.issuing.waits import Wait
from codewell.minting.minter import Minter
from codewell.pool.demand import low_pool
from codewell.pool.fill import make_for_request
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import ProgramRules, Source
from codewell.profiles.deciding_lock import deciding
from codewell.usage.tally import UsageTally

# How long a claim waits for a program's locked blocks or row (ms). The first timeout on blocks ends the batch's claims.
BUSY_TIMEOUT_MS: Final = 1_000
# Each round decides requests, makes codes, or loses a race to another worker. More rounds than this mean that a
# program's counters are wrong; its requests then wait for a repair.
ROUNDS_MAX: Final = 100
_ID: Final = attrgetter("id.bytes")
_NAMES: Final = attrgetter("names")
_IS_PREVIEW: Final = attrgetter("event.preview")
# How long a manual request waits for the generator when the pool is empty and may be filled.
MANUAL_WAIT: Final = timedelta(seconds=2)


class _Wait(NamedTuple):
    """Whose blocks the next round waits for: a program's pool, or a reservation."""

    program_id: int | None
    reservation_id: int | None


class Claims:
    """Decides batches of requests against one database.

    `remote_wait_s`: how long a request without a deadline waits for a remote service (s). `usage` gets what was given,
    once it is committed.
    """

    def __init__(
        self, pool: Pool, minters: Minters, remote_wait_s: float = 30.0, usage: UsageTally | None = None
    ) -> None:
        self._pool = pool
        self._minters = minters
        self._usage = usage
        self._remote_wait = timedelta(seconds=remote_wait_s)
        self.names: dict[int, str] = {}
        """Short name by program id; a name never changes."""
        # The programs of the last batch that had reservations: a guess about the next one.
        self._reserved: set[str] = set()
        self._known = KnownRules()
        self._small = SmallClaims(pool, minters)
        self._look_ups = LookUps()
        # True while requests arrive that have an answer already, as in a replay. Looking first then saves claims.
        self._replaying = False

    async def attach(self, requests: Iterable[Request]) -> ClaimResult:
        """Decide each request exactly once. Raises what asyncpg raises; decisions of earlier rounds stay stored."""
        claimed = ClaimResult({}, {}, [], {}, {})
        # Of duplicates in one batch the first one decides, as it does across batches.
        backwards = list(requests)[::-1]
        first = dict(zip(map(_ID, backwards), backwards, strict=True))
        pending = [first[id_] for id_ in sorted(first)]
        if self._replaying:
            pending = await self._drop_answered(pending, claimed)
        if pending and not self._replaying and await self._claim_small(pending, claimed):
            return claimed
        wait_for = _Wait(None, None)
        used_up: set[int] = set()
        for _ in range(ROUNDS_MAX):
            if not pending:
                return claimed
            try:
                programs, decision, now = await self._claim(pending, wait_for, used_up, claimed)
            except claim_queries.CONFLICTS as error:
                if isinstance(error, asyncpg.UniqueViolationError) and not violates(error, "answer_once"):
                    raise
                pending = await self._drop_answered(pending, claimed)
                continue
            except asyncpg.LockNotAvailableError:
                # The worker that holds these blocks may have stopped. End here, so that the next batch needn't wait.
                break
            for row in decision.rows:
                claimed.rows.setdefault(row.request_id, []).append(row)
            claimed.add_runs(decision.runs)
            claimed.waiting.extend(self._waiting(pending[index], now) for index in decision.ordered)
            used_up |= await self._make(pending, programs, decision, claimed)
            wait_for = _Wait(next(iter(decision.busy), None), next(iter(decision.busy_reserved), None))
            waits = chain(decision.busy.values(), decision.busy_reserved.values(), decision.unmade.values())
            undecided = [*chain.from_iterable(waits), *decision.redirected]
            pending = [decision.redirected.get(index) or pending[index] for index in sorted(undecided)]
        claimed.waiting.extend(request.as_asked for request in pending)
        return claimed

    async def _claim(
        self, pending: Sequence[Request], wait_for: "_Wait", used_up: set[int], claimed: ClaimResult
    ) -> tuple[dict[int, ProgramRules], Decision, datetime]:
        """Run one round. `used_up`: ids of programs whose templates have no text left, whatever the maximum allows."""
        async with self._pool.acquire() as connection, deciding(connection):
            if wait_for.program_id is not None:
                await claim_queries.wait_for_block(connection, wait_for.program_id, BUSY_TIMEOUT_MS)
            elif wait_for.reservation_id is not None:
                await reserved_queries.wait_for_block(connection, wait_for.reservation_id, BUSY_TIMEOUT_MS)
            wanted = Counter(chain.from_iterable(map(_NAMES, pending)))
            locked, own = await self._lock_enough(connection, pending, wanted)
            session = connection.get_server_pid()
            look_up = await self._look_ups.look(connection, pending, locked.programs)
            held = look_up.held(locked.now)
            stocks = {}
            programs, minters = locked.programs, self._minters
            await minters.load(connection, {
                (programs[name].id, block.version)
                for name, blocks in locked.blocks.items() for block in blocks if block.kind == "range"
            })  # fmt: skip
            for (name, program), blocks in zip(programs.items(), locked.blocks.values(), strict=True):
                id_ = program.id
                self.names[id_] = name
                count = _count(program, wanted[name])
                if held and program.reuses_codes and not program.shared and not program.has_reservations:
                    # Each of these profiles is that of a request which needs no new code, nor its text.
                    count = max(0, count - held[id_])
                stocks[id_] = claim_queries.drawn_known(minters, program, blocks, count) or await claim_queries.draw(
                    connection, minters, program, blocks, count
                )
            previews = await self._preview_minters(connection, pending, locked.programs)
            if used_up:
                programs = {name: one._replace(room=0) if one.id in used_up else one for name, one in programs.items()}
            decision = decide(
                pending,
                programs,
                stocks,
                look_up.assigned,
                locked.now,
                lambda program, request: preview_text(previews.get(program.id), program, request),
                reserved_claim.joined(own, stocks),
                locked.oldest,
                look_up.keys_by_names,
            )
            look_up.check(decision)
            await claim_queries.write(connection, decision, look_up.assigned)
            await reserved_queries.write(connection, decision)
            reach(Failpoint.CLAIMED)
        reach(Failpoint.COMMITTED)
        self._known.remember(session, locked, decision.taken)
        self._small.learn(session, locked, decision)
        self._look_ups.learn(look_up)
        if self._usage is not None:
            self._usage.add(decision.usage)
        for program in locked.programs.values():
            low = low_pool(program, program.pooled - stocks[program.id].taken)
            if low is not None:
                claimed.low[program.id] = low
        return {program.id: program for program in locked.programs.values()}, decision, locked.now

    async def _claim_small(self, pending: Sequence[Request], claimed: ClaimResult) -> bool:
        """Decide all of these requests in one statement; whether that was possible."""
        small = await self._small.claim(pending)
        if small is None:
            return False
        claimed.add_runs(small.runs)
        claimed.low.update(small.low)
        if self._usage is not None:
            self._usage.add(small.usage)
        return True

    def _waiting(self, request: Request, now: datetime) -> Request:
        """The request with its wait for the delivery of codes, which begins now if it has not begun."""
        asked = request.as_asked
        if asked.wait is not None:
            return asked
        longest = MANUAL_WAIT if asked.source is Source.PERSON else self._remote_wait
        return asked._replace(wait=Wait(asked.event.deadline or now + longest, now))

    async def _lock_enough(
        self, connection: Connection, pending: Sequence[Request], wanted: Counter[str]
    ) -> tuple[LockedPrograms, reserved_claim.OwnStocks]:
        """Lock blocks until they hold the wanted number of codes, or no unlocked block is left.

        Subtracts from `wanted` what reservations give.
        """
        # A campaign with a reservation needs no block of the pool, which others may want.
        blocks_max = {name: 0 if name in self._reserved else 1 for name in wanted}
        own: reserved_claim.OwnStocks | None = None
        while True:
            locked = await claim_queries.lock_blocks(connection, blocks_max, self._known)
            if own is None:
                own = await reserved_claim.draw(connection, self._minters, pending, locked.programs)
                wanted.subtract(own.covered)
                self._reserved = {name for name, program in locked.programs.items() if program.has_reservations}
            short = [
                name
                for name, blocks in locked.blocks.items()
                if len(blocks) == blocks_max[name]
                and sum(block.left for block in blocks) < _count(locked.programs[name], wanted[name])
            ]
            if not short:
                return locked, own
            for name in short:
                blocks_max[name] = max(1, blocks_max[name] * 4)

    async def _preview_minters(
        self, connection: Connection, pending: Sequence[Request], programs: dict[str, ProgramRules]
    ) -> dict[int, Minter]:
        if not any(map(_IS_PREVIEW, pending)):
            return {}
        shown = {name for request in pending if request.event.preview for name in request.names}
        return {
            program.id: await self._minters.get(connection, program.id, program.version)
            for name, program in programs.items()
            if name in shown and program.codes_from == "template"
        }

    async def _make(
        self, pending: Sequence[Request], programs: dict[int, ProgramRules], decision: Decision, claimed: ClaimResult
    ) -> set[int]:
        """Make codes for undecided requests whose source may create them. The next round takes the codes.

        Returns the ids of the programs whose templates have no text left.
        """
        used_up = set()
        for (program_id, source), indexes in list(decision.unmade.items()):
            try:
                program = programs[program_id]
                # Programs of one request may have one and the same fallback.
                wanted = _count(program, sum(pending[index].names.count(program.name) for index in indexes))
                async with self._pool.acquire() as connection:
                    if not await make_for_request(
                        connection, self._minters, program_id, source, wanted, BUSY_TIMEOUT_MS
                    ):
                        used_up.add(program_id)
            except asyncpg.LockNotAvailableError:
                claimed.waiting.extend(pending[index].as_asked for index in indexes)
                del decision.unmade[program_id, source]
        return used_up

    async def _drop_answered(self, pending: Sequence[Request], claimed: ClaimResult) -> list[Request]:
        """Read the stored answers of `pending`, and return those that have none."""
        async with self._pool.acquire() as connection:
            rows = await claim_queries.stored_answers(connection, [request.id for request in pending])
            if rows:
                await claim_queries.wait_for_standby(connection)
            ids = chain.from_iterable((row.program_id, row.asked_program_id) for row in rows)
            unnamed = {id_ for id_ in ids if id_ is not None} - self.names.keys()
            if unnamed:
                names = await connection.fetch(
                    "SELECT id, name FROM program WHERE id = ANY($1::bigint[])", list(unnamed)
                )
                self.names.update((row["id"], row["name"]) for row in names)
        for row in rows:
            claimed.rows.setdefault(row.request_id, []).append(row)
        self._replaying = bool(rows)
        return [request for request in pending if request.id not in claimed.rows]


def preview_text(minter: Minter | None, program: ProgramRules, request: Request) -> str:
    """A preview text, of no profile. The codes of a remote service or an import can't be predicted."""
    return "PREVIEW" if minter is None else minter.preview(request.id.bytes, program.codes_max)


def _count(program: ProgramRules, wanted: int) -> int:
    """How many codes `wanted` requests need: at most one if all profiles share a code."""
    return min(1, wanted) if program.shared else wanted
