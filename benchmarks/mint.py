"""Codes minted and decoded on one core, a second.

The work is CPU-bound, so a rate is codes by CPU time: other load on the machine hardly matters.
"""

import math
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from benchmarks.ff1 import Ff1Codes
from benchmarks.machine import facts
from benchmarks.report import OF_CEILING, Goal, Progress, Report
from codewell.errors import CodewellError
from codewell.minting.minter import MINTER_KEY_BYTES, Minter
from codewell.minting.template import Template

TEMPLATE: Final = Template.parse("{string 4}-{number 4}-{upstring 4}")
MINT_GOAL: Final = 3_000_000
INVERSE_GOAL: Final = 1_000_000

# The size of an issuer's batch.
RUN: Final = 4_000
# The peers are so slow that they get fewer codes.
DICE_SHARE: Final = 20
FF1_SHARE: Final = 40
WARM_UP_SHARE: Final = 10
_CHECKED: Final = 100_000
_FF1_KEY_BYTES: Final = 16

MINT: Final = "mint"
FF1: Final = "FF1"
DICE: Final = "dice and a set"
COUNTERS: Final = "text of plain counters"
INVERSE: Final = "number of a code"
FF1_INVERSE: Final = "number of a code, FF1"

Work = Callable[[int], object]


def bench_mint(codes: int, repetitions: int, progress: Progress) -> Report:
    """Mint `codes` codes in runs of an issuer's batch size, on one core.

    Raises StackUnavailable, and CodewellError unless the measured codes are unique and decode to their numbers.
    """
    report = Report("mint", facts())
    _check()
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
    """The measured functions, each with its number of codes."""
    minter = Minter(TEMPLATE, secrets.token_bytes(MINTER_KEY_BYTES))
    ff1 = Ff1Codes(TEMPLATE, secrets.token_bytes(_FF1_KEY_BYTES))
    counters = plain_counters(TEMPLATE)
    texts, ff1_texts = minter.mint(0, RUN), ff1.mint(range(RUN))
    return {
        MINT: (lambda count: _in_runs(minter.mint, count), codes),
        FF1: (lambda count: _in_runs(lambda first, length: ff1.mint(range(first, first + length)), count),
              codes // FF1_SHARE),
        DICE: (dice, codes // DICE_SHARE),
        COUNTERS: (lambda count: _in_runs(counters, count), codes),
        INVERSE: (lambda count: _in_runs(lambda _, length: minter.find_numbers(texts[:length]), count), codes),
        FF1_INVERSE: (lambda count: _in_runs(lambda _, length: ff1.numbers_of(ff1_texts[:length]), count),
                      codes // FF1_SHARE),
    }  # fmt: skip


def _check() -> None:
    """Check the correctness of the fast functions."""
    minter = Minter(TEMPLATE, secrets.token_bytes(MINTER_KEY_BYTES))
    made = minter.mint(0, _CHECKED)
    if len(set(made)) < _CHECKED or minter.find_numbers(made) != list(range(_CHECKED)):
        raise CodewellError(f"Of {_CHECKED:,} codes some are the same, or their numbers are not found again.")


def dice(count: int) -> set[str]:
    """A peer: draw each character at random, and draw again on a duplicate."""
    alphabets = TEMPLATE.cells
    made: set[str] = set()
    while len(made) < count:
        made.add("".join([secrets.choice(alphabet) for alphabet in alphabets]))
    return made


def plain_counters(template: Template) -> Callable[[int, int], list[str]]:
    """A ceiling: mints the same texts in ascending order, without the permutation that makes them unpredictable."""
    sizes = np.array([len(cell) for cell in template.cells], np.int64)
    weights = (math.prod(sizes.tolist()) // np.cumprod(sizes)).reshape(-1, 1)
    starts = (np.cumsum(sizes) - sizes).reshape(-1, 1)
    radices = sizes.reshape(-1, 1)
    characters = np.frombuffer("".join(template.cells).encode("utf-32-le"), np.uint32)

    def texts(first: int, count: int) -> list[str]:
        digits = np.arange(first, first + count, dtype=np.int64) // weights
        # Each quotient includes the digits before its own: subtract the quotient of the row above.
        digits[1:] -= digits[:-1] * radices[1:]
        cells = np.ascontiguousarray(characters.take(digits + starts).T)
        made: list[str] = cells.view(f"U{template.length}").reshape(-1).tolist()
        return made

    return texts


def _add_ratios(report: Report, rates: dict[str, list[float]]) -> None:
    for ours, other in ((MINT, FF1), (MINT, DICE), (MINT, COUNTERS), (INVERSE, FF1_INVERSE)):
        ratios = [one / theirs for one, theirs in zip(rates[ours], rates[other], strict=True)]
        unit = OF_CEILING if other is COUNTERS else "times"
        report.add(f"{ours} / {FF1 if other is FF1_INVERSE else other}", unit, ratios)


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
    """Pin this process to one core during the block."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
