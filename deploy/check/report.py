"""What a check saw, line by line, and the figures that it leaves in the documentation."""

import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.page import with_regions
from codewell.errors import CodewellError


class DoesNotHold(CodewellError):
    """Something that the deployment promises was seen not to be so."""


class Report:
    """The lines of one part of the check, printed as they come."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.figures: list[tuple[str, str]] = []

    def held(self, text: str) -> None:
        """Print what was seen."""
        self._line("ok", text)

    def figure(self, name: str, value: str) -> None:
        """Print what was seen and record it for the page; `value` carries its unit."""
        self.figures.append((name, value))
        self._line("ok", f"{name}: {value}")

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Print and record how long the block takes (s)."""
        began = time.monotonic()
        try:
            yield
        except BaseException:
            self._line("..", f"{name}: ended after {time.monotonic() - began:.1f} s")
            raise
        self.figure(name, f"{time.monotonic() - began:.1f} s")

    def failed(self, text: str) -> None:
        """Print what did not hold."""
        self._line("FAIL", text)

    def _line(self, mark: str, text: str) -> None:
        sys.stdout.write(f"{self.part:<8} {mark:<4} {text}\n")
        sys.stdout.flush()


def expect(condition: object, text: str) -> None:
    """Raises DoesNotHold with the text unless the condition is true."""
    if not condition:
        raise DoesNotHold(text)


def write_figures(page: Path, report: Report) -> None:
    """Put the figures between the page's markers of this part. Raises CodewellError when the page has none."""
    page.write_text(
        with_regions(page.read_text("utf-8"), {f"check {report.part}": _table(dict(report.figures))}), "utf-8"
    )


def _table(figures: Mapping[str, str]) -> str:
    rows = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
    load = f"{os.cpu_count()} cores, load {os.getloadavg()[1]:.0f}"
    machine = f"{platform.machine()}, {load}, {datetime.now(UTC):%Y-%m-%d}"
    return f"\n| seen by `make deploy-check` ({machine}) | |\n|---|---:|\n{rows}\n"
