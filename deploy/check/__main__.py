"""Runs parts of the deployment's check one after the other: `python -m deploy.check [PART ...]`; all by default."""

import argparse
import asyncio
import importlib
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from codewell.errors import CodewellError
from deploy.check.report import Report, write_figures

# Each part is a module with `async def prepare(report)`, which gets what it needs, and `async def check(report)`, which
# takes at most `TIMEOUT_S`; in the order in which they run. Beside it, the page that has its figures.
PARTS: Final = {
    "image": ("deploy.check.image.part", Path("docs/operations/images.md")),
    "cluster": ("deploy.check.cluster.part", Path("docs/kubernetes.md")),
}


def main(words: Sequence[str]) -> int:
    """Run the parts; 0 when all that they look at holds, 1 at the first thing that does not."""
    parser = argparse.ArgumentParser(prog="python -m deploy.check", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--keep-figures", action="store_true", help="leave the figures of the last run in the page")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.part) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}: choose of {', '.join(PARTS)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    for name in arguments.part or PARTS:
        report = Report(name)
        try:
            asyncio.run(_part(name, report))
        except (CodewellError, TimeoutError) as error:
            report.failed(str(error) or "it took too long")
            return 1
        if not arguments.keep_figures:
            write_figures(PARTS[name][1], report)
    return 0


async def _part(name: str, report: Report) -> None:
    """Run one part within its time. Ctrl-C and SIGTERM cancel it, so that it stops what it started."""
    part = importlib.import_module(PARTS[name][0])
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await part.prepare(report)
    async with asyncio.timeout(part.TIMEOUT_S):
        await part.check(report)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
