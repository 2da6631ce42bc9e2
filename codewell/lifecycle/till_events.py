"""Which events of the till a changed row of code_use stands for."""

from collections.abc import Iterator
from typing import Any, Literal

from schemas import lifecycle

_Row = dict[str, Any]
_Stage = Literal["held", "used"] | None


def till_events(old: _Row | None, new: _Row) -> Iterator[str]:
    """The types of its events, in order. Several steps of one transaction may have changed the row."""
    before, after = _stage(old), _stage(new)
    if after is None:
        # It ended, and perhaps began before that in the same transaction.
        last: _Stage = "used" if new["used_at"] is not None else "held"
        if old is not None and before is None:
            return
        if before != last:
            yield _entered(last)
        yield lifecycle.CODE_DEACTIVATED if last == "used" else lifecycle.CODE_RELEASED
    elif before is None or (before, after) == ("held", "used"):
        yield _entered(after)
    elif (before, after) == ("used", "held"):
        yield lifecycle.CODE_DEACTIVATED
        yield lifecycle.CODE_HELD
    elif after == "held" and old is not None and old["held_until"] != new["held_until"]:
        yield lifecycle.CODE_HELD
    elif after == "used" and old is not None and old["used_at"] != new["used_at"]:
        yield lifecycle.CODE_DEACTIVATED
        yield lifecycle.CODE_ACTIVATED


def _entered(stage: _Stage) -> str:
    return lifecycle.CODE_ACTIVATED if stage == "used" else lifecycle.CODE_HELD


def _stage(row: _Row | None) -> _Stage:
    if row is None or row["ended_at"] is not None:
        return None
    return "used" if row["used_at"] is not None else "held"
