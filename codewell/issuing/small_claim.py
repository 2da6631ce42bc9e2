"""A claim of a few plain requests in one statement, where nothing has changed since the last claim.

A claim reads the rules and locks blocks, decides, and writes: four round trips. A worker that has just made one knows
what the next one would read, so it can decide first, and let the database write only if it was right (`claim_known` in
0055_small_claims.sql). Otherwise nothing is written, and the usual claim follows.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from codewell.infra.id_times import is_before
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.infra.process.trial import Trial
from codewell.issuing.claim_queries import ROWS_APPENDED_MAX
from codewell.issuing.decision import Decision
from codewell.issuing.model import LockedBlock, LockedPrograms, Request, Run
from codewell.issuing.plain_groups import grouped
from codewell.pool.demand import LowPool, low_pool
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import ProgramRules
from codewell.usage.usage_key import UsageKey

_CLAIM_KNOWN: Final = "SELECT * FROM claim_known($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
# Programs that are remembered; the least recently claimed is forgotten.
_KNOWN_MAX: Final = 1_000


async def warm_up(connection: Connection) -> None:
    """Run the statement for no request, which takes a new connection ten times as long as one that has run it."""
    oldest = await connection.fetchval("SELECT oldest FROM retention")
    await connection.execute(_CLAIM_KNOWN, *([],) * 9, oldest, *([],) * 5)


class _Known(NamedTuple):
    """A program as a claim has left it: its rules, the version of its row, and its block."""

    program: ProgramRules
    row: int
    block: LockedBlock


class _Part(NamedTuple):
    """The requests of one program that get the next codes of its block."""

    known: _Known
    requests: list[Request]
    positions: range
    texts: Sequence[str]


class SmallClaim(NamedTuple):
    """What requests got."""

    runs: list[Run]
    usage: Counter[UsageKey]
    low: dict[int, LowPool]
    """As in ClaimResult."""


class SmallClaims:
    """The small claims of one worker, and what it knows from its claims."""

    def __init__(self, pool: Pool, minters: Minters) -> None:
        self._pool = pool
        self._minters = minters
        self._known: dict[str, _Known] = {}
        self._oldest: UUID | None = None
        # Sessions of claims, by their processes. With the first claim of another one all is forgotten: after a
        # fail-over, one version of a row may stand for two changes.
        self._sessions: frozenset[int] = frozenset()
        # Where other workers take codes of the same program, a block is hardly ever as it was.
        self._trial = Trial()

    def learn(self, session: int, locked: LockedPrograms, decision: Decision) -> None:
        """Remember how a claim of this session left the programs that it locked."""
        is_new = session not in self._sessions
        if is_new or locked.oldest != self._oldest or len(locked.programs) > ROWS_APPENDED_MAX:
            # So many programs are of a backlog. To remember each would cost more than the next small claim saves.
            self._known.clear()
            self._oldest = locked.oldest
            self._sessions |= {session}
        if len(locked.programs) > ROWS_APPENDED_MAX:
            return
        for name, program in locked.programs.items():
            self._known.pop(name, None)
            blocks = locked.blocks[name]
            if program.reuses_codes or program.has_reservations or not program.active or not blocks:
                continue
            next_, given = decision.taken.get(blocks[0].id, (blocks[0].next, 0))
            self._remember(name, _Known(program, locked.rows[name], blocks[0]), next_, given)

    def _remember(self, name: str, known: _Known, next_: int, given: int) -> None:
        block = known.block
        if block.kind == "range" and block.holes == 0 and given < block.left:
            self._known[name] = known._replace(block=block._replace(next=next_, left=block.left - given))
            if len(self._known) > _KNOWN_MAX:
                del self._known[next(iter(self._known))]

    async def claim(self, pending: Sequence[Request]) -> SmallClaim | None:
        """Decide all of these requests, which are in the order of their ids. None if nothing was written.

        Raises what asyncpg raises; it is then unknown whether they were decided, as after the usual claim.
        """
        if not self._trial.is_due():
            return None
        parts = self._parts(pending)
        if parts is None:
            return None
        for part in parts:
            # Until it is known how it went.
            del self._known[part.known.program.name]
        # As they are now: other claims may learn more while this one waits for a connection.
        arguments, sessions = list(_arguments(parts, self._oldest)), self._sessions
        reach(Failpoint.CLAIMED)
        try:
            async with self._pool.acquire() as connection:
                if connection.get_server_pid() not in sessions:
                    return None
                rows = await connection.fetch(_CLAIM_KNOWN, *arguments)
        except (asyncpg.UniqueViolationError, asyncpg.LockNotAvailableError):
            # A request has an answer already, or somebody waits for all that are being decided.
            rows = []
        self._trial.note(worked=bool(rows))
        if not rows:
            return None
        reach(Failpoint.COMMITTED)
        return self._outcome(parts, rows)

    def _parts(self, pending: Sequence[Request]) -> list[_Part] | None:
        """The codes that these requests get if all is as it was; None where the usual claim has to decide."""
        if len(pending) > ROWS_APPENDED_MAX or self._has_too_old(pending):
            return None
        plain, others = grouped(pending)
        if others:
            return None
        places: dict[str, list[int]] = {}
        for (names, _), indexes in plain.items():
            if len(names) > 1:
                return None
            places.setdefault(names[0], []).extend(indexes)
        parts = []
        for name, indexes in places.items():
            known = self._known.get(name)
            if known is None or known.block.left < len(indexes):
                return None
            block = known.block
            positions = range(block.next, block.next + len(indexes))
            texts = self._minters.known_texts(known.program.id, block.version, block.first + block.next, len(indexes))
            if texts is None:
                return None
            parts.append(_Part(known, [pending[index] for index in sorted(indexes)], positions, texts))
        return parts

    def _has_too_old(self, pending: Sequence[Request]) -> bool:
        oldest = self._oldest
        if oldest is None or pending[0].id >= oldest:
            return False
        return any(is_before(request.id, oldest) for request in pending)

    def _outcome(self, parts: Sequence[_Part], rows: Sequence[asyncpg.Record]) -> SmallClaim:
        claimed = SmallClaim([], Counter(), {})
        for (known, requests, positions, texts), (decided_at, left, expires_at) in zip(parts, rows, strict=True):
            program, block = known.program, known.block
            claimed.runs.append(
                Run(
                    [request.id for request in requests], [request.event.profile_id for request in requests],
                    program.id, block.id, positions, texts, expires_at, block.fields, decided_at,
                )
            )  # fmt: skip
            claimed.usage.update(UsageKey(program.id, request.source, "attached") for request in requests)
            low = low_pool(program, left)
            if low is not None:
                claimed.low[program.id] = low
            self._remember(program.name, known, positions.stop, len(positions))
        return claimed


def _arguments(parts: Sequence[_Part], oldest: UUID | None) -> Iterable[object]:
    """The arguments of `claim_known`."""
    programs = [part.known.program for part in parts]
    blocks = [part.known.block for part in parts]
    yield [program.id for program in programs]
    yield [part.known.row for part in parts]
    yield [
        program.ttl.total_seconds() if program.ttl is not None and program.ttl_from == "attachment" else None
        for program in programs
    ]
    for field in ("id", "first", "next", "size", "fields"):
        yield [getattr(block, field) for block in blocks]
    yield [len(part.requests) for part in parts]
    yield oldest
    given = [
        (request.id, place, position, request.event.profile_id, text)
        for place, part in enumerate(parts, 1)
        for request, position, text in zip(part.requests, part.positions, part.texts, strict=True)
    ]
    yield from zip(*sorted(given), strict=True)
