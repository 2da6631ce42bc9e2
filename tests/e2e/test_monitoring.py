"""The figures of real workers: as they are documented, and as the board and the alerts ask for them."""

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import pytest_asyncio
from ruamel.yaml import YAML

from services.generator.pool_metrics import PROGRAMS_MAX
from tests.e2e.test_remote_service import example, secrets_of
from tests.support.commands import Stack, running_stack
from tests.support.monitoring import RULES, board_queries, figures, places, prometheus, selectors, tool
from tests.support.running import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform != "linux", reason="a stack that is left behind ends with the test on Linux only"),
]

DATA_TIMEOUT_S = 60.0
RUNS_OUT = "codewell_program_runs_out_seconds"
PAGE = Path(__file__).parents[2] / "docs" / "operations" / "monitor.md"
_ROW = re.compile(r"^\| `(codewell_\w+)` \| (\w+) \|([^|]*)\| ([^|]+) \|", re.MULTILINE)
WORKERS = ("issuer", "generator", "console")
CREATE = ("--template", "{string 4}-{number 4}-{upstring 4}", "--pool-max", "500", "--codes-max")


class Documented(NamedTuple):
    """A row of the table of metrics."""

    kind: str
    labels: frozenset[str]
    told_by: frozenset[str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack in which each kind of thing that is counted has happened."""
    home = tmp_path_factory.mktemp("stack") / "home"
    variables = {"CODEWELL_SWEEP_INTERVAL_S": "0.5", "CODEWELL_REMOTE_ALLOW": "127.0.0.0/8",
                 "CODEWELL_MISSES_PER_MINUTE": "100000"}  # fmt: skip
    async with running_stack(home, **variables) as running:
        (await running.run("program", "create", "SPRING", *CREATE, "1000000", "--campaign-can-create")).is_done()
        nowhere = ("--remote-url", "http://127.0.0.1:1/", "--codes-max", "10000", "--pool-max", "20",
                   "--campaign-can-create")  # fmt: skip
        (await running.run("program", "create", "REMOTE", *nowhere)).is_done()
        async with example(*await secrets_of(running, "REMOTE")) as url:
            (await running.run("program", "update", "REMOTE", "--remote-url", url)).is_done()
            send = ("send", "message-render", "p-1", "--program", "REMOTE", "--timeout", "50")
            (await running.run(*send)).is_done()
            await work(running, "p-1")
            yield running


async def work(stack: Stack, profile_id: str) -> None:
    """A little of what a stack does all day."""
    (await stack.run("send", "message-render", profile_id, "--program", "SPRING")).is_done()
    (await stack.run("code", "generate", "REMOTE", "1")).is_done()
    headers = {"Authorization": f"Bearer {stack.endpoints['admin_token']}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers, base_url=stack.endpoints["api_url"]) as client:
        attached = await client.post("/api/v1/programs/SPRING/codes:attach", json={"profile_id": profile_id})
        assert attached.status_code == 200
        used = {"code": attached.json()["code"]}
        assert (await client.post("/api/v1/programs/SPRING/codes:activate", json=used)).status_code == 200
        tiered = {"name": "TIERED", "source": {"kind": "import"}, "codes_max": 10, "fallback": [{"program": "SPRING"}]}
        assert (await client.post("/api/v1/programs", json=tiered)).status_code in {201, 409}
        fallen = await client.post("/api/v1/programs/TIERED/codes:attach", json={"profile_id": profile_id})
        assert fallen.json()["from"] == "SPRING"
        assert (await client.get("/api/v1/programs/SPRING/codes/none")).status_code == 404
        assert (await client.request("PROPFIND", "/made-up")).status_code == 404


def documented() -> dict[str, Documented]:
    found = {}
    for name, kind, labels, told_by in _ROW.findall(PAGE.read_text()):
        workers = WORKERS if told_by == "all" else told_by.split(", ")
        found[name] = Documented(kind, frozenset(re.findall(r"`(\w+)`", labels)), frozenset(workers))
    return found


async def test_the_figures_are_those_that_are_documented(stack: Stack) -> None:
    console = places(stack)["console"]

    async def is_reported() -> bool:
        return bool((await figures(console))["codewell_fallbacks_total"].samples)

    await until(is_reported, "report of a fallback")
    told: dict[str, Documented] = {}
    for service, place in places(stack).items():
        for name, metric in (await figures(place)).items():
            if not name.startswith("codewell_"):
                continue
            labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
            before = told.get(name, Documented(metric.type, frozenset(), frozenset()))
            told[name] = Documented(metric.type, before.labels | labels, before.told_by | {service})
    # A program is told only once it may run out, and this stack has no life-cycle worker.
    told[RUNS_OUT] = told[RUNS_OUT]._replace(labels=frozenset({"program"}))
    assert told == {name: one for name, one in documented().items() if one.told_by != {"lifecycle"}}


async def test_what_people_make_up_is_no_label(stack: Stack) -> None:
    console = await figures(places(stack)["console"])
    asked = {tuple(sample.labels.values()): sample.value for sample in console["codewell_http_requests_total"].samples}
    assert asked["GET", "/programs/{name}/codes/{code:path}", "404"] >= 1
    assert asked["POST", "/programs/{name}/codes:attach", "200"] >= 1
    assert asked["other", "none", "404"] >= 1
    assert not [labels for labels in asked if "SPRING" in "".join(labels)]


async def test_the_board_and_the_alerts_ask_for_what_there_is(stack: Stack, tmp_path: Path) -> None:
    rules = [rule for group in YAML(typ="safe").load(RULES)["groups"] for rule in group["rules"]]
    targets = places(stack)
    names = {name for place in targets.values() for name in await figures(place)}
    queries = [*board_queries(), *(rule["expr"] for rule in rules)]
    asked = {re.sub(r"(_bucket)?(\{.*)?$", "", one) for query in queries for one in selectors(query)}
    # This stack has no life-cycle worker.
    untold = {name for name, one in documented().items() if one.told_by == {"lifecycle"}}
    assert asked - untold <= names
    program = tool("prometheus")
    if program is None:
        return
    async with prometheus(tmp_path, program, targets) as server:
        # Fires only when something is wrong: then there is data; now there is, for each series that it is about.
        series = {one.replace("5..", "...") for rule in rules for one in selectors(rule["expr"])}
        without = {one for one in (*board_queries(), *series) if not any(name in one for name in untold)}
        deadline = time.monotonic() + DATA_TIMEOUT_S
        while without := {query for query in without if not await server.result(query)}:
            assert time.monotonic() < deadline, without
            await work(stack, "p-2")
        for rule in rules:
            await server.result(rule["expr"])
        known = [rule for group in (await server.ask("/rules"))["groups"] for rule in group["rules"]]
        assert [(rule["name"], rule["health"]) for rule in known] == [(rule["alert"], "ok") for rule in rules]
        firing = {rule["name"] for rule in known if rule["state"] == "firing"}
        assert firing <= {"CodewellDeadLetters"}


async def test_pools_that_are_gone_are_told_of_no_more(stack: Stack) -> None:
    place = places(stack)["generator"]
    (await stack.run("program", "create", "BRIEF", *CREATE, "1000", "--campaign-can-create")).is_done()

    async def pools() -> dict[str, float]:
        samples = (await figures(place))["codewell_pool_codes"].samples
        return {sample.labels["program"]: sample.value for sample in samples}

    deadline = time.monotonic() + 20
    while (await pools()).get("BRIEF") != 500:
        assert time.monotonic() < deadline, await pools()
        await asyncio.sleep(0.1)
    (await stack.run("program", "remove", "BRIEF", "--yes")).is_done()
    while "BRIEF" in await pools():
        assert time.monotonic() < deadline, await pools()
        await asyncio.sleep(0.1)
    assert len(await pools()) <= PROGRAMS_MAX + 1
