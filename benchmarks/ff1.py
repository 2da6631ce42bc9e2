"""A peer, not a product: format-preserving encryption FF1 (NIST SP 800-38G, algorithms 7 and 8) in plain Python.

It is the usual careful choice for codes from a counter that can't be guessed.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from operator import mul
from typing import Final

from codewell.minting.permutation import block_cipher
from codewell.minting.template import Template

_ROUNDS: Final = 10
_BLOCK_BYTES: Final = 16
# A template's space is split into this few numerals: each costs a round's arithmetic, and a radix is below 2**16.
_NUMERALS: Final = 4


class Ff1:
    """FF1 under one key and tweak, on numeral strings of one radix and length."""

    def __init__(self, key: bytes, radix: int, length: int, tweak: bytes = b"") -> None:
        self._radix = radix
        self._left, self._right = length // 2, length - length // 2
        self._number_bytes = -(-(radix**self._right - 1).bit_length() // 8)
        self._round_bytes = 4 * -(-self._number_bytes // 4) + 4
        self._encrypt = block_cipher(key).encryptor().update
        head = b"\x01\x02\x01" + radix.to_bytes(3) + b"\x0a" + bytes([self._left % 256])
        self._head = self._encrypt(head + length.to_bytes(4) + len(tweak).to_bytes(4))
        self._tweak = tweak + bytes(-(len(tweak) + self._number_bytes + 1) % _BLOCK_BYTES)

    def encrypt(self, numerals: Sequence[int]) -> list[int]:
        """The encrypted numerals."""
        left, right = self._split(numerals)
        for turn, size in enumerate(self._sizes()):
            left, right = right, (left + self._round(turn, right)) % size
        return self._joined(left, right)

    def decrypt(self, numerals: Sequence[int]) -> list[int]:
        """The decrypted numerals."""
        left, right = self._split(numerals)
        for turn, size in reversed(list(enumerate(self._sizes()))):
            left, right = (right - self._round(turn, left)) % size, left
        return self._joined(left, right)

    def _sizes(self) -> list[int]:
        return [self._radix**self._left, self._radix**self._right] * (_ROUNDS // 2)

    def _round(self, turn: int, half: int) -> int:
        text = self._tweak + bytes([turn]) + half.to_bytes(self._number_bytes)
        chained = self._head
        for first in range(0, len(text), _BLOCK_BYTES):
            chained = self._encrypt(_xor(chained, text[first : first + _BLOCK_BYTES]))
        made = chained
        for count in range(1, -(-self._round_bytes // _BLOCK_BYTES)):
            made += self._encrypt(_xor(chained, count.to_bytes(_BLOCK_BYTES)))
        return int.from_bytes(made[: self._round_bytes])

    def _split(self, numerals: Sequence[int]) -> tuple[int, int]:
        return self._number(numerals[: self._left]), self._number(numerals[self._left :])

    def _number(self, numerals: Sequence[int]) -> int:
        number = 0
        for numeral in numerals:
            number = number * self._radix + numeral
        return number

    def _joined(self, left: int, right: int) -> list[int]:
        return [*self._numerals(left, self._left), *self._numerals(right, self._right)]

    def _numerals(self, number: int, length: int) -> list[int]:
        numerals = [0] * length
        for place in range(length - 1, -1, -1):
            number, numerals[place] = divmod(number, self._radix)
        return numerals


class Ff1Codes:
    """Codes of a template whose numbers FF1 permutes, with cycle walking into the template's space."""

    def __init__(self, template: Template, key: bytes) -> None:
        self._cells = template.cells
        sizes = [len(cell) for cell in self._cells]
        *behind, self._space = accumulate(reversed(sizes), mul, initial=1)
        self._weights = behind[::-1]
        self._ranks = [{character: rank for rank, character in enumerate(cell)} for cell in self._cells]
        # The smallest radix that holds the space, so that cycle walking is rare.
        self._radix = _root(self._space)
        self._ff1 = Ff1(key, self._radix, _NUMERALS)

    def mint(self, numbers: Sequence[int]) -> list[str]:
        """The text of each number."""
        return ["".join(self._text(self._walk(number, self._ff1.encrypt))) for number in numbers]

    def numbers_of(self, codes: Sequence[str]) -> list[int]:
        """The number of each text that `mint` returned."""
        return [
            self._walk(
                sum(ranks[one] * weight for ranks, one, weight in zip(self._ranks, code, self._weights, strict=True)),
                self._ff1.decrypt,
            )
            for code in codes
        ]

    def _walk(self, number: int, step: Callable[[Sequence[int]], list[int]]) -> int:
        while True:
            numerals = []
            for _ in range(_NUMERALS):
                number, numeral = divmod(number, self._radix)
                numerals.append(numeral)
            for numeral in reversed(step(numerals)):
                number = number * self._radix + numeral
            if number < self._space:
                return number

    def _text(self, number: int) -> Iterator[str]:
        for cell, weight in zip(self._cells, self._weights, strict=True):
            digit, number = divmod(number, weight)
            yield cell[digit]


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one) ^ int.from_bytes(other)).to_bytes(_BLOCK_BYTES)


def _root(space: int) -> int:
    """The smallest radix whose numerals cover a space."""
    radix = max(2, int(space ** (1 / _NUMERALS)) - 1)
    while radix**_NUMERALS < space:
        radix += 1
    return radix
