"""Detects regressions: compares the product's shares of its ceilings with the recorded ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.catalogue import Benchmark
from benchmarks.report import Report
from codewell.errors import CodewellError

# A share varies with the machine's other load; a larger fall has another cause.
FALL_MAX: Final = 0.2


@dataclass(frozen=True)
class Compared:
    """One share of a ceiling: the recorded and the current value."""

    bench: str
    name: str
    recorded: float
    now: float | None
    """None when it is not measured any more."""

    @property
    def change(self) -> float:
        """Relative change from the recorded share; below 0 for a fall."""
        return (self.now or 0.0) / self.recorded - 1

    @property
    def fell(self) -> bool:
        """Whether it fell by more than a fifth, or is missing."""
        return self.change < -FALL_MAX


def comparable(benchmarks: Sequence[Benchmark], recorded: Mapping[str, Report]) -> dict[Benchmark, dict[str, float]]:
    """The recorded shares of those with a short run. Raises CodewellError where there is nothing to compare with."""
    shares = {one: recorded[one.name].shares() if one.name in recorded else {} for one in benchmarks if one.short}
    if not shares:
        raise CodewellError(f"No ceiling is measured by {_names(benchmarks)}: compare others.")
    missing = [one for one, found in shares.items() if not found]
    if missing:
        raise CodewellError(
            f"No share of a ceiling is recorded of {_names(missing)}: record it on a quiet machine with codewell bench "
            "all, or name the others with --only."
        )
    return shares


def _names(benchmarks: Iterable[Benchmark]) -> str:
    return ", ".join(one.name for one in benchmarks)


def compare(bench: str, recorded: Mapping[str, float], now: Report) -> Iterator[Compared]:
    """Pairs of recorded and current shares; a share without a recorded value is not compared."""
    shares = now.shares()
    for name, share in recorded.items():
        yield Compared(bench, name, share, shares.get(name))
