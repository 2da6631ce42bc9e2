"""Benchmarks as a person runs them, at sizes that measure nothing: they end, report figures and clean up."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.processes import processes_in, until

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="benchmarks read /proc"),
    pytest.mark.timeout(180),
]


async def bench(tmp_path: Path, *words: str) -> asyncio.subprocess.Process:
    """Start a benchmark whose stack is below `tmp_path`."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.tests.e2e",
        *words,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def assert_nothing_left(tmp_path: Path) -> None:
    assert processes_in(tmp_path) == {}
    assert list(tmp_path.glob("codewell-bench-*")) == []


async def report_of(tmp_path: Path, *words: str) -> tuple[dict[str, float], list[str]]:
    """Run a benchmark to its end: its figures by name, and the names of its goals."""
    process = await bench(tmp_path, *words, "--repetitions=1", "--json")
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    report = json.loads(out)
    assert_nothing_left(tmp_path)
    return {result["name"]: result["rate"] for result in report["results"]}, [goal["name"] for goal in report["goals"]]


async def ends_when_interrupted(tmp_path: Path, file: str, *words: str) -> None:
    """Interrupt a benchmark once its directory has such a file: it says so, and leaves nothing."""
    process = await bench(tmp_path, *words)
    try:
        await until(lambda: any(tmp_path.glob(f"codewell-bench-*/{file}")), file, timeout_s=60)
    finally:
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()

    assert process.returncode == 1
    assert "stopped before its end" in err.decode()
    assert_nothing_left(tmp_path)


async def test_issue_measures_all_with_one_issuer_and_the_product_and_its_ceilings_with_two(tmp_path: Path) -> None:
    rates, goals = await report_of(tmp_path, "issue", "--requests=800")

    names = [f"{name}, 1 issuer" for name in ("codewell", "usual build", "usual build in batches")]
    names += [f"{name}, 1 issuer" for name in ("no database", "librdkafka")]
    names += [f"{name}, 2 issuers" for name in ("codewell", "no database", "librdkafka")]
    assert min(rates[name] for name in [*names, "COPY of the answers"]) > 0
    ratio = rates["codewell, 1 issuer"] / rates["usual build, 1 issuer"]
    assert rates["codewell, 1 issuer / usual build"] == pytest.approx(ratio, rel=0.01)
    # So few requests may take less than a tick of the system's clock.
    assert min(rates["librdkafka, 1 issuer: CPU of issuer"], rates["COPY of the answers: CPU of client"]) >= 0
    assert "CPU of librdkafka and COPY / of codewell, 1 issuer" in rates
    assert rates["issuer's peak memory"] > 10
    assert goals == [
        "times the usual build",
        "share of the loop without a database, 1 issuer",
        "share of the loop without a database, 2 issuers",
        "MB of the issuer's peak memory",
        "us of the issuer's CPU a request",
    ]


@pytest.mark.nightly
async def test_generate_measures_ranges_and_rows(tmp_path: Path) -> None:
    process = await bench(tmp_path, "generate", "--codes=100000", "--stored=1000", "--requests=5000", "--repetitions=1")
    out, err = await process.communicate()

    assert process.returncode == 0, err.decode()
    assert "COPY 1,000 codes, unique index" in out.decode()
    for goal in (
        "seconds for 100 codes",
        "times as long for ten times the codes",
        "share of a small program's issuing",
    ):
        assert goal in out.decode()
    assert_nothing_left(tmp_path)


@pytest.mark.nightly
async def test_reservations_measures_the_claims_of_two_programs(tmp_path: Path) -> None:
    sizes = ("--codes=100000", "--stored=1000", "--requests=5000")
    rates, goals = await report_of(tmp_path, "reservations", *sizes)

    ratio = rates["claims with a reservation"] / rates["claims without a reservation"]
    assert rates["claims with / without a reservation"] == pytest.approx(ratio, rel=0.01)
    assert rates["reserve 500 of 1,000 stored codes"] > 0
    assert goals == [
        "seconds to reserve 100,000 codes",
        "seconds to release 100,000 codes",
        "share of claims without a reservation",
    ]


async def test_forecast_measures_many_programs_and_one_at_a_time(tmp_path: Path) -> None:
    rates, goals = await report_of(tmp_path, "forecast", "--programs=20")

    ratio = rates["forecasts"] / rates["the rows alone"]
    assert rates["forecasts / the rows alone"] == pytest.approx(ratio, rel=0.01)
    assert rates["one program at a time"] > 0
    assert rates["an hour more for all programs"] > 0
    # Few programs say nothing of ten thousand.
    assert goals == []


async def test_http_measures_the_api_its_peer_and_its_ceiling(tmp_path: Path) -> None:
    rates, goals = await report_of(tmp_path, "http", "--requests=400")

    assert set(goals) > {"attachments a second", "activations a second"}
    assert min(rates["attach"], rates["activate"], rates["usual build: attach"], rates["nothing but SELECT 1"]) > 0


async def test_one_that_is_interrupted_stops_its_stack(tmp_path: Path) -> None:
    # Its first issuer runs.
    await ends_when_interrupted(tmp_path, "home/logs/*.1.log", "issue", "--requests=800")
