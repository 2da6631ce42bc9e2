"""The console over HTTP: what it shows, its problems, and how it bears a database that goes away."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from codewell.access import tokens
from codewell.infra.postgres import watch
from codewell.infra.process.scratch import scratch_folder
from tests.support.database_proxy import door
from tests.support.running import until
from tests.support.sender_records import messages
from tests.support.serving import serving
from tests.support.site import Site


@asynccontextmanager
async def console(site: Site, **given: object) -> AsyncIterator[httpx.AsyncClient]:
    """A console that runs while the block runs, and a client of it that may do anything."""
    async with serving(site, **given) as base_url:
        _, secret = await tokens.create(site.database, f"t{urlsplit(base_url).port}", ["admin"])
        headers = {"Authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(base_url=base_url, headers=headers, trust_env=False) as client:
            yield client


async def test_stock_is_what_the_database_says(site: Site) -> None:
    await site.program("SPRING", 10, codes_max=100, pool_max=50)
    async with site.issuer():
        await site.publish(messages(3, "SPRING"))
        await site.came("message-render.reply", 3)
    async with console(site) as client:
        answer = await client.get("/api/v1/programs/SPRING/stock")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {
        "program": "SPRING",
        "made": 10,
        "imported": 0,
        "pooled": 7,
        "reserved": 0,
        "attached": 3,
        "activated": 0,
        "expired": 0,
        "deleted": 0,
        "on_order": 0,
        "codes_max": 100,
        "pool_max": 50,
    }


async def test_a_console_that_starts_removes_the_files_of_killed_ones(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder() as live:
        left = live.with_name(f"{live.name}-left")
        left.mkdir()
        (left / "file").write_bytes(b"codes")
        async with console(site):
            assert list(tmp_path.iterdir()) == [live]


async def test_health_readiness_and_metrics(site: Site) -> None:
    async with console(site) as client:
        health, metrics = await client.get("/healthz"), await client.get("/metrics")

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await until(ready, "console that is ready")
        document = await client.get("/openapi.json")
    assert (health.status_code, health.json()) == (200, {"healthy": True, "stuck": []})
    assert metrics.status_code == 200
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "python_info" in metrics.text
    assert document.json()["openapi"].startswith("3.1")
    assert "/api/v1/programs/{name}/stock" in document.json()["paths"]


async def test_headers_of_every_answer(site: Site) -> None:
    """Also of one that the application never sees."""
    async with console(site) as client:
        answers = [await client.get(path) for path in ("/healthz", "/openapi.json", "/api/v1/programs", "/nothing")]
        answers.append(await client.get("/api/v1/programs", headers={"Authorization": "none"}))
        answers.append(await client.get("/healthz", headers={"Large": "x" * 70_000}))
    assert [one.status_code for one in answers] == [200, 200, 200, 404, 401, 431]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers
    assert [one.headers.get("cache-control") for one in answers] == [
        None,
        None,
        "no-store",
        "no-store",
        "no-store",
        None,
    ]


ERRORS = [
    ("GET", "/api/v1/programs/NOBODY/stock", 404),
    ("GET", "/api/v1/programs/two%20words/stock", 422),
    ("GET", f"/api/v1/programs/{'A' * 65}/stock", 422),
    ("GET", "/api/v1/programs/%00/stock", 422),
    ("GET", "/api/v1/nothing", 404),
    ("POST", "/api/v1/programs/SPRING/stock", 405),
]


async def test_errors_are_problems(site: Site) -> None:
    async with console(site) as client:
        answers = [await client.request(method, path) for method, path, _ in ERRORS]
    assert [answer.status_code for answer in answers] == [status for _, _, status in ERRORS]
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    for answer in answers:
        problem = answer.json()
        assert problem.keys() >= {"type", "title", "status", "detail"}
        assert problem["status"] == answer.status_code
        assert problem["title"]
        assert problem["detail"]


async def test_i7_a_console_bears_a_database_that_goes_away_and_comes_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PROBE_INTERVAL_S", 0.1)
    await site.program("SPRING", 5)
    async with door(site.postgres_url) as way, console(site, postgres_url=way.url) as client:

        async def shows(path: str, status: int) -> bool:
            return (await client.get(path)).status_code == status

        await until(lambda: shows("/readyz", 200), "console that is ready")
        await way.shut()
        answer = await client.get("/api/v1/programs/SPRING/stock")
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert answer.json()["status"] == 503
        assert int(answer.headers["retry-after"]) > 0
        await until(lambda: shows("/readyz", 503), "console that is not ready")
        assert (await client.get("/readyz")).json()["waiting_for"].keys() == {"postgres"}
        assert await shows("/healthz", 200)
        await way.open()
        await until(lambda: shows("/readyz", 200), "console that is ready again")
        assert await shows("/api/v1/programs/SPRING/stock", 200)
