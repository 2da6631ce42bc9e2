"""What the streams of pages send, and to whom."""

import asyncio
from typing import Any

import httpx
import pytest

from codewell.infra.postgres.connection import Connection
from services.console.pages.live import sampler as sampler_module
from tests.support.consoles import Consoles, settings


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    # A page too many gets one message; so a client that reads whole answers gets one too.
    monkeypatch.setattr("services.console.pages.live.stream.STREAMS_MAX", 0)
    monkeypatch.setattr(sampler_module, "INTERVAL_S", 0.02)


async def made(consoles: Consoles, name: str, **changed: Any) -> int:
    admin = await consoles.client("admin")
    found: int = (await admin.post("/programs", json=settings(name, **changed))).json()["id"]
    await admin.post(f"/programs/{name}/codes:generate", json={"count": 7})
    return found


async def streamed(client: httpx.AsyncClient, **query: Any) -> str:
    async with asyncio.timeout(5):
        answer = await client.get("/live", params=query)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return answer.text


async def test_a_list_gets_the_figures_of_its_programs(consoles: Consoles) -> None:
    spring, summer = await made(consoles, "SPRING"), await made(consoles, "SUMMER")
    client = await consoles.browser("read")

    text = await streamed(client, program=["SPRING"])
    for part in ("pool", "today", "refused"):
        assert f'hx-target="#live-{part}-{spring}"' in text
    assert "7 of" in text
    assert f"-{summer}" not in text


async def test_the_page_of_one_program_gets_its_stock(consoles: Consoles) -> None:
    spring = await made(consoles, "SPRING")
    async with consoles.owners.acquire() as connection:
        await connection.execute(
            "INSERT INTO pool_level SELECT id, now() - interval '10 minutes', 5 FROM program WHERE name = 'SPRING'"
        )
    reader = await consoles.browser("read")
    before = await reader.get("/programs/SPRING")
    async with consoles.owners.acquire() as connection:
        await connection.executemany(
            "INSERT INTO usage_minute (program_id, minute, outcome, source, number) "
            "SELECT id, date_trunc('minute', now()) - interval '2 minutes', $1, 'campaign', $2 FROM program",
            [("attached", 600), ("pool_empty", 33)],
        )
    text = await streamed(reader, program=["SPRING"], stock="true")
    page = (await reader.get("/programs/SPRING")).text
    for part in ("ready", "equation", "stock_facts", "rates", "refusals", "point_rows", "level_rows"):
        assert f'hx-target="#live-{part}-{spring}"' in text, part
        assert f'id="live-{part}-{spring}"' in page, part
    for figure in ("<strong>2.0</strong>", "The pool was empty", 'data-value="600"', 'data-value="5"'):
        assert figure in text, figure
        assert figure in page, figure
    assert "The pool was empty" not in before.text
    # A list that is open beside it gets its own parts.
    assert f"live-pool-{spring}" in await streamed(reader, program=["SPRING"])
    assert 'hx-sse:connect="/live?stock=true&amp;program=SPRING"' in page


async def test_nothing_is_sent_of_another_groups_program(
    consoles: Consoles, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = await made(consoles, "MINE", groups=["mine"])
    theirs = await made(consoles, "THEIRS", groups=["theirs"])
    client = await consoles.browser("read", groups=["mine"])

    text = await streamed(client, program=["MINE", "THEIRS", "NOWHERE"])
    assert f"live-pool-{mine}" in text
    assert f"-{theirs}" not in text


async def test_a_page_of_programs_holds_the_parts_that_its_stream_sends(consoles: Consoles) -> None:
    spring = await made(consoles, "SPRING")
    client = await consoles.browser("read")
    page = (await client.get("/programs")).text
    assert 'hx-sse:connect="/live?program=SPRING"' in page
    for part in ("pool", "today", "refused"):
        assert f'id="live-{part}-{spring}"' in page


async def test_operations_are_streamed_to_admins_only(consoles: Consoles) -> None:
    text = await streamed(await consoles.browser("admin"), operations="true")
    for part in ("age", "servers", "rates", "workers", "lag"):
        assert f'hx-target="#live-{part}"' in text
    refused = await (await consoles.browser("read")).get("/live", params={"operations": "true"})
    assert refused.status_code == 403
    anonymous = await (await consoles.anonymous_browser()).get("/live")
    assert anonymous.status_code == 303
