"""Texts of list blocks in the binary format of COPY."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from codewell.infra.postgres.copy_binary import BEGIN, END
from codewell.pool import copy_codes

ALIKE = st.integers(1, 5).flatmap(lambda size: st.lists(st.text(min_size=size, max_size=size), min_size=1, max_size=9))
TEXTS = ALIKE | st.lists(st.text("AB\0é", min_size=1, max_size=4), max_size=9)


def field(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


@given(st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**40), TEXTS), max_size=3), st.integers(1, 2**40))
def test_each_text_is_a_row_of_four_fields(runs: list[tuple[int, int, list[str]]], program_id: int) -> None:
    rows = [
        struct.pack(">h", 4) + b"".join(field(struct.pack(">q", one)) for one in (block_id, position, program_id))
        + field(text.encode())
        for block_id, first, texts in runs
        for position, text in enumerate(texts, first)
    ]  # fmt: skip
    assert copy_codes.encode(program_id, runs) == BEGIN + b"".join(rows) + END
