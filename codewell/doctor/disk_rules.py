"""Free space below a folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from codewell.doctor.check_result import CheckResult

CHECK: Final = "disk"
_GIB: Final = 1024**3
# Postgres stops when its log finds no space, and a checkpoint may need `max_wal_size` (8 GB as advised).
ERROR_BYTES: Final = 1 * _GIB
WARN_BYTES: Final = 10 * _GIB
WARN_SHARE: Final = 0.1


def disk_finding(what: str, place: Path | None) -> Iterator[CheckResult]:
    """The space that is free where `what` is stored; not seen where this machine has no such folder."""
    try:
        usage = None if place is None else shutil.disk_usage(place)
    except OSError:
        usage = None
    if usage is None:
        yield CheckResult(CHECK, "unseen", f"the disk of {what} is not visible from here", "look at it on its machine")
    else:
        yield space_finding(f"{what} in {place}", usage.free, usage.total)


def space_finding(what: str, free: int, total: int) -> CheckResult:
    """Judge the free bytes of a file system of `total` bytes."""
    says = f"{free / _GIB:,.1f} of {total / _GIB:,.1f} GiB are free for {what}"
    mend = "free space, or move it to a larger disk"
    if free < ERROR_BYTES:
        return CheckResult(CHECK, "error", says, mend)
    if free < WARN_BYTES and free < total * WARN_SHARE:
        return CheckResult(CHECK, "warning", says, mend)
    return CheckResult(CHECK, "well", says)
