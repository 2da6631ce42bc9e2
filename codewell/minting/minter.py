"""The codes of a template, each a function of its number and of a secret key.

Code number i has the text that P(i) spells in the template, where P is the secret `Permutation` of its space and
the first place is the most significant digit. In a space above 2**62 only the leading places are permuted, as many as
fit in 2**62. The remaining places come from AES of the number under a second key, so that a text still depends only on
its number, and no two numbers share a text. A check character follows from the others and takes no part in this.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from codewell.minting.folding import Folding
from codewell.minting.permutation import KEY_BYTES, SIZE_MAX, CipherBlocks, Permutation, block_cipher
from codewell.minting.template import Template

ALGORITHM = 1
MINTER_KEY_BYTES = 2 * KEY_BYTES
# Places times codes in one run: bounds memory, and keeps a run's arrays in a core's cache.
RUN_CELLS_MAX = 81_920
# Lookup table for characters below this (Latin, Greek, Cyrillic), ten times as fast as a binary search.
TABLE_CODE_POINTS_MAX = 0x600

_TAIL_TAG = int.from_bytes(b"CWt\x01", "little")
_PREVIEW_KEY_BLOCK = bytes(12) + b"CWp\x01"
_BEYOND_UNICODE = 0xFFFF_FFFF


def mintable_count(template: Template) -> int:
    """The number of codes that can be minted: the template's space, or that of its leading places up to 2**62."""
    return _permuted_places(template)[1]


def _permuted_places(template: Template) -> tuple[int, int]:
    """The number of permuted leading places, and the number of texts that they spell."""
    space = 1
    cells = template.free_cells
    for place, cell in enumerate(cells):
        if space * len(cell) > SIZE_MAX:
            return place, space
        space *= len(cell)
    return len(cells), space


class _InverseTables(NamedTuple):
    """Tables from characters to digits: a character's rank among all that occur, then a place's digit for that rank."""

    known: npt.NDArray[np.uint32]
    """All characters that occur, sorted, and a sentinel that does not occur."""
    digits: npt.NDArray[np.int16]
    """Digits by alphabet and rank; -1 for none."""
    ranks: npt.NDArray[np.int64] | None
    """Ranks by code point, if all are below TABLE_CODE_POINTS_MAX."""
    starts: npt.NDArray[np.int64]
    """The start of each place's alphabet in `digits`."""


class _Columns(NamedTuple):
    """What a template's minters share: their number of codes, and columns with a value for each place.

    In all arrays rows are places and columns are codes: a row is one contiguous vector with one divisor. Those of
    digits are without the place of the check character.
    """

    head: int
    """Permuted leading places."""
    numbers: int
    radices: npt.NDArray[np.int64]
    weights: npt.NDArray[np.int64]
    alphabets: list[str]
    characters: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]


@lru_cache(maxsize=1_024)  # Cached: many programs have one template, and these are most of a minter's memory.
def _columns(template: Template) -> _Columns:
    head, numbers = _permuted_places(template)
    cells = template.free_cells
    heads = [len(cell) for cell in cells[:head]]
    weights = accumulate(reversed(heads[1:]), lambda weight, radix: weight * radix, initial=1)
    alphabets = list(dict.fromkeys(cells))
    starts = dict(zip(alphabets, accumulate(map(len, alphabets), initial=0), strict=False))
    return _Columns(
        head,
        numbers,
        _column([len(cell) for cell in cells]),
        _column(list(weights)[::-1]),
        alphabets,
        _code_points("".join(alphabets)),
        _column([starts[cell] for cell in cells]),
    )


class Minter:
    """Mints the codes of one template under one key, and maps codes back to their numbers.

    Thread-safe. Keeps tables of the template's characters (some kilobytes for a usual template, less than 1 MB for the
    worst), which minters of one template share, and no minted codes.
    """

    def __init__(self, template: Template, key: bytes) -> None:
        """Raises ValueError unless the key has 32 bytes: 16 for the permutation, 16 for tails and previews."""
        if len(key) != MINTER_KEY_BYTES:
            raise ValueError(f"A minter's key has {MINTER_KEY_BYTES} bytes, not {len(key)}.")
        self.template = template
        self._head, self.numbers, self._radices, self._weights, self._alphabets, self._characters, self._starts = (
            _columns(template)
        )
        self._permutation = Permutation(key[:KEY_BYTES], self.numbers)
        self._cipher = block_cipher(key[KEY_BYTES:])
        self._preview_key = self._cipher.encryptor().update(_PREVIEW_KEY_BLOCK)
        self._run = max(1, RUN_CELLS_MAX // template.length)

    def mint(self, first: int, count: int) -> list[str]:
        """The codes of the numbers [first, first + count), in order. Raises ValueError outside [0, numbers)."""
        if first < 0 or count < 0 or first + count > self.numbers:
            raise ValueError(f"There are no {count} numbers from {first} on in a template of {self.numbers}.")
        end = first + count
        texts: list[str] = []
        for start in range(first, end, self._run):
            texts += self._texts(np.arange(start, min(start + self._run, end), dtype=np.int64))
        return texts

    def find_numbers(self, codes: Sequence[str]) -> list[int | None]:
        """The number of each text, in order; None for a text that this minter never makes."""
        length = self.template.length
        numbers: list[int | None] = [None] * len(codes)
        whole = [place for place, code in enumerate(codes) if len(code) == length]
        for start in range(0, len(whole), self._run):
            run = whole[start : start + self._run]
            rows, found = self._numbers("".join([codes[place] for place in run]))
            for row, number in zip(rows.tolist(), found.tolist(), strict=True):
                numbers[run[row]] = number
        return numbers

    def preview(self, request_id: bytes, codes_max: int) -> str:
        """A text that fits the template, for a preview; one request id always gives the same text.

        `codes_max` is the largest number of codes that the program may ever have. If that is at most half of `numbers`,
        the text belongs to a number in the upper half, which is never minted, and depends on the request id alone.
        Otherwise it belongs to a number from `codes_max` on. If no such number exists it may be the text of a code: the
        template has no other.
        """
        first = max(self.numbers // 2, codes_max)
        if first >= self.numbers:
            first = 0
        digest = hashlib.blake2b(request_id, digest_size=16, key=self._preview_key).digest()
        # 128 bits modulo at most 2**62 numbers: the relative bias of a number is at most 2**-66.
        return self.mint(first + int.from_bytes(digest, "little") % (self.numbers - first), 1)[0]

    def _texts(self, numbers: npt.NDArray[np.int64]) -> list[str]:
        digits = np.empty((len(self._radices), len(numbers)), np.int64)
        heads = digits[: self._head]
        np.floor_divide(self._permutation.forward(numbers), self._weights, out=heads)
        # Each quotient still contains the digits of earlier places: the quotient of the row above.
        heads[1:] -= heads[:-1] * self._radices[1 : self._head]
        digits[self._head :] = self._tail(numbers)
        digits += self._starts
        points = self._with_check(self._characters.take(digits))
        texts = np.ascontiguousarray(points.T).view(f"U{self.template.length}")
        made: list[str] = texts.reshape(-1).tolist()
        return made

    @cached_property
    def folding(self) -> Folding:
        """How typed texts fold to the template's codes. Raises TemplateInvalid where two codes fold alike."""
        return Folding.of(self.template)

    def _with_check(self, points: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        """The code points of whole codes, from those of all places but the check character's."""
        check = self.template.check
        if check is None:
            return points
        whole = np.insert(points, check.place, 0, axis=0)
        whole[check.place] = check.points(whole)
        return whole

    @cached_property
    def _inverse_tables(self) -> _InverseTables:
        """Created at the first look-up, which issuers and generators never do."""
        known = np.append(np.unique(self._characters), np.uint32(_BEYOND_UNICODE))
        digits = np.full((len(self._alphabets), len(known)), -1, np.int16)
        for row, alphabet in enumerate(self._alphabets):
            digits[row, np.searchsorted(known, _code_points(alphabet))] = np.arange(len(alphabet))
        ranks: npt.NDArray[np.int64] | None = None
        if int(self._characters.max()) < TABLE_CODE_POINTS_MAX:
            ranks = np.searchsorted(known, np.arange(TABLE_CODE_POINTS_MAX, dtype=np.uint32))
        rows = _column([self._alphabets.index(cell) * len(known) for cell in self.template.free_cells])
        return _InverseTables(known, digits.reshape(-1), ranks, rows)

    def _numbers(self, joined: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The indexes of the texts that have a number, and these numbers, both of shape (n,)."""
        # A lone surrogate can't occur in a code, but in a user's input.
        points = np.ascontiguousarray(_code_points(joined).reshape(-1, self.template.length).T)
        check = self.template.check
        right: npt.NDArray[np.bool_] | Literal[True] = True
        if check is not None:
            right = points[check.place] == check.points(points)
            points = np.delete(points, check.place, axis=0)
        known, digit_of, rank_of, starts = self._inverse_tables
        if rank_of is None:
            ranks = np.searchsorted(known, points)
        else:
            ranks = rank_of.take(np.minimum(points, TABLE_CODE_POINTS_MAX - 1))
        digits = digit_of.take(ranks + starts)
        fits = ((digits >= 0) & (known.take(ranks) == points)).all(axis=0) & right
        rows = np.flatnonzero(fits)
        digits = digits.take(rows, axis=1)
        numbers = self._permutation.inverse((digits[: self._head] * self._weights).sum(axis=0))
        own = (self._tail(numbers) == digits[self._head :]).all(axis=0)
        return rows[own], numbers[own]

    def _tail(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The digits of the places after the permuted ones, of shape (places, n).

        An AES block holds, little-endian: the number (8 bytes), the pair of places (4), a tag (4). Each half of the
        encrypted block gives one digit. 52 bits are reduced to at most 2,000 characters, so the bias of a digit's
        probability is at most 2**-52.
        """
        count, places = len(numbers), len(self._radices) - self._head
        if not places:
            return np.empty((0, count), np.int64)
        pairs = (places + 1) // 2
        plain, secret, encrypt = CipherBlocks(self._cipher, pairs * count).first(pairs * count)
        plain[:, 0] = np.tile(numbers, pairs)
        plain[:, 1] = np.repeat(np.arange(pairs) | _TAIL_TAG << 32, count)
        encrypt()
        halves = secret.reshape(pairs, count, 2).transpose(0, 2, 1)
        words = halves.reshape(2 * pairs, count)[:places].view(np.uint64) >> np.uint64(12)
        digits = words * self._radices[self._head :].view(np.uint64) >> np.uint64(52)
        return digits.view(np.int64)


def _column(values: list[int]) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64).reshape(-1, 1)


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32)
