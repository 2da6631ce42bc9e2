"""How many codes one core makes, and finds the numbers of, a second.

Nothing here waits for anybody, so a rate is codes by CPU time: what else runs on the machine hardly matters.
"""

import math
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from services.bench.machine import facts
from services.bench.report import OF_CEILING, Goal, Progress, Report
from services.codes.minter import MINTER_KEY_BYTES, Minter
from services.codes.template import Template

TEMPLATE: Final = Template.parse("{string 4}-{number 4}-{upstring 4}")
MINT_GOAL: Final = 2_000_000
INVERSE_GOAL: Final = 1_000_000

# As many as an issuer's batch takes at once.
RUN: Final = 4_000
# Dice are so slow that they are thrown for fewer codes.
DICE_SHARE: Final = 20
WARM_UP_SHARE: Final = 10

MINT: Final = "mint"
DICE: Final = "dice and a set"
COUNTERS: Final = "text of plain counters"
INVERSE: Final = "number of a code"

Work = Callable[[int], object]


def bench_mint(codes: int, repetitions: int, progress: Progress) -> Report:
    """Mint so many codes in runs as large as an issuer's batch, on one core. Raises StackUnavailable."""
    report = Report("mint", facts())
    works = _works(codes)
    rates: dict[str, list[float]] = {name: [] for name in works}
    with _one_core():
        for work, count in works.values():
            work(count // WARM_UP_SHARE)
        for repetition in range(1, repetitions + 1):
            for name, (work, count) in works.items():
                rates[name].append(_rate(work, count))
                progress(f"{name}, {repetition} of {repetitions}: {rates[name][-1]:,.0f} codes/s")
    for name, found in rates.items():
        report.add(name, "codes/s", found)
    _add_ratios(report, rates)
    _add_goals(report)
    return report


def _works(codes: int) -> dict[str, tuple[Work, int]]:
    """What is measured, each with the number of codes that it gets."""
    minter = Minter(TEMPLATE, secrets.token_bytes(MINTER_KEY_BYTES))
    counters = plain_counters(TEMPLATE)
    texts = minter.mint(0, RUN)
    return {
        MINT: (lambda count: _in_runs(minter.mint, count), codes),
        DICE: (dice, codes // DICE_SHARE),
        COUNTERS: (lambda count: _in_runs(counters, count), codes),
        INVERSE: (lambda count: _in_runs(lambda _, length: minter.number_of(texts[:length]), count), codes),
    }


def dice(count: int) -> set[str]:
    """A peer: draw each character, and draw again what is there already."""
    alphabets = TEMPLATE.cells
    made: set[str] = set()
    while len(made) < count:
        made.add("".join([secrets.choice(alphabet) for alphabet in alphabets]))
    return made


def plain_counters(template: Template) -> Callable[[int, int], list[str]]:
    """A ceiling: what makes the same texts in their plain order, without the permutation that makes them secret."""
    sizes = np.array([len(cell) for cell in template.cells], np.int64)
    weights = (math.prod(sizes.tolist()) // np.cumprod(sizes)).reshape(-1, 1)
    starts = (np.cumsum(sizes) - sizes).reshape(-1, 1)
    radices = sizes.reshape(-1, 1)
    characters = np.frombuffer("".join(template.cells).encode("utf-32-le"), np.uint32)

    def texts(first: int, count: int) -> list[str]:
        digits = np.arange(first, first + count, dtype=np.int64) // weights
        # Each quotient holds the digits before its own too: those are the quotient of the row above.
        digits[1:] -= digits[:-1] * radices[1:]
        cells = np.ascontiguousarray(characters.take(digits + starts).T)
        made: list[str] = cells.view(f"U{template.length}").reshape(-1).tolist()
        return made

    return texts


def _add_ratios(report: Report, rates: dict[str, list[float]]) -> None:
    for other, unit in ((DICE, "times"), (COUNTERS, OF_CEILING)):
        ratios = [ours / theirs for ours, theirs in zip(rates[MINT], rates[other], strict=True)]
        report.add(f"{MINT} / {other}", unit, ratios)


def _add_goals(report: Report) -> None:
    medians = {one.name: one.rate for one in report.results}
    report.goals += [
        Goal("codes minted a second by one core", medians[MINT], MINT_GOAL),
        Goal("codes looked up a second by one core", medians[INVERSE], INVERSE_GOAL),
    ]


def _in_runs(work: Callable[[int, int], object], count: int) -> None:
    for first in range(0, count, RUN):
        work(first, min(RUN, count - first))


def _rate(work: Work, count: int) -> float:
    """Codes by CPU second."""
    began = time.process_time()
    work(count)
    return count / (time.process_time() - began)


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process on one core while the block runs."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
