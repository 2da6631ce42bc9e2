"""The rules of programs that a worker has read before: a claim for many programs then reads only what has changed."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.pool.program_rules import ProgramRules

# As many as minters are cached; all are forgotten above it.
_PROGRAMS_MAX: Final = 4_096
_POOLED: Final = ProgramRules._fields.index("pooled")
_new: Final = tuple.__new__


class ReadRules(NamedTuple):
    """Rules, and the version of the program's row that they are from."""

    version: int
    program: ProgramRules

    def with_pooled(self, pooled: int) -> ProgramRules:
        """The rules, with this level of the pool."""
        rules = self.program
        return _new(ProgramRules, (*rules[:_POOLED], pooled, *rules[_POOLED + 1 :]))


class KnownRules:
    """Rules by short name, as one session has read them.

    Only of programs whose rules follow from their row alone: a shared code's mark, and what reservations have on order,
    come from other tables. What another session has read is forgotten: after a fail-over, one version may stand for two
    changes.
    """

    def __init__(self) -> None:
        self._known: dict[str, ReadRules] = {}
        self._session: int | None = None

    def of(self, connection: Connection, names: Iterable[str]) -> dict[str, ReadRules]:
        """Those of these programs that are known in this connection's session."""
        if connection.get_server_pid() != self._session:
            return {}
        known = self._known
        return {name: known[name] for name in names if name in known}

    def remember(self, connection: Connection, read: Mapping[str, ReadRules]) -> None:
        """Remember what this connection has just read."""
        session = connection.get_server_pid()
        if session != self._session or len(self._known) + len(read) > _PROGRAMS_MAX:
            self._session = session
            self._known.clear()
        for name, rules in read.items():
            if not rules.program.shared and not rules.program.has_reservations:
                self._known[name] = rules
            else:
                self._known.pop(name, None)
