"""Describes the machine that the figures were measured on."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from codewell.errors import StackUnavailable
from services.standalone.jars import pinned_jars
from services.standalone.postgres_data import binaries

_VERSION_TIMEOUT_S = 10


def facts() -> dict[str, Any]:
    """The machine and the versions. Raises StackUnavailable on an unsupported machine."""
    if sys.platform != "linux":
        raise StackUnavailable("Benchmarks read /proc, which only Linux has: run them there, a container will do.")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _line_of("/proc/cpuinfo", "model name") or platform.machine(),
        "memory_gb": round(int(_line_of("/proc/meminfo", "MemTotal").split()[0]) * 1024 / 1e9, 1),
        # Other processes' load slows the measurement; near 0 on an idle machine.
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "postgres": _postgres_version(),
        "kafka": next(jar.version for jar in pinned_jars() if jar.artifact == "kafka-clients"),
    }


def _line_of(path: str, name: str) -> str:
    """The value after `name:` in a file of such lines; empty when it is missing."""
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return ""


def _postgres_version() -> str:
    words = [str(binaries() / "postgres"), "--version"]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=_VERSION_TIMEOUT_S)  # noqa: S603  our own program
    return said.stdout.split()[-1]
