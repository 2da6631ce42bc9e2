"""Readings of programs that live through a demand curve, as the database would give them at an hour of it."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from codewell.forecast.demand import HISTORY_H, History
from codewell.forecast.forecast import ForecastInput, PooledCodes, ProgramFacts, Shortfall
from tests.unit.forecast.curves import Curve

BEGIN: Final = datetime(2026, 6, 1, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)


def facts(**changed: Any) -> ProgramFacts:
    """A program that only gives what it has."""
    plain = ProgramFacts(
        id=1, is_on=True, valid_from=None, valid_until=None, kind="import", may_create=False, shared=False, mark=100,
        room=0, on_order=0, life=None, rate=None, is_remote_down=False, shared_until=None, has_shared=False,
        is_reserved=False,
    )  # fmt: skip
    return plain._replace(**changed)


def reading(
    past: np.ndarray, pooled: int, current: int = 0, elapsed: float = 0.0, shortfalls: tuple[Shortfall, ...] = (),
    until: datetime | None = None, **changed: Any,
) -> ForecastInput:  # fmt: skip
    """A program after these hours, whose pool has `pooled` codes."""
    hours = np.zeros((1, HISTORY_H))
    last = past[-HISTORY_H:]
    hours[0, HISTORY_H - len(last) :] = last
    now = BEGIN + (len(past) + elapsed) * HOUR
    history = History(hours, np.array([float(current)]), elapsed, np.array([past[:-HISTORY_H].any()]))
    return ForecastInput(now, [facts(**changed)], [PooledCodes(1, until, pooled)], list(shortfalls), history)


def at_hour(curve: Curve, hour: int, elapsed: float = 0.0) -> ForecastInput:
    """The program of a curve after so many hours of it, and a share of the next one."""
    current = int(curve.hours[hour] * elapsed)
    left = curve.supply - int(curve.hours[:hour].sum()) - current
    return reading(curve.hours[:hour], max(0, left), current, elapsed)
