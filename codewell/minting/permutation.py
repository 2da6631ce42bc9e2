"""A secret permutation of the integers in [0, size), computed instead of stored.

A Feistel network of ten rounds over the bits that the size needs, with AES-128 as its round function, and cycle
walking until the result is below the size (Luby and Rackoff 1988; Black and Rogaway, "Ciphers with arbitrary finite
domains", 2002). For an odd number of bits the halves differ by one bit, as in FF1 (NIST SP 800-38G): the walk then
takes fewer than two steps a number on average, whatever the size.

This is algorithm 1 and must never change, since it maps issued codes back to their numbers. A change of any output
byte needs a new algorithm with a new number, beside this one.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Numbers = npt.NDArray[np.int64] | npt.NDArray[np.uint64]
Cells = npt.NDArray[np.int64]

KEY_BYTES = 16
SIZE_MAX = 2**62
ROUNDS = 10
# Numbers that go through the rounds together; their arrays fit in a core's second-level cache.
RUN_NUMBERS_MAX = 8_192

_BLOCK_BYTES = 16
_ALGORITHM_TAG = int.from_bytes(b"CW\x01", "little")
# The byte order of AES blocks is fixed, so that codes do not depend on the machine.
_CELL = np.dtype("<i8")


class Permutation:
    """A bijection on [0, size) that only the holder of the key can compute.

    An AES block holds, little-endian: the half (4 bytes), the round (1), the algorithm's tag (3), the size (8).
    So no two rounds, no two sizes under one key, and no other use of AES share a block. Thread-safe: each call has its
    own mutable state.
    """

    def __init__(self, key: bytes, size: int) -> None:
        """Raises ValueError unless the key has 16 bytes and `size` is from 1 to 2**62."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"A permutation's key has {KEY_BYTES} bytes, not {len(key)}.")
        if not 1 <= size <= SIZE_MAX:
            raise ValueError(f"A permutation's size is from 1 to 2**62, not {size}.")
        self.size = size
        self._cipher = block_cipher(key)
        self._right_bits, self._right_mask, self._rounds = _network(size)

    def forward(self, numbers: Numbers) -> npt.NDArray[np.int64]:
        """Map each number, in order; shape (n,) in and out. Raises ValueError if one is outside [0, size)."""
        return self._walk(numbers, backward=False)

    def inverse(self, numbers: Numbers) -> npt.NDArray[np.int64]:
        """Invert `forward`, in order; shape (n,) in and out. Raises ValueError if one is outside [0, size)."""
        return self._walk(numbers, backward=True)

    def _walk(self, numbers: Numbers, *, backward: bool) -> npt.NDArray[np.int64]:
        # As unsigned integers, negative numbers are above every size.
        if numbers.size and int(numbers.view(np.uint64).max()) >= self.size:
            raise ValueError(f"A permutation of {self.size} takes numbers from 0 to {self.size - 1}.")
        walked = numbers.astype(np.int64)
        blocks = CipherBlocks(self._cipher, min(len(walked), RUN_NUMBERS_MAX))
        blocks.plain[:, 1] = self.size
        step = self._decipher if backward else self._encipher
        for first in range(0, len(walked), RUN_NUMBERS_MAX):
            run = walked[first : first + RUN_NUMBERS_MAX]
            run[:] = step(run, blocks)
            outside = np.flatnonzero(run >= self.size)
            # Each walk ends: it follows a cycle, and its start is on that cycle and inside the range.
            while outside.size:
                moved = step(run[outside], blocks)
                run[outside] = moved
                outside = outside[moved >= self.size]
        return walked

    def _encipher(self, numbers: npt.NDArray[np.int64], blocks: "CipherBlocks") -> npt.NDArray[np.int64]:
        plain, secret, encrypt = blocks.first(len(numbers))
        halves, answers = plain[:, 0], secret[:, 0]
        left, right = numbers >> self._right_bits, numbers & self._right_mask
        for tag, mask in self._rounds:
            np.bitwise_or(right, tag, out=halves)
            encrypt()
            left, right = right, left ^ (answers & mask)
        return left << self._right_bits | right

    def _decipher(self, numbers: npt.NDArray[np.int64], blocks: "CipherBlocks") -> npt.NDArray[np.int64]:
        plain, secret, encrypt = blocks.first(len(numbers))
        halves, answers = plain[:, 0], secret[:, 0]
        left, right = numbers >> self._right_bits, numbers & self._right_mask
        for tag, mask in reversed(self._rounds):
            np.bitwise_or(left, tag, out=halves)
            encrypt()
            left, right = right ^ (answers & mask), left
        return left << self._right_bits | right


class _Network(NamedTuple):
    """Bits and mask of the right half, and each round's tag and mask."""

    right_bits: Cells
    right_mask: Cells
    rounds: list[tuple[Cells, Cells]]


@lru_cache(maxsize=1_024)  # Cached: programs whose templates have one size share it, as most have a few kinds.
def _network(size: int) -> _Network:
    bits = (size - 1).bit_length()
    left_bits, right_bits = bits // 2, bits - bits // 2
    masks = [(1 << (right_bits if round_number % 2 else left_bits)) - 1 for round_number in range(ROUNDS)]
    tags = [round_number << 32 | _ALGORITHM_TAG << 40 for round_number in range(ROUNDS)]
    # Zero-dimensional arrays: as operands they cost a third of what a Python int does on a short run.
    return _Network(
        np.array(right_bits, np.int64),
        np.array((1 << right_bits) - 1, np.int64),
        [(np.array(tag, np.int64), np.array(mask, np.int64)) for tag, mask in zip(tags, masks, strict=True)],
    )


def block_cipher(key: bytes) -> Cipher[modes.ECB]:
    """AES on single blocks, used as a pseudorandom function; it encrypts no message."""
    return Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - a round function is a bare block cipher


class CipherBlocks:
    """Buffers for AES blocks, each a row of two 64-bit cells, with a cipher context; owned by one call.

    Not shared between calls, since a context refuses a second thread while it works.
    """

    def __init__(self, cipher: Cipher[modes.ECB], count: int) -> None:
        self.plain = np.empty((count, 2), _CELL)
        # The cipher requires nearly one block of space beyond its output.
        self._secret = np.empty((count + 1, 2), _CELL)
        self._context = cipher.encryptor()
        self._plain_bytes = self.plain.view(np.uint8).reshape(-1).data
        self._secret_bytes = self._secret.view(np.uint8).reshape(-1).data

    def first(self, count: int) -> tuple[Cells, Cells, Callable[[], int]]:
        """The first `count` input rows, their output rows, and a function that encrypts the first into the second."""
        encrypt = partial(self._context.update_into, self._plain_bytes[: count * _BLOCK_BYTES], self._secret_bytes)
        return self.plain[:count], self._secret[:count], encrypt
