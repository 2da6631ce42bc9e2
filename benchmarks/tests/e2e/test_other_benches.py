"""The benchmarks that `make verify` leaves out, at sizes that measure nothing: they end and report figures."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.tests.e2e.test_bench import assert_nothing_left, bench, ends_when_interrupted, report_of

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(sys.platform != "linux", reason="benchmarks read /proc"),
    pytest.mark.timeout(180),
]


async def test_mixed_measures_many_programs_and_one(tmp_path: Path) -> None:
    rates, goals = await report_of(tmp_path, "mixed", "--requests=1000", "--programs=50")

    assert rates["mixed / hot"] == pytest.approx(rates["50 programs"] / rates["one hot program"], rel=0.01)
    assert goals == ["share of the one hot program"]


async def test_grown_measures_each_size_and_random_ids_and_its_databases_pass_the_audit(tmp_path: Path) -> None:
    sizes = ("--attached=3000", "--attached=5000", "--random=2000", "--no-reuse")
    rates, goals = await report_of(tmp_path, "grown", "--requests=400", *sizes, "--audit")

    labels = ["3,000 attached", "2,000 attached, ids of version 4", "5,000 attached"]
    assert min(rates[name] for label in labels for name in (label, f"{label} / empty")) > 0
    assert goals == [f"share of an empty database, {size} attached" for size in ("3,000", "5,000")]


async def test_retention_measures_each_way_and_issuing_beside_it(tmp_path: Path) -> None:
    rates, goals = await report_of(tmp_path, "retention", "--answers=60000", "--requests=400", "--there=30000")

    for label in ("", ", 30,000 stay"):
        for name in ("codewell", "issuing without it", "issuing beside it / without"):
            assert rates[name + label] > 0
        # So few requests may be answered before a second batch has left.
        assert rates[f"beside an issuer{label}"] >= 0
    bare = rates["codewell without rest"] / rates["DELETE alone"]
    assert rates["codewell without rest / DELETE alone"] == pytest.approx(bare, rel=0.01)
    assert 0 < rates["left behind by a million answers, at most"] < rates["disk of a million answers"]
    goal = "answers a second", "share of issuing that is left"
    assert goals == [*goal, *(f"{one}, 30,000 stay" for one in goal)]


async def test_scale_measures_each_number_of_issuers_and_counts_what_holds_them_up(tmp_path: Path) -> None:
    rates, goals = await report_of(tmp_path, "scale", "--requests=800", "--issuers=1", "--issuers=3")

    assert min(rates["1 issuer"], rates["3 issuers"]) > 0
    assert rates["deadlocks"] == 0
    assert goals == ["least share of what fewer issuers reach at best", "deadlocks", "waits for a lock over 1 s"]


async def test_latency_measures_the_product_and_an_echo(tmp_path: Path) -> None:
    rates, goals = await report_of(tmp_path, "latency", "--rate=100", "--rate=1000", "--seconds=1", "--warm-up=1")

    for name in ("codewell at 100/s", "Kafka echo at 1,000/s"):
        assert 0 < rates[f"{name}, p50"] <= rates[f"{name}, p99"]
        assert f"{name}, requests late, p99" in rates
    assert rates["at 100/s, p50 / Kafka echo"] == pytest.approx(
        rates["codewell at 100/s, p50"] / rates["Kafka echo at 100/s, p50"], rel=0.01
    )
    assert goals == ["times the Kafka echo at 1,000/s, p50", "times the Kafka echo at 1,000/s, p99"]


async def test_replay_compares_every_answer(tmp_path: Path) -> None:
    rates, goals = await report_of(tmp_path, "replay", "--requests=800")

    assert rates["again / first run"] == pytest.approx(rates["again"] / rates["first run"], rel=0.01)
    assert rates["answers compared"] == 840
    assert goals == ["share of the first run"]


async def test_receipts_measures_all_three(tmp_path: Path) -> None:
    rates, goals = await report_of(tmp_path, "receipts", "--receipts=1000")

    assert rates["codewell / no database"] == pytest.approx(rates["codewell"] / rates["no database"], rel=0.01)
    assert rates["one transaction a receipt"] > 0
    assert goals == ["receipts a second"]


async def test_export_measures_all_three(tmp_path: Path) -> None:
    process = await bench(tmp_path, "export", "--codes=5000", "--repetitions=1", "--json")
    out, err = await process.communicate()

    assert process.returncode == 0, err.decode()
    rates = {result["name"]: result["rate"] for result in json.loads(out)["results"]}
    assert min(rates.values()) > 0
    assert rates["peak memory, 5,000 codes"] > 10
    assert_nothing_left(tmp_path)


async def test_import_measures_files_and_rows(tmp_path: Path) -> None:
    process = await bench(tmp_path, "import", "--rows=2000", "--memory-rows=3000", "--repetitions=1", "--json")
    out, err = await process.communicate()

    assert process.returncode == 0, err.decode()
    rates = {result["name"]: result["rate"] for result in json.loads(out)["results"]}
    assert min(rates[name] for name in ("CSV", "XLSX", "usual build", "bare COPY")) > 0
    assert rates["peak memory with 3,000 rows of CSV"] > 10
    assert_nothing_left(tmp_path)


async def test_till_measures_uses_and_pairs_beside_its_peer_and_its_ceiling(tmp_path: Path) -> None:
    rates, goals = await report_of(tmp_path, "till", "--requests=400")

    for measured in ("activate with an order", "hold, then activate"):
        assert min(rates[measured], rates[f"{measured} / usual build"]) > 0
        assert rates[f"{measured} / nothing but SELECT 1"] > 0
    assert len(goals) == 4


async def test_browse_asks_for_a_page_by_each_filter(tmp_path: Path) -> None:
    rates, goals = await report_of(tmp_path, "browse", "--codes=20000", "--attached=10000")

    assert len(goals) == 8
    assert min(rates["usual build: first page, attached"], rates["nothing but SELECT 1"]) > 0


async def test_console_shows_every_page_and_loads_the_api_beside_watched_ones(tmp_path: Path) -> None:
    sizes = ("--codes=20000", "--attached=10000", "--pages=2", "--requests=200")
    rates, goals = await report_of(tmp_path, "console", *sizes)

    assert rates["/programs, 95th percentile"] > 0
    assert rates["/programs/{name}, 95th percentile"] > 0
    assert "/programs/{name}/export, 95th percentile" in rates
    assert goals == [
        "ms at the 95th percentile, slowest page",
        "share of attach a second, 20 pages watched",
        "share of activate a second, 20 pages watched",
    ]


async def test_fill_measures_one_generator_and_four(tmp_path: Path) -> None:
    rates, goals = await report_of(tmp_path, "fill", "--pools=40")

    assert min(rates["1 generator"], rates["4 generators"], rates["pools/s of 4 / of 1"]) > 0
    assert goals == [
        "seconds for 40 pools, 1 generator",
        "seconds for 40 pools, 4 generators",
    ]


async def test_remote_measures_the_service_with_codewell_and_without(tmp_path: Path) -> None:
    rates, goals = await report_of(tmp_path, "remote", "--codes=800", "--request-max=50")

    # A real service answers: no client is faster than its delay of 50 ms.
    assert 0 < rates["codewell"] <= rates["the limit of 8 side by side"] == 8_000
    assert 0 < rates["one request at a time"] <= 1_000
    assert goals == ["share of the limit"]


async def test_processes_measures_a_stack_from_start_to_start(tmp_path: Path) -> None:
    process = await bench(tmp_path, "processes", "--requests=400", "--repetitions=1", "--json")
    out, err = await process.communicate()

    assert process.returncode == 0, err.decode()
    report = json.loads(out)
    rates = {result["name"]: result["rate"] for result in report["results"]}
    assert min(rates["start, no data"], rates["start, with data"]) > 0.1
    assert {f"CPU of {name} for a million requests" for name in ("issuer", "generator", "postgres", "kafka")} < set(
        rates
    )
    assert {goal["name"] for goal in report["goals"] if goal["value"] > 10 and "MB" in goal["name"]} == {
        f"MB of peak memory of the {name}" for name in ("issuer", "generator", "console")
    }
    assert len(report["goals"]) == 5
    assert_nothing_left(tmp_path)


async def test_a_whole_stack_goes_with_a_benchmark_that_is_interrupted(tmp_path: Path) -> None:
    await ends_when_interrupted(tmp_path, "home/endpoints.json", "processes", "--requests=400")


async def test_lifecycle_measures_what_the_stream_costs_and_how_far_it_is_behind(tmp_path: Path) -> None:
    rates, goals = await report_of(tmp_path, "lifecycle", "--requests=800")

    assert min(rates["without the stream"], rates["beside the stream"], rates["a backlog"]) > 0
    assert goals == [
        "share more of postgres' and the issuer's CPU", "seconds behind at the end", "MB of the worker's peak memory",
    ]  # fmt: skip
