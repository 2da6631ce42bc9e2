"""The check character of a code: one more character, computed from the others, so that tills refuse typing errors.

A code's variable characters and its check character, in their order, are the digits of a word: a character's digit is
its index in the check's alphabet, which has all characters of these places, sorted. From state 0 each digit d leads to
the next state; the check character is the one with which the word ends in state 0. So it may stand anywhere.

With ten characters the next state is in Damm's table (Damm 2004). With N others it is M * state + d in the group
Z2^a x Z3^b x Zm of N = 2^a * 3^b * m elements, where the index of an element is (second in Z2^a) + 2^a * (in Z3^b) +
2^a * 3^b * (in Zm). M multiplies by 3 in Zm, and in Z2^a and Z3^b by the root of a polynomial without the roots 1 and
-1. Where M - 1, M + 1 and M * M - 1 are bijections, which is so in all parts but Z2 and Z3, each swap, twin error and
jump swap leads to another state, whatever the place. The 28 characters of {safe} have the group GF(4) x Z7.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

# The tables of the largest alphabet have some 400 KB.
CHECK_CHARACTERS_MAX: Final = 128

_Table = npt.NDArray[np.int64]
_Points = npt.NDArray[np.uint32]

_DAMM: Final = (
    "0317598642", "7092154863", "4206871359", "1750983426", "6123045978",
    "3674209581", "5869720134", "8945362017", "9438617205", "2581436790",
)  # fmt: skip


class Caught(NamedTuple):
    """The shares of errors that a check character finds. It finds every single wrong character."""

    swaps: Fraction
    """ab typed as ba."""
    jump_swaps: Fraction
    """abc typed as cba."""
    twins: Fraction
    """aa typed as bb."""


class _Tables(NamedTuple):
    """Flat tables for N digits, each with N * N entries."""

    step: _Table
    """The next state, by state * N + digit."""
    back: _Table
    """The state before, by state * N + digit."""
    solve: _Table
    """The digit that leads from one state to another, by state * N + next state."""


@dataclass(frozen=True, slots=True)
class CheckCharacter:
    """The check character of a template."""

    place: int
    """Its index in the code."""
    variable: tuple[int, ...]
    """The indexes of the characters that it is computed from, in order."""
    alphabet: str
    """All characters of these places, sorted: the check character is one of them."""

    def points(self, codes: _Points) -> _Points:
        """The check characters, as code points, of codes given as code points.

        Codes are columns, and places are rows, of shape (places, n); the row of the check itself is not read. Without
        meaning where a variable character is not in the alphabet.
        """
        size = len(self.alphabet)
        tables = _tables(size)
        known = np.frombuffer(self.alphabet.encode("utf-32-le"), "<u4")
        before = np.zeros(codes.shape[1], np.int64)
        after = np.zeros(codes.shape[1], np.int64)
        for place in self.variable:
            if place < self.place:
                before = tables.step.take(before * size + _digits(known, codes[place]))
        for place in reversed(self.variable):
            if place > self.place:
                after = tables.back.take(after * size + _digits(known, codes[place]))
        return known.take(tables.solve.take(before * size + after)).astype(np.uint32)

    def complete(self, code: str) -> str:
        """The code with the right check character in its place, whatever is there."""
        points = np.frombuffer(code.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32).reshape(-1, 1)
        return f"{code[: self.place]}{chr(int(self.points(points)[0]))}{code[self.place + 1 :]}"

    @property
    def sentence(self) -> str:
        """What it finds, for people."""
        finds = caught(len(self.alphabet))
        errors = (("swap", " (ab for ba)", finds.swaps), ("jump swap", " (abc for cba)", finds.jump_swaps),
                  ("twin error", " (aa for bb)", finds.twins))  # fmt: skip
        every = ["wrong character", *[f"{name}{example}" for name, example, share in errors if share == 1]]
        some = [f"{_percent(share)} of {name}s{example}" for name, example, share in errors if share < 1]
        words = f"every {_listed(every)}" + (f", and {_listed(some)}" if some else "")
        return f"The check character finds {words}. It adds no strength."


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _percent(share: Fraction) -> str:
    """Rounded down, so that only what is all is 100 %."""
    return f"{int(share * 1000) / 10:g} %"


def _digits(known: _Points, points: _Points) -> _Table:
    return np.minimum(np.searchsorted(known, points), len(known) - 1)


@lru_cache(maxsize=CHECK_CHARACTERS_MAX)
def caught(size: int) -> Caught:
    """What a check character of an alphabet of this size finds."""
    step = _tables(size).step.reshape(size, size)
    digits = np.arange(size)
    # In a group these shares are the same from each state and with each digit between.
    starts, between = (digits, digits) if size == len(_DAMM) else (digits[:1], digits[:1])
    twins = step[step[starts], digits]
    pairs = step[step[starts]]
    triples = np.stack([step[step[step[starts]][:, :, digit]] for digit in between])
    return Caught(
        swaps=_share(pairs, pairs.swapaxes(1, 2)),
        jump_swaps=_share(triples, triples.swapaxes(-1, -2)),
        twins=_share(twins[..., :, None], twins[..., None, :]),
    )


def _share(right: _Table, typed: _Table) -> Fraction:
    """The share of pairs of different digits (the last two axes) whose states differ."""
    right, typed = np.broadcast_arrays(right, typed)
    errors = ~np.eye(right.shape[-1], dtype=bool)
    return Fraction(int(((right != typed) & errors).sum()), int(np.broadcast_to(errors, right.shape).sum()))


@lru_cache(maxsize=CHECK_CHARACTERS_MAX)
def _tables(size: int) -> _Tables:
    if size == len(_DAMM):
        step = np.array([[int(digit) for digit in row] for row in _DAMM], np.int64)
    else:
        group = _Group.of(size)
        step = np.array([[group.add(group.times(state), digit) for digit in range(size)] for state in range(size)])
    back, solve = np.empty_like(step), np.empty_like(step)
    states, digits = np.indices(step.shape)
    back[step, digits] = states
    solve[states, step] = digits
    return _Tables(step.reshape(-1), back.reshape(-1), solve.reshape(-1))


class _Group(NamedTuple):
    """The group Z2^twos x Z3^threes x Zrest; its elements are numbers."""

    twos: int
    threes: int
    rest: int

    @classmethod
    def of(cls, size: int) -> "_Group":
        """The group with so many elements."""
        twos, threes, rest = 0, 0, size
        while rest % 2 == 0:
            twos, rest = twos + 1, rest // 2
        while rest % 3 == 0:
            threes, rest = threes + 1, rest // 3
        return cls(twos, threes, rest)

    def add(self, one: int, other: int) -> int:
        """The sum of two elements."""
        (a, b, c), (x, y, z) = self._parts(one), self._parts(other)
        trits = sum((b // 3**place + y // 3**place) % 3 * 3**place for place in range(self.threes))
        return self._element(a ^ x, int(trits), (c + z) % self.rest)

    def times(self, element: int) -> int:
        """M times the element."""
        a, b, c = self._parts(element)
        return self._element(self._times_in_twos(a), self._times_in_threes(b), 3 * c % self.rest)

    def _times_in_twos(self, a: int) -> int:
        """By a root of x^n + x + 1; in Z2, where only 1 multiplies, by 1."""
        if self.twos < 2:
            return a
        return a << 1 if a < 1 << self.twos - 1 else a << 1 ^ (1 << self.twos | 0b11)

    def _times_in_threes(self, b: int) -> int:
        """By a root of x^n - x^(n-2) + 1, of x^2 + 1 for n = 2; in Z3 by 2."""
        if self.threes < 2:
            return int(2 * b % 3**self.threes)
        trits = [b // 3**place % 3 for place in range(self.threes)]
        carried = trits.pop()
        trits.insert(0, -carried % 3)
        if self.threes > 2:
            trits[-2] = (trits[-2] + carried) % 3
        return int(sum(trit * 3**place for place, trit in enumerate(trits)))

    def _parts(self, element: int) -> tuple[int, int, int]:
        rest, a = divmod(element, 2**self.twos)
        c, b = divmod(rest, 3**self.threes)
        return a, b, c

    def _element(self, a: int, b: int, c: int) -> int:
        return int(a + 2**self.twos * (b + 3**self.threes * c))
