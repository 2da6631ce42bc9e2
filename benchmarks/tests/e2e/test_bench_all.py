"""All benchmarks by one command, here the quickest: the page is written, regressions are reported."""

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from benchmarks import catalogue, page
from benchmarks.catalogue import Benchmark
from benchmarks.commands import bench as bench_command
from benchmarks.suite import Measured, each
from benchmarks.tests.e2e.test_bench import assert_nothing_left, bench
from tests.support.processes import until

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="benchmarks read /proc"),
    pytest.mark.timeout(180),
]
SHARE = "mint / text of plain counters"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """The current source of the page, with no report recorded."""
    to = tmp_path / "docs"
    to.mkdir()
    shutil.copy(Path(__file__).parents[3] / "docs" / "benchmarks.md", to)
    return to


def multiply_share(docs: Path, times: float) -> None:
    """Replace the recorded share with a multiple of it."""
    path = docs / "benchmarks" / "mint.json"
    report = json.loads(path.read_text())
    [share] = [one for one in report["results"] if one["name"] == SHARE]
    share["rate"] *= times
    path.write_text(json.dumps(report))


@pytest.mark.nightly
async def test_figures_are_recorded_and_compared_with(tmp_path: Path, docs: Path) -> None:
    before = (docs / "benchmarks.md").read_text()
    process = await bench(tmp_path, "all", "--only=mint", "--repetitions=1", f"--docs={docs}", "--json")
    out, err = await process.communicate()

    assert process.returncode == 0, err.decode()
    row = json.loads(out)
    assert (row["bench"], row["goals"], row["failed"]) == ("mint", 2, False)
    assert "mint, 1 of 1" in err.decode()
    report = json.loads((docs / "benchmarks" / "mint.json").read_text())
    assert set(report) == {"bench", "machine", "results", "goals"}
    assert (docs / "benchmarks" / "mint.svg").read_text().startswith("<svg")
    after = (docs / "benchmarks.md").read_text()
    assert f"| {SHARE} |" in after
    # The text after its region is unchanged.
    assert after.partition("<!-- /mint -->")[2] == before.partition("<!-- /mint -->")[2]

    words = ("check", "--only=mint", "--repetitions=1", f"--docs={docs}")
    # A goal that no machine can meet, and one that every machine can.
    for times, status in ((100.0, 1), (0.0001, 0)):
        multiply_share(docs, times)
        process = await bench(tmp_path, *words)
        out, err = await process.communicate()
        assert process.returncode == status, err.decode()
        assert SHARE in out.decode()
        assert (f"Fell by more than a fifth: mint: {SHARE}" in err.decode()) is bool(status)
    assert_nothing_left(tmp_path)


async def test_a_failed_one_is_named_and_the_others_go_on(capfd: pytest.CaptureFixture[str]) -> None:
    # Fewer codes than the command requires.
    failing, going = Benchmark("mint", ("--codes=1",)), Benchmark("mint", ("--codes=20000",))
    said: list[str] = []
    seen: Sequence[Measured] = [
        one async for one in each([failing, going], asyncio.Event(), said.append, short=True, repetitions=1)
    ]

    assert [one.report is None for one in seen] == [True, False]
    assert [one.split(" ", 2)[:2] for one in said if "failed" in one or "took" in one] == [
        ["mint", "failed"],
        ["mint", "took"],
    ]
    assert "--codes" in capfd.readouterr().err


def test_a_failed_one_ends_with_status_1_and_leaves_what_is_recorded(
    docs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # `codewell bench` has no command of this name.
    for module in (catalogue, page):
        monkeypatch.setattr(module, "BENCHMARKS", (Benchmark("missing"),))
    path = docs / "benchmarks.md"
    path.write_text(path.read_text() + "<!-- missing -->\nof before\n<!-- /missing -->\n")

    with pytest.raises(click.ClickException, match="Failed: missing"):
        bench_command(["all", f"--docs={docs}"], standalone_mode=False)
    assert "of before" in path.read_text()
    assert "No such command 'missing'" in capfd.readouterr().err


async def test_one_that_is_told_to_stop_stops_the_one_that_runs(tmp_path: Path, docs: Path) -> None:
    process = await bench(tmp_path, "all", "--only=generate", "--only=import", f"--docs={docs}")
    try:
        # Its Postgres starts.
        await until(lambda: any(tmp_path.glob("codewell-bench-*/home/logs/postgres.log")), "Postgres", timeout_s=60)
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = await process.communicate()

    assert process.returncode == 1
    # Both report the stop: no process was killed.
    assert "The benchmark was stopped before its end" in err.decode()
    assert "Stopped while generate was measured" in err.decode()
    assert not (docs / "benchmarks").exists()
    assert_nothing_left(tmp_path)
