"""The result of a benchmark: medians with their spread, and the goals."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, Self

OF_CEILING: Final = "of the ceiling"
"""The unit of a result that is the product's share of its ceiling, 1 for equality; `bench check` compares these."""

Progress = Callable[[str], None]
"""Called with a sentence for people that names the current measurement."""


@dataclass(frozen=True)
class Result:
    """One figure: the median of all repetitions, with their minimum and maximum."""

    name: str
    rate: float
    unit: str
    spread: tuple[float, float]

    @classmethod
    def of(cls, name: str, unit: str, values: Sequence[float]) -> "Result":
        """The figure of repeated measurements, at least one."""
        return cls(name, _rounded(median(values)), unit, (_rounded(min(values)), _rounded(max(values))))


@dataclass(frozen=True)
class Goal:
    """A limit that a figure must keep: a minimum, or an exclusive maximum."""

    name: str
    value: float
    limit: float
    at_least: bool = True

    @property
    def goal(self) -> str:
        """The limit in print: `>= 25000` or `< 150`."""
        return f"{'>=' if self.at_least else '<'} {self.limit}"

    @property
    def met(self) -> bool:
        """Whether the figure keeps its limit."""
        return self.value >= self.limit if self.at_least else self.value < self.limit


@dataclass
class Report:
    """The results of one benchmark."""

    bench: str
    machine: dict[str, Any]
    results: list[Result] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)

    def add(self, name: str, unit: str, values: Sequence[float]) -> Result:
        """Add a figure and return it."""
        self.results.append(Result.of(name, unit, values))
        return self.results[-1]

    def shares(self) -> dict[str, float]:
        """The product's shares of its ceiling, by their names."""
        return {one.name: one.rate for one in self.results if one.unit == OF_CEILING}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        """Parse the output of `as_json`. Raises KeyError, TypeError or ValueError when it is something else."""
        report = cls(said["bench"], dict(said["machine"]))
        for one in said["results"]:
            lowest, highest = one["spread"]
            report.results.append(Result(one["name"], one["rate"], one["unit"], (lowest, highest)))
        for one in said["goals"]:
            sign, limit = one["goal"].split()
            report.goals.append(Goal(one["name"], one["value"], json.loads(limit), sign == ">="))
        return report

    def add_goal_and_double(self, name: str, value: float, limit: float) -> None:
        """Compare a figure with its goal, and with twice that: what exceeds the goal by far can still get slower."""
        self.goals += [Goal(name, value, limit), Goal(f"{name}, doubled", value, 2 * limit)]

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "bench": self.bench,
            "machine": self.machine,
            "results": [
                {"name": one.name, "rate": one.rate, "unit": one.unit, "spread": list(one.spread)}
                for one in self.results
            ],
            "goals": [{"name": one.name, "value": one.value, "goal": one.goal, "met": one.met} for one in self.goals],
        }


def figure(value: float) -> str:
    """As many digits as are significant."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def _rounded(value: float) -> float:
    """Four significant digits: the rest is noise."""
    return float(f"{value:.4g}")
