"""Encodes texts of list blocks for binary COPY."""

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from codewell.infra.postgres.copy_binary import BEGIN, END

COLUMNS: Final = ("block_id", "position", "program_id", "text")

# Field count; block, position and program, each with its length prefix; length of the text.
_HEAD: Final = struct.Struct(">hiqiqiqi").pack


def encode(program_id: int, runs: Iterable[tuple[int, int, Sequence[str]]]) -> bytes:
    """The texts in the binary COPY format, with fields in the order of COLUMNS.

    Each run is (block id, position of the first text, texts at consecutive positions).
    """
    pieces = [BEGIN]
    for block_id, first, texts in runs:
        for position, text in enumerate(texts, first):
            encoded = text.encode()
            pieces += (_HEAD(4, 8, block_id, 8, position, 8, program_id, len(encoded)), encoded)
    pieces.append(END)
    return b"".join(pieces)
