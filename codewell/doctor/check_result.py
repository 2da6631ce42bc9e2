"""One thing that was looked at: well or not, and what to do."""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, TypeAlias

Level: TypeAlias = Literal["error", "warning", "unseen", "well"]
LEVELS: Final[tuple[Level, ...]] = ("error", "warning", "unseen", "well")
"""From the worst on. `error`: Codewell does not work, or may break a promise. `warning`: it works, but will not for
long, or not after a fault. `unseen`: it could not be looked at. `well`: nothing to do."""
_NAMED_MAX: Final = 5


class CheckResult(NamedTuple):
    """What one check says."""

    check: str
    """The part that was looked at, as `kafka` or `disk`."""
    level: Level
    says: str
    """A sentence without a full stop."""
    mend: str | None = None
    """What to do about it, one line."""


def error_of(check: str, error: Exception) -> CheckResult:
    """The finding of an error of Codewell, whose message says what is wrong, then a colon and what to do."""
    says, _, mend = str(error).rstrip(".").rpartition(": ")
    return CheckResult(check, "error", says or mend, mend if says else None)


def is_well(findings: Iterable[CheckResult]) -> bool:
    """Whether none is an error."""
    return all(one.level != "error" for one in findings)


def named(names: Iterable[str]) -> str:
    """Names in a sentence, the first few of them."""
    some = list(names)
    more = f" and {len(some) - _NAMED_MAX} more" if len(some) > _NAMED_MAX else ""
    return ", ".join(some[:_NAMED_MAX]) + more
