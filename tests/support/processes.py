"""Inspects and freezes processes of this machine."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

POLL_S = 0.02


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {timeout_s} s"
        await asyncio.sleep(POLL_S)


def processes_in(home: Path) -> dict[int, str]:
    """The command line of each process that works in this directory or was started with it; Linux only."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # A zombie has neither.
            place = (process / "cwd").readlink()
            words = (process / "cmdline").read_text(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if place.is_relative_to(home) or f"{home}/" in words:
            found[int(process.name)] = words
    return found


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def children_of(pid: int) -> list[int]:
    """The processes that it has started, without theirs. Raises OSError if it is gone."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def frozen(pids: Sequence[int]) -> Iterator[None]:
    """Have these processes stand still during the block, as if their machine did."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
