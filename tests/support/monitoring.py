"""Monitoring of a stack: the metrics endpoints of its workers, and a real Prometheus that scrapes them."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from services.standalone.child import Child
from services.standalone.ports import free_port
from tests.support.commands import Stack
from tests.support.debian import unpacked

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "codewell.rules.yaml"
BOARD = DEPLOY / "grafana" / "codewell.json"
READY_TIMEOUT_S = 30.0
_POLL_S = 0.1


def tool(name: str) -> Path | None:
    """A program of Debian's package of Prometheus; None where apt can't fetch it."""
    root = unpacked("prometheus")
    return None if root is None else root / "usr" / "bin" / name


def places(stack: Stack) -> dict[str, str]:
    """Host and port of each worker's metrics in a stack, by service."""
    found = {"console": stack.endpoints["api_url"].removeprefix("http://")}
    for service, log in (("issuer", "issuer-1.log"), ("generator", "generator.log")):
        lines = [json.loads(line) for line in (stack.home / "logs" / log).read_text().splitlines()]
        [port] = {line["port"] for line in lines if line["event"] == "health_served"}
        found[service] = f"127.0.0.1:{port}"
    return found


async def figures(place: str) -> dict[str, Metric]:
    """A worker's metrics from /metrics, by series name."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://{place}/metrics")
    families = text_string_to_metric_families(answer.text)
    return {one.name + ("_total" if one.type == "counter" else ""): one for one in families}


def board_queries() -> list[str]:
    """The dashboard's queries, with an interval and all deployments in place of Grafana's variables."""
    panels = json.loads(BOARD.read_text())["panels"]
    targets = [target for panel in panels for target in panel.get("targets", [])]
    queries = [target["expr"].replace("$__rate_interval", "30s") for target in targets]
    return [re.sub(r"\$(namespace|job|program)\b", ".*", query) for query in queries]


def selectors(query: str) -> Iterator[str]:
    """The series names in a query."""
    for found in re.finditer(r"(codewell_\w+)(\{[^}]*\})?", query):
        yield found[0]


class Prometheus:
    """A server that is queried over its HTTP API."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=f"{url}/api/v1", trust_env=False)

    async def ask(self, path: str, **given: str) -> Any:
        """The data of a successful response."""
        answer = await self._client.get(path, params=given)
        said = answer.json()
        assert said["status"] == "success", (given, said)
        assert not said.get("warnings"), (given, said)
        return said["data"]

    async def result(self, query: str) -> list[dict[str, Any]]:
        """The current series of a query, without those that are not a number."""
        found: list[dict[str, Any]] = (await self.ask("/query", query=query))["result"]
        return [one for one in found if one["value"][1] != "NaN"]

    async def is_ready(self, targets: int) -> None:
        """Wait until it has scraped all its targets."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            try:
                if len(await self.result("up == 1")) == targets:
                    return
            except (httpx.HTTPError, json.JSONDecodeError):
                pass
            assert time.monotonic() < deadline, "Prometheus has not all targets"
            await asyncio.sleep(_POLL_S)

    async def close(self) -> None:
        await self._client.aclose()


@asynccontextmanager
async def prometheus(directory: Path, program: Path, targets: Mapping[str, str]) -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes these addresses each half second and has the alert rules."""
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": "codewell", "static_configs": [{"targets": list(targets.values())}], "scrape_timeout": "400ms"}
        ],
    }
    (directory / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    words = [f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
             f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
    child = await Child.start("prometheus", [program, *words], log_path=directory / "prometheus.log", cwd=directory)
    server = Prometheus(f"http://127.0.0.1:{port}")
    try:
        await server.is_ready(len(targets))
        yield server
    finally:
        await server.close()
        await child.stop()
