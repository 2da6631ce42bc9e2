"""The rules of programs that a worker has read before: a claim for many programs then reads only what has changed."""

from collections.abc import Collection
from typing import Final

from codewell.infra.postgres.connection import Connection
from codewell.pool.program_rules import ProgramRules

# As many as minters are cached; all are forgotten above it.
_PROGRAMS_MAX: Final = 4_096
_POOLED: Final = ProgramRules._fields.index("pooled")
_new: Final = tuple.__new__


class KnownRules:
    """The rules of programs by short name, with the version of the row that they are from.

    Only of programs whose rules follow from their row alone: a shared code's mark, and what reservations have on order,
    come from other tables.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, ProgramRules]] = {}
        self._session: int | None = None

    def versions(self, connection: Connection, names: Collection[str]) -> list[int | None]:
        """The known versions of these programs' rows; None for others.

        What was read in another session is forgotten: after a fail-over, one version may stand for two changes.
        """
        session = connection.get_server_pid()
        if session != self._session or len(self._known) > _PROGRAMS_MAX:
            self._session = session
            self._known.clear()
        known = self._known
        return [known[name][0] if name in known else None for name in names]

    def remember(self, version: int, program: ProgramRules) -> None:
        """Remember rules that were read just now."""
        if not program.shared and not program.has_reservations:
            self._known[program.name] = version, program
        else:
            self._known.pop(program.name, None)

    def with_pooled(self, name: str, pooled: int) -> ProgramRules:
        """The known rules, with this level of the pool."""
        rules = self._known[name][1]
        return _new(ProgramRules, (*rules[:_POOLED], pooled, *rules[_POOLED + 1 :]))
