"""Counts of the steps of tills, by what became of them."""

from collections.abc import Iterable
from functools import cache
from typing import Final

from prometheus_client import Counter

from codewell.errors import CodewellError
from codewell.redemption.batch import Applied
from codewell.redemption.model import Step

STEPS: Final = Counter("codewell_till_steps", "Steps of tills: uses, holds and their ends.", ["step", "outcome"])


@cache
def _steps(step: Step, outcome: str) -> Counter:
    """The metric of such a step: to find it takes longer than to count."""
    return STEPS.labels(step, outcome)


def count(step: Step, outcome: Applied | CodewellError) -> None:
    """Count a step that was taken or refused: `done`, `repeated` without an effect, or the reason against it."""
    if isinstance(outcome, CodewellError):
        _steps(step, outcome.reason).inc()
    else:
        _steps(step, "done" if outcome.is_new else "repeated").inc()


def count_all(steps: Iterable[Step], outcomes: Iterable[Applied | CodewellError | None]) -> None:
    """Count the steps of a batch, but for those that are tried again (None)."""
    for step, outcome in zip(steps, outcomes, strict=True):
        if outcome is not None:
            count(step, outcome)
