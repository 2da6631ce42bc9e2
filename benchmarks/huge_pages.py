"""Huge pages for Postgres' shared buffers, as we advise for databases of gigabytes (docs/operations/scale.md)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PAGE_MB: Final = 2
# More than the shared buffers: their headers, and Postgres' other shared memory.
_MORE: Final = 1.1
# The kernel makes as many on demand, and takes them back when Postgres ends.
ON_DEMAND: Final = Path("/proc/sys/vm/nr_overcommit_hugepages")


@contextmanager
def allowed_huge_pages(buffers_mb: int, on_demand: Path = ON_DEMAND) -> Iterator[bool]:
    """Let a Postgres with these shared buffers (MB) have huge pages, which it uses where it gets enough of them.

    Yields False, and changes nothing, where this user may not allow them. Afterwards as many are allowed as before.
    """
    try:
        before = int(on_demand.read_text())
        on_demand.write_text(str(before + int(buffers_mb * _MORE / _PAGE_MB)))
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        on_demand.write_text(str(before))
