"""Runs the benchmarks in sequence, each in its own process."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from benchmarks.catalogue import Benchmark
from benchmarks.report import Progress, Report
from codewell.errors import CodewellError

# A stopped benchmark first stops its Postgres and Kafka.
STOP_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True)
class Measured:
    """One finished benchmark."""

    benchmark: Benchmark
    seconds: float
    report: Report | None
    """None when it failed; its errors are on standard error."""


async def each(
    benchmarks: Sequence[Benchmark], stop: asyncio.Event, progress: Progress, *, short: bool, repetitions: int
) -> AsyncIterator[Measured]:
    """Run them with their own sizes or short, and continue after a failure. Raises CodewellError when stopped."""
    for number, benchmark in enumerate(benchmarks, 1):
        progress(f"{benchmark.name}, {number} of {len(benchmarks)}")
        options = [*(benchmark.short if short else ()), f"--repetitions={repetitions}"]
        began = time.monotonic()
        report = await _report([benchmark.name, *options], stop)
        if stop.is_set():
            raise CodewellError(f"Stopped while {benchmark.name} was measured; nothing of it is left running.")
        measured = Measured(benchmark, time.monotonic() - began, report)
        progress(f"{benchmark.name} {'failed after' if report is None else 'took'} {measured.seconds:,.0f} s")
        yield measured


async def _report(words: Sequence[str], stop: asyncio.Event) -> Report | None:
    """The output of `codewell bench` with these arguments; None when it fails or is stopped."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks", *words, "--json", stdout=asyncio.subprocess.PIPE
    )
    ending = asyncio.ensure_future(process.communicate())
    told = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((ending, told), return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            with suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait((ending,), timeout=STOP_TIMEOUT_S)
    finally:
        told.cancel()
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
    out, _ = await ending
    return Report.from_json(json.loads(out)) if process.returncode == 0 else None
