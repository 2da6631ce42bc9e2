"""Reads the CPU time and memory of processes from /proc, at no cost to them."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class _Process(NamedTuple):
    parent: int
    cpu_s: float


def cpu_seconds(roots: Iterable[int]) -> float:
    """CPU time of these processes, of their running descendants, and of the ended ones (s)."""
    table = _processes()
    return sum(table[pid].cpu_s for root in roots for pid in _family(root, table))


def machine_cpu_seconds() -> float:
    """CPU time of all processes on the machine, and time stolen by its host, since its start (s)."""
    # User, nice, system, idle, I/O wait, interrupts, soft interrupts, steal.
    ticks = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
    return (sum(ticks) - ticks[3] - ticks[4]) / _TICKS_A_SECOND


def peak_memory_mb(pid: int) -> float:
    """Peak resident memory of a process (MB)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(f"The process {pid} has ended.")


def child_commands(parent: int) -> dict[int, list[str]]:
    """The command line of each child of a process, by pid."""
    found = {}
    for pid, process in _processes().items():
        if process.parent == parent:
            try:
                words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").rstrip("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if words:
                found[pid] = words.split("\0")
    return found


def _processes() -> dict[int, _Process]:
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name in parentheses may contain spaces; the needed fields follow it.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            # User and system time, its own and that of ended children.
            table[int(entry.name)] = _Process(int(fields[1]), sum(map(int, fields[11:15])) / _TICKS_A_SECOND)
    return table


def _family(root: int, table: dict[int, _Process]) -> list[int]:
    family = [root] if root in table else []
    for pid in family:
        family += [child for child, process in table.items() if process.parent == pid]
    return family
