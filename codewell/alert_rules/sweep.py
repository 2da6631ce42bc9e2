"""Raises and clears the alerts of rules: one look at all programs."""

import json
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from codewell.alert_rules import readings
from codewell.alert_rules.judge import GOOD, judge
from codewell.alert_rules.readings import ProgramReading
from codewell.alerts import alerts
from codewell.alerts.kinds import RULED
from codewell.forecast import possible_forecasts
from codewell.infra.postgres.connection import Connection
from codewell.pool.orders import FAILURES_MAX
from schemas.alert_rules import RuleKind
from schemas.alerts import AlertKind

# In one look. The others follow in the next ones.
FORECASTS_MAX: Final = 500
CHANGES_MAX: Final = 1_000
# All programs are forecast once in so many looks, also without a change.
LOOKS_A_ROUND: Final = 20

_RULE_OF: Final[dict[AlertKind, RuleKind]] = {kind: kind.replace("-", "_") for kind in RULED}  # type: ignore[misc]


class Swept(NamedTuple):
    """What a look did, in alerts."""

    raised: int
    cleared: int


class _Changes:
    def __init__(self) -> None:
        self.raised: list[tuple[int, AlertKind, dict[str, Any]]] = []
        self.cleared: list[int] = []
        self.over: list[int] = []


class Sweep:
    """Keeps from one look to the next what forecasts depend on."""

    def __init__(self) -> None:
        self._signals: dict[int, tuple[object, ...]] = {}
        self._refreshed: dict[int, str] = {}
        """The newest details of open alerts (JSON), by id, until they are written once in a round."""
        self._looks = 0

    async def look(self, connection: Connection) -> Swept:
        """Look at all programs, and raise and clear. Raises what asyncpg raises."""
        known = await readings.states(connection)
        programs = await readings.read(connection)
        due = self._due(programs)
        foreseen = await possible_forecasts(connection, due)
        changes = _Changes()
        alerted = {program_id for program_id, _ in known}
        for one in programs:
            if one.program_id not in foreseen and one.program_id not in alerted and one.is_quiet:
                continue
            figures = one.figures._replace(forecast=foreseen.get(one.program_id))
            for kind in RULED:
                rule = one.rules.get(_RULE_OF[kind])
                judgement = GOOD if rule is None else judge(rule, figures, FAILURES_MAX)
                state = known.pop((one.program_id, kind), None)
                if state is None:
                    if judgement.is_bad:
                        changes.raised.append((one.program_id, kind, judgement.figures))
                elif judgement.is_good:
                    (changes.cleared if state.is_open else changes.over).append(state.id)
                elif state.is_open and judgement.distance is not None:
                    self._refreshed[state.id] = json.dumps(judgement.figures)
        # Of programs that are removed.
        for state in known.values():
            (changes.cleared if state.is_open else changes.over).append(state.id)
        return await self._write(connection, changes)

    async def _write(self, connection: Connection, changes: _Changes) -> Swept:
        raised = await alerts.raise_many(connection, changes.raised[:CHANGES_MAX])
        cleared = await alerts.clear_by_themselves(connection, changes.cleared[:CHANGES_MAX])
        await alerts.set_over(connection, changes.over[:CHANGES_MAX])
        if self._looks % LOOKS_A_ROUND == 0:
            # Forecasts of a round are spread over its looks.
            found = list(self._refreshed.items())
            for first in range(0, len(found), CHANGES_MAX):
                await alerts.refresh(connection, found[first : first + CHANGES_MAX])
            self._refreshed.clear()
        cleared += await alerts.clear_unused_fallbacks(connection)
        cleared += await alerts.clear_used_orders(connection)
        self._looks += 1
        return Swept(raised, cleared)

    def _due(self, programs: Sequence[ProgramReading]) -> list[int]:
        """The programs to forecast: those that have changed since their last forecast, and in turns all others."""
        asked = [one for one in programs if one.figures.is_on and "runs_out_within" in one.rules]
        slot = self._looks % LOOKS_A_ROUND
        changed = [one for one in asked if self._signals.get(one.program_id) != one.signal]
        of_slot = asked[slot::LOOKS_A_ROUND]
        # Those of the slot first, so that none waits for ever for others that change all the time.
        chosen = {one.program_id: one.signal for one in islice((*of_slot, *changed), FORECASTS_MAX + len(of_slot))}
        self._signals.update(chosen)
        self._forget({one.program_id for one in asked})
        return list(chosen)

    def _forget(self, asked: Collection[int]) -> None:
        for program_id in [one for one in self._signals if one not in asked]:
            del self._signals[program_id]
