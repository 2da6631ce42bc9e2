"""A claim's look-up of the codes that its profiles have already, where it needs one.

A claim stores new assignments under a unique constraint. Where claims find that none of their profiles has a code, the
next one stores its assignments without having looked. If a profile did have a code, nothing is stored, and the batch is
decided again by a claim that looks.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from operator import attrgetter
from types import MappingProxyType
from typing import Final, NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.issuing.assignment_keys import keys_by_names
from codewell.issuing.assignments import INSERTED_MAX, AssignmentTaken, assigned_codes
from codewell.issuing.decision import Decision
from codewell.issuing.model import AssignmentKey, PooledCode, Request, all_live
from codewell.pool.program_rules import ProgramRules

# Programs that are remembered; the one that was claimed first is forgotten.
_PROGRAMS_MAX: Final = 1_000
# A claim that should have looked is made twice. After it, all look until 2, 4 ... look-ups in a row found nothing.
_EMPTY_MAX: Final = 64
_PROGRAM_ID: Final = attrgetter("program_id")


class LookUp(NamedTuple):
    """What a claim knows of the codes that its profiles have."""

    assigned: dict[AssignmentKey, PooledCode]
    """Empty if it has not looked."""
    program_ids: list[int]
    """The programs of its keys."""
    keys: int
    """How many different keys it has."""
    skipped: bool
    keys_by_names: Mapping[tuple[str, ...], Sequence[AssignmentKey]] = MappingProxyType({})
    """As the function of this name made them."""

    def held(self, now: datetime) -> Counter[int]:
        """Program id -> how many of its profiles have an unexpired code."""
        if all_live(self.assigned.values(), now):
            return Counter(map(_PROGRAM_ID, self.assigned))
        return Counter(key.program_id for key, code in self.assigned.items() if code.lives_at(now))

    def check(self, decision: Decision) -> None:
        """Raise AssignmentTaken where a claim that has not looked gave a profile no code: it may have one already."""
        if self.skipped and len(decision.assignments) + sum(len(run.ids) for run in decision.assigned_runs) < self.keys:
            raise AssignmentTaken


class _Seen(NamedTuple):
    """What claims of a program saw: the look-ups in a row that found nothing, and how many of them end the looking."""

    empty: int
    enough: int


_NOTHING: Final = _Seen(0, 1)


class LookUps:
    """The look-ups of one worker, and what it knows from them."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}

    async def look(
        self, connection: Connection, requests: Sequence[Request], programs: Mapping[str, ProgramRules]
    ) -> LookUp:
        """Find the codes that these requests' profiles have. A claim that is stored passes the result to `learn`."""
        program_ids = [program.id for program in programs.values() if program.reuses_codes]
        if not program_ids:
            return LookUp({}, [], 0, skipped=False)
        by_names = keys_by_names(requests, programs)
        keys = set(chain.from_iterable(by_names.values()))
        seen = [self._seen.get(id_, _NOTHING) for id_ in program_ids]
        # Few are stored by an upsert, which would replace a code that expires just after the decision.
        if len(keys) <= INSERTED_MAX or any(one.empty < one.enough for one in seen):
            found = await assigned_codes(connection, list(keys))
            return LookUp(found, program_ids, len(keys), skipped=False, keys_by_names=by_names)
        for id_, one in zip(program_ids, seen, strict=True):
            # Until it is known how it went.
            self._seen[id_] = _Seen(0, min(2 * one.enough, _EMPTY_MAX))
        return LookUp({}, program_ids, len(keys), skipped=True, keys_by_names=by_names)

    def learn(self, look_up: LookUp) -> None:
        """Remember the look-up of a claim that is stored."""
        if look_up.keys <= INSERTED_MAX:
            return
        found = {key.program_id for key in look_up.assigned}
        for id_ in look_up.program_ids:
            empty, enough = self._seen.pop(id_, _NOTHING)
            if look_up.skipped:
                # `look` has doubled it.
                enough = max(1, enough // 4)
                self._seen[id_] = _Seen(enough, enough)
            else:
                self._seen[id_] = _Seen(0 if id_ in found else empty + 1, enough)
            if len(self._seen) > _PROGRAMS_MAX:
                del self._seen[next(iter(self._seen))]
