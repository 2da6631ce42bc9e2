"""Texts of list blocks as binary COPY rows."""

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from codewell.infra.postgres.copy_binary import BEGIN, END

COLUMNS: Final = ("block_id", "position", "program_id", "text")

# The number of fields; block, position and program, each after its length; the text's length.
_HEAD: Final = struct.Struct(">hiqiqiqi").pack


def encode(program_id: int, runs: Iterable[tuple[int, int, Sequence[str]]]) -> bytes:
    """What COPY reads as texts of list blocks, by COLUMNS. A run is a block, a first position and its texts."""
    pieces = [BEGIN]
    for block_id, first, texts in runs:
        for position, text in enumerate(texts, first):
            encoded = text.encode()
            pieces += (_HEAD(4, 8, block_id, 8, position, 8, program_id, len(encoded)), encoded)
    pieces.append(END)
    return b"".join(pieces)
