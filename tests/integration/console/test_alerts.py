"""Alerts about programs: raised once while open, listed and cleared over HTTP, by command and on the pages."""

import json
from typing import Any

import httpx

from codewell.alerts.alerts import clear_alerts, open_by_kind, page, raise_alert
from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from codewell.pool.minter_cache import Minters
from services.generator.pool_metrics import ALERTS, update_pool_gauges
from tests.support.consoles import Consoles, is_problem
from tests.support.factories import program
from tests.support.open_alerts import is_open
from tests.support.pages import Reader, submit, words


async def test_an_open_alert_is_counted_and_a_cleared_one_opens_anew(connection: Connection, minters: Minters) -> None:
    spring = (await program(connection, minters)).id

    assert await raise_alert(connection, spring, "return-conflict", "r-1", {"other": "r-2"})
    assert not await raise_alert(connection, spring, "return-conflict", "r-1", {"other": "r-3"})
    assert await raise_alert(connection, spring, "return-conflict", "r-9")
    assert await raise_alert(connection, spring, "returns-stopped")
    assert await open_by_kind(connection) == {"return-conflict": 2, "returns-stopped": 1}
    await update_pool_gauges(connection)
    assert ALERTS.labels("return-conflict")._value.get() == 2

    assert await clear_alerts(connection, spring, "ana", "return-conflict", "r-1") == 1
    assert await clear_alerts(connection, spring, "ana", "return-conflict", "r-1") == 0
    assert not await is_open(connection, spring, "return-conflict", "r-1")
    [cleared] = await page(connection, spring, 10, cleared=True)
    assert (cleared.count, cleared.details, cleared.cleared_by) == (2, {"other": "r-3"}, "ana")
    assert await raise_alert(connection, spring, "return-conflict", "r-1")
    assert [one.key for one in await page(connection, spring, 10)] == ["r-1", "", "r-9"]


async def test_alerts_are_listed_page_by_page_and_cleared(
    consoles: Consoles, connection: Connection, minters: Minters
) -> None:
    spring = (await program(connection, minters, groups=("ours",))).id
    for number in range(3):
        await raise_alert(connection, spring, "return-conflict", f"r-{number}")
    reader = await consoles.client("read", groups=["ours"])
    writer = await consoles.client("write", groups=["ours"])
    stranger = await consoles.client("admin", groups=["theirs"])

    first = (await reader.get("/programs/SPRING/alerts", params={"limit": 2})).json()
    rest = (await reader.get("/programs/SPRING/alerts", params={"cursor": first["next_cursor"]})).json()

    assert [one["key"] for one in first["items"] + rest["items"]] == ["r-2", "r-1", "r-0"]
    assert rest["next_cursor"] is None
    assert (await reader.get("/overview")).json()["items"][0]["alerts"] == 3
    is_problem(await reader.get("/programs/SPRING/alerts", params={"cursor": "!"}), 422, reason="cursor_invalid")
    is_problem(await stranger.get("/programs/SPRING/alerts"), 404, reason="program_unknown")
    is_problem(await stranger.post("/programs/SPRING/alerts:clear", json={}), 404, reason="program_unknown")
    is_problem(await reader.post("/programs/SPRING/alerts:clear", json={}), 403, reason="scope_missing")
    is_problem(await writer.post("/programs/SPRING/alerts:clear", json={"kind": "?"}), 422, reason="field_invalid")

    assert (await writer.post("/programs/SPRING/alerts:clear", json={"key": "r-1"})).json() == {"cleared": 1}
    assert (await writer.post("/programs/SPRING/alerts:clear", json={})).json() == {"cleared": 2}
    assert (await writer.post("/programs/SPRING/alerts:clear", json={})).json() == {"cleared": 0}
    listed = (await reader.get("/programs/SPRING/alerts", params={"cleared": True})).json()["items"]
    assert [one["key"] for one in listed] == ["r-2", "r-1", "r-0"]
    entries = await audit_log.page(connection, 10, program="SPRING", verb="alert")
    assert [json.dumps(one.details) for one in entries] == ['{"cleared": 2}', '{"cleared": 1}']


async def test_alerts_of_all_visible_programs_are_listed_and_filtered(
    consoles: Consoles, connection: Connection, minters: Minters
) -> None:
    ours = (await program(connection, minters, groups=("ours",))).id
    theirs = (await program(connection, minters, "OTHER", groups=("theirs",))).id
    everybodys = (await program(connection, minters, "OPEN")).id
    await raise_alert(connection, ours, "return-conflict", "r-1")
    await raise_alert(connection, theirs, "returns-stopped")
    await raise_alert(connection, ours, "pool-below")
    await raise_alert(connection, everybodys, "pool-below")
    await raise_alert(connection, ours, "ends-within")
    await clear_alerts(connection, ours, "ana", "ends-within")
    admin = await consoles.client("admin")
    member = await consoles.client("read", groups=["ours"])

    async def listed(client: httpx.AsyncClient, **query: Any) -> list[tuple[str, str]]:
        """Program and kind of all pages."""
        found: list[tuple[str, str]] = []
        cursor: dict[str, str] = {}
        while True:
            answer = (await client.get("/alerts", params={"limit": 1, **cursor, **query})).json()
            found += [(one["program"], one["kind"]) for one in answer["items"]]
            if answer["next_cursor"] is None:
                return found
            cursor = {"cursor": answer["next_cursor"]}

    assert await listed(admin) == [
        ("OPEN", "pool-below"), ("SPRING", "pool-below"), ("OTHER", "returns-stopped"), ("SPRING", "return-conflict"),
    ]  # fmt: skip
    assert await listed(member) == [("SPRING", "pool-below"), ("SPRING", "return-conflict")]
    assert await listed(admin, kind="pool-below") == [("OPEN", "pool-below"), ("SPRING", "pool-below")]
    assert await listed(member, level="critical") == [("SPRING", "return-conflict")]
    assert await listed(admin, level="warning", kind="returns-stopped") == []
    assert await listed(admin, cleared=True) == [("SPRING", "ends-within")]
    assert await listed(await consoles.client("admin", groups=["theirs"]), cleared=True) == []
    is_problem(await admin.get("/alerts", params={"kind": "?"}), 422, reason="field_invalid")
    is_problem(await admin.get("/alerts", params={"cursor": "!"}), 422, reason="cursor_invalid")


async def test_the_page_alerts_shows_those_of_all_visible_programs_and_clears_one(
    consoles: Consoles, connection: Connection, minters: Minters
) -> None:
    spring = (await program(connection, minters, groups=("ours",))).id
    other = (await program(connection, minters, "OTHER", groups=("theirs",))).id
    for number in range(3):
        await raise_alert(connection, spring, "return-conflict", f"r-{number}", {"other": f"o-{number}"})
    await raise_alert(connection, other, "returns-stopped")
    browser = await consoles.browser("write", "read", groups=["ours"])
    reader = await consoles.browser("read")

    seen = await reader.get("/alerts")
    assert "Codes of failed sends wait until this alert is cleared." in words(seen)
    assert "/alerts/clear" not in seen.text
    assert words(await reader.get("/alerts?level=warning")).count("No open alerts") == 1
    seen = await browser.get("/alerts")
    shown = words(seen)
    assert "r-2" in shown
    assert "other: o-2" in shown
    assert "OTHER" not in shown
    assert 'href="/programs/SPRING#settings"' in seen.text
    newest, *_ = [one for one in Reader(seen.text).forms if one.action == "/alerts/clear"]
    done = await submit(browser, newest)
    assert (done.status_code, done.headers["location"]) == (303, "/alerts?did=cleared")
    assert "The alert is cleared." in words(await browser.get("/alerts?did=cleared"))
    assert [one.key for one in await page(connection, spring, 10)] == ["r-1", "r-0"]
    cleared = words(await browser.get("/alerts?cleared=true"))
    assert "r-2" in cleared
    assert "r-1" not in cleared
    assert (await browser.get("/alerts?kind=nothing")).status_code == 422
    stranger = await browser.post("/alerts/clear", data={"program": "OTHER", "kind": "returns-stopped", "about": ""})
    assert stranger.status_code == 404
    assert await is_open(connection, other, "returns-stopped")


async def test_the_pages_show_open_alerts_and_clear_one(
    consoles: Consoles, connection: Connection, minters: Minters
) -> None:
    spring = (await program(connection, minters)).id
    await raise_alert(connection, spring, "returns-stopped", details={"returned": 7})
    browser = await consoles.browser("write", "read")

    assert "1 alert" in (await browser.get("/programs")).text
    shown = (await browser.get("/programs/SPRING")).text
    assert "Codes no longer come back" in shown
    assert "returned 7" in shown
    done = await browser.post("/programs/SPRING/clear-alert", data={"kind": "returns-stopped", "key": ""})
    assert done.status_code == 303
    assert not await is_open(connection, spring, "returns-stopped")
    assert "Codes no longer come back" not in (await browser.get("/programs/SPRING")).text


async def test_the_pages_say_the_figures_of_alerts_in_words(
    consoles: Consoles, connection: Connection, minters: Minters
) -> None:
    spring = (await program(connection, minters)).id
    at = "2026-12-01T04:14:19.408054+00:00"
    figures = {"runs_out_at": at, "cause": "stock", "pooled": 75_000}
    await raise_alert(connection, spring, "runs-out-within", details=figures)
    await raise_alert(
        connection, spring, "refusals", details={"refused": 1_200, "requests": 4_000, "pool_empty": 1_200}
    )
    browser = await consoles.browser("read")
    for path in ("/alerts", "/programs/SPRING"):
        seen = await browser.get(path)
        shown = words(seen)
        assert f'<time datetime="{at}"' in seen.text
        assert "cause: No more codes are made by themselves: generate or import some before." in shown
        assert "in the pool 75,000" in shown
        assert "refused 1,200 · requests 4,000 · The pool was empty 1,200" in shown
        assert "runs_out_at" not in shown
