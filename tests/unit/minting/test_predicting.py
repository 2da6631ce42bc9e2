"""Who has seen a thousand codes in a row guesses the next no better than who has seen none."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest

from codewell.minting.minter import Minter
from codewell.minting.template import Template

SEEN, ASKED = 1_000, 1_000
Digits = Sequence[int]


def follows(digits: Digits, size: int) -> int:
    """What came most often behind the last one."""
    behind = Counter(after for before, after in pairwise(digits) if before == digits[-1])
    return behind.most_common(1)[0][0] if behind else 0


def steps(digits: Digits, size: int) -> int:
    """The step that was taken most often, taken again."""
    taken = Counter((after - before) % size for before, after in pairwise(digits))
    return (digits[-1] + taken.most_common(1)[0][0]) % size


def repeats(digits: Digits, size: int) -> int:
    """The step before, taken again."""
    return (2 * digits[-1] - digits[-2]) % size


def favours(digits: Digits, size: int) -> int:
    """What came most often."""
    return Counter(digits).most_common(1)[0][0]


def avoids(digits: Digits, size: int) -> int:
    """What came least often."""
    found = Counter(digits)
    return min(range(size), key=lambda digit: found[digit])


@pytest.mark.parametrize("predict", [follows, steps, repeats, favours, avoids])
@pytest.mark.parametrize("text", ["{string 4}-{number 4}-{upstring 4}", "{safe 12}"])
def test_nothing_predicts_the_next(text: str, predict: Callable[[Digits, int], int]) -> None:
    minter = Minter(Template.parse(text), bytes(range(32)))
    codes = minter.mint(0, SEEN + ASKED)
    hits = chance = deviation = 0.0
    for place, cell in enumerate(minter.template.cells):
        if len(cell) == 1:
            continue
        digits = [cell.index(code[place]) for code in codes]
        window = range(SEEN, SEEN + ASKED, 10)
        hits += sum(predict(digits[at - SEEN : at], len(cell)) == digits[at] for at in window)
        chance += len(window) / len(cell)
        deviation += len(window) / len(cell) * (1 - 1 / len(cell))
    assert abs(hits - chance) <= 5 * math.sqrt(deviation)


def test_no_line_through_the_numbers_comes_near_the_next() -> None:
    """Codes as numbers, and the best straight line and parabola through a thousand of them."""
    template = Template.parse("{number 12}")
    numbers = np.array([int(code) for code in Minter(template, bytes(range(32))).mint(0, SEEN + ASKED)], np.float64)
    numbers /= template.space
    for degree in (1, 2):
        line = np.polynomial.Polynomial.fit(np.arange(SEEN), numbers[:SEEN], degree)
        missed = np.abs(line(np.arange(SEEN, SEEN + 50)) - numbers[SEEN : SEEN + 50])
        # An even draw is a quarter away from the middle on average, with a deviation of 0.144.
        assert missed.mean() > 0.25 - 5 * 0.144 / math.sqrt(50)
