"""Detects regressions: compares the product's shares of its ceilings with the recorded ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.catalogue import Benchmark
from benchmarks.report import Report
from codewell.errors import CodewellError

# A share moves with what else the machine does; a fall by more than this has another cause.
FALL_MAX: Final = 0.2


@dataclass(frozen=True)
class Compared:
    """One share of a ceiling, then and now."""

    bench: str
    name: str
    recorded: float
    now: float | None
    """None where it is not measured any more."""

    @property
    def change(self) -> float:
        """By which part of the recorded share it rose, below 0 where it fell."""
        return (self.now or 0.0) / self.recorded - 1

    @property
    def fell(self) -> bool:
        """Whether it fell by more than a fifth, or is gone."""
        return self.change < -FALL_MAX


def comparable(benchmarks: Sequence[Benchmark], recorded: Mapping[str, Report]) -> dict[Benchmark, dict[str, float]]:
    """The recorded shares of those that have a ceiling. Raises CodewellError where there is nothing to compare with."""
    shares = {one: recorded[one.name].shares() if one.name in recorded else {} for one in benchmarks if one.ceilings}
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
    """Each recorded share beside the one of now; a share that is new has nothing to be compared with."""
    shares = now.shares()
    for name, share in recorded.items():
        yield Compared(bench, name, share, shares.get(name))
