"""Inspects processes of this machine."""

import asyncio
import time
from collections.abc import Callable
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
    except FileNotFoundError:
        return False
    return state != "Z"
