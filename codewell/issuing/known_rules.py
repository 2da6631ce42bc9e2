"""Programs as a worker's last claim left them: a claim for many programs then reads only what has changed since."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from codewell.issuing.model import LockedBlock, LockedPrograms
from codewell.pool.program_rules import ProgramRules

# As many as minters are cached; all are forgotten above it.
_PROGRAMS_MAX: Final = 4_096
_POOLED: Final = ProgramRules._fields.index("pooled")
_new: Final = tuple.__new__


class LastSeen(NamedTuple):
    """The version of a program's row, its rules with the level of the pool, and the block that gives codes first."""

    version: int
    program: ProgramRules
    block: LockedBlock | None
    """None where it is not known."""

    def with_pooled(self, pooled: int) -> ProgramRules:
        """The rules, with this level of the pool."""
        return _with_pooled(self.program, pooled)


class KnownRules:
    """Rules and blocks by short name, as one session has read or written them.

    Only of programs whose rules follow from their row alone: a shared code's mark, and what reservations have on order,
    come from other tables. What another session has read is forgotten: after a fail-over, one version may stand for two
    changes.
    """

    def __init__(self) -> None:
        self._known: dict[str, LastSeen] = {}
        self._session: int | None = None

    def of(self, session: int, names: Iterable[str]) -> dict[str, LastSeen]:
        """Those of these programs that are known in this session, which is named by its process."""
        if session != self._session:
            return {}
        known = self._known
        return {name: known[name] for name in names if name in known}

    def remember(self, session: int, locked: LockedPrograms, taken: Mapping[int, tuple[int, int]]) -> None:
        """Remember what this session has read, as its claim left it; `taken` is as in `Decision`, and committed."""
        if session != self._session or len(self._known.keys() | locked.programs.keys()) > _PROGRAMS_MAX:
            self._session = session
            self._known.clear()
        _, _, programs, all_blocks, rows, transaction = locked
        for (name, program), blocks in zip(programs.items(), all_blocks.values(), strict=True):
            if program.shared or program.has_reservations:
                self._known.pop(name, None)
                continue
            rules, block = program, blocks[0] if len(blocks) == 1 else None
            if block is not None and block.id in taken:
                id_, kind, version, first, before, size, left, holes, expires_at, fields, _ = block
                next_, given = taken[id_]
                holes -= next_ - before - given
                moved = id_, kind, version, first, next_, size, left - given, holes, expires_at, fields, transaction
                # Each of these takes a fraction of the time of `_replace`.
                block, rules = _new(LockedBlock, moved), _with_pooled(program, program.pooled - given)
            self._known[name] = _new(LastSeen, (rows[name], rules, block))


def _with_pooled(program: ProgramRules, pooled: int) -> ProgramRules:
    rules = list(program)
    rules[_POOLED] = pooled
    return _new(ProgramRules, rules)
