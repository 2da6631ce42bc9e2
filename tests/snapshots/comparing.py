"""Snapshots as they are on disk, and how the code differs from them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from difflib import unified_diff
from pathlib import Path
from typing import Final

DATA: Final = Path(__file__).with_name("data")
_DIFF_LINES_MAX: Final = 200


def stored(directory: Path = DATA) -> dict[str, str]:
    """The text of each file by its path."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes().decode()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def store(found: Mapping[str, str], directory: Path) -> None:
    """Write the files."""
    for name, text in found.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def collected(directory: Path) -> dict[str, str]:
    """Snapshots of the code as it is, all but the database's schema, from a process that no test has touched."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CODEWELL_", "OTEL_", "PG")) and name not in {"COLUMNS", "LINES"}
    }
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "tests.snapshots", str(directory)],
        # There is no stack here whose settings it could find.
        cwd=directory, env={**environment, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return stored(directory)


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Empty, or what to do and how they differ."""
    lines: list[str] = []
    for name in sorted(expected.keys() | found.keys()):
        before, after = expected.get(name, ""), found.get(name, "")
        if before != after:
            lines += unified_diff(
                before.split("\n"), after.split("\n"), f"snapshot {name}", f"code {name}", lineterm=""
            )
    if not lines:
        return ""
    left_out = len(lines) - _DIFF_LINES_MAX
    more = [f"... and {left_out} more lines"] if left_out > 0 else []
    head = "The outside sees something else than before. If that is meant, run: python -m tests.snapshots"
    return "\n".join([head, *lines[:_DIFF_LINES_MAX], *more])
