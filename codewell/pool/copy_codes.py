"""Encodes texts of list blocks for binary COPY."""

import struct
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Final

from codewell.infra.postgres.copy_binary import BEGIN, END

COLUMNS: Final = ("block_id", "position", "program_id", "text")

# Field count; block, position and program, each with its length prefix; length of the text.
_HEAD: Final = struct.Struct(">hiqiqiqi").pack


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
            piece: list[bytes] = []
            for position, text in enumerate(texts[begin : begin + _PIECE_TEXTS], first + begin):
                encoded = text.encode()
                piece += (_HEAD(4, 8, block_id, 8, position, 8, program_id, len(encoded)), encoded)
            yield b"".join(piece)
    yield END
