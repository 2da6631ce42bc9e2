"""Limits on the size of a file and its parts."""

from typing import Final, NamedTuple

MIB: Final = 1024 * 1024


class FileLimits(NamedTuple):
    """Limits on a file; each refusal's message names the limit."""

    bytes_max: int = 1024 * MIB
    rows_max: int = 20_000_000
    unpacked_bytes_max: int = 2048 * MIB
    columns_max: int = 1_000
    cell_chars_max: int = 32_767
