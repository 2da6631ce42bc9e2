"""Thirty demand curves: six shapes, each at five sizes with its own noise. Seeds are fixed, so they never change."""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
WEEK_H: Final = 168
# Longer than any of them lives.
LENGTH_H: Final = 30 * WEEK_H


class Curve(NamedTuple):
    """Codes that are asked for in each hour, and after how many hours the supply is used up; None: it stays."""

    name: str
    hours: NDArray[np.int64]
    life_h: int | None

    @property
    def half_h(self) -> int:
        """Half of its life; of a dead program, ten days after its last code."""
        return int(np.flatnonzero(self.hours)[-1]) + 240 if self.life_h is None else self.life_h // 2

    @property
    def supply(self) -> int:
        """How many codes there are at first."""
        if self.life_h is None:
            return int(self.hours.sum()) + 1_000
        return int(self.hours[: self.life_h].sum())


Shape = Callable[[Floats, np.random.Generator], Floats]
_AT: Final = np.arange(LENGTH_H, dtype=float)


def _flat(at: Floats, _: np.random.Generator) -> Floats:
    return np.ones_like(at)


def _daily(at: Floats, _: np.random.Generator) -> Floats:
    # Nobody at night, most at noon and in the evening.
    hour = at % 24
    return np.exp(-((hour - 12) ** 2) / 18) + 0.8 * np.exp(-((hour - 19) ** 2) / 6) + 0.02


def _weekly(at: Floats, dice: np.random.Generator) -> Floats:
    by_day = np.array([1.0, 1.1, 1.0, 1.2, 1.5, 0.5, 0.3])
    hours: Floats = _daily(at, dice) * by_day[(at // 24 % 7).astype(int)]
    return hours


def _campaigns(at: Floats, dice: np.random.Generator) -> Floats:
    """A steady program with a newsletter each week, and others at times that nobody knows."""
    hours = _daily(at, dice)
    day = hours[:24].sum()
    newsletter, evening = dice.integers(0, 7) * 24 + 10, 0.5
    for week in range(0, LENGTH_H, WEEK_H):
        hours[week + newsletter : week + newsletter + 3] += day * np.array([1.2, 0.6, 0.3])
        if dice.random() < evening:
            begin = week + dice.integers(0, WEEK_H - 3)
            hours[begin : begin + 3] += day * np.array([0.8, 0.5, 0.2])
    return hours


def _growth(at: Floats, dice: np.random.Generator) -> Floats:
    doubling_h = dice.uniform(5, 12) * WEEK_H
    grown: Floats = _daily(at, dice) * 2 ** (at / doubling_h)
    return grown


def _dead(at: Floats, dice: np.random.Generator) -> Floats:
    hours = _weekly(at, dice)
    hours[int(dice.uniform(3, 8) * WEEK_H) :] = 0
    return hours


SHAPES: Final[dict[str, Shape]] = {
    "flat": _flat, "daily": _daily, "weekly": _weekly, "campaigns": _campaigns, "growth": _growth, "dead": _dead,
}  # fmt: skip
# Codes an hour, in the mean.
_SIZES: Final = (2.0, 20.0, 150.0, 3_000.0, 40_000.0)


def curves() -> list[Curve]:
    """All curves."""
    found = []
    for number, (name, shape) in enumerate(SHAPES.items()):
        for size_number, size in enumerate(_SIZES):
            dice = np.random.default_rng(1_000 * number + size_number)
            hours = shape(_AT, dice)
            hours = hours / hours[: 2 * WEEK_H].mean() * size
            # A day is busier or calmer than another, beyond chance.
            mood = np.repeat(dice.lognormal(0, 0.15, LENGTH_H // 24), 24)
            codes = dice.poisson(hours * mood)
            life_h = None if name == "dead" else int(dice.uniform(1.5, 14) * WEEK_H)
            found.append(Curve(f"{name} {size:,.0f}/h", codes, life_h))
    return found
