"""Encodes texts of list blocks for binary COPY."""

import struct
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from codewell.infra.postgres.copy_binary import BEGIN, END

COLUMNS: Final = ("block_id", "position", "program_id", "text")

# Field count; block, position and program, each with its length prefix; length of the text.
_HEAD: Final = struct.Struct(">hiqiqiqi")
_POSITION: Final = slice(18, 26)

# So many texts take half a millisecond.
_PIECE_TEXTS: Final = 2_000


def encode(program_id: int, runs: Iterable[tuple[int, int, Sequence[str]]]) -> bytes:
    """The texts in the binary COPY format, with fields in the order of COLUMNS.

    Each run is (block id, position of the first text, texts at consecutive positions).
    """
    return b"".join(_pieces(program_id, runs))


async def stream(program_id: int, runs: Iterable[tuple[int, int, Sequence[str]]]) -> AsyncIterator[bytes]:
    """What `encode` returns, in pieces: each is encoded while the database stores the ones before."""
    for piece in _pieces(program_id, runs):
        yield piece


def _pieces(program_id: int, runs: Iterable[tuple[int, int, Sequence[str]]]) -> Iterator[bytes]:
    yield BEGIN
    for block_id, first, texts in runs:
        for begin in range(0, len(texts), _PIECE_TEXTS):
            yield _piece(program_id, block_id, first + begin, texts[begin : begin + _PIECE_TEXTS])
    yield END


def _piece(program_id: int, block_id: int, first: int, texts: Sequence[str]) -> bytes:
    joined, length = "".join(texts), len(texts[0])
    if joined.isascii() and set(map(len, texts)) == {length}:
        # Texts of one length, as templates make them, in an eighth of the time.
        rows = np.empty((len(texts), _HEAD.size + length), np.uint8)
        rows[:, : _HEAD.size] = np.frombuffer(_HEAD.pack(4, 8, block_id, 8, 0, 8, program_id, length), np.uint8)
        rows[:, _POSITION] = np.arange(first, first + len(texts), dtype=">i8").view(np.uint8).reshape(-1, 8)
        rows[:, _HEAD.size :] = np.frombuffer(joined.encode(), np.uint8).reshape(-1, length)
        return rows.tobytes()
    piece: list[bytes] = []
    for position, text in enumerate(texts, first):
        encoded = text.encode()
        piece += (_HEAD.pack(4, 8, block_id, 8, position, 8, program_id, len(encoded)), encoded)
    return b"".join(piece)
