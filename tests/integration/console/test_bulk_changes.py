"""Changes of many codes over HTTP and on the pages, with the rights of the console's role."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from codewell.audit.promises import audit
from codewell.codes import bulk_apply
from codewell.infra.postgres.connection import Connection
from tests.support.consoles import Consoles, create_console, is_problem, settings

PATH = "/programs/SPRING/codes:change"
LATER = "2090-01-01T00:00:00Z"


@pytest.fixture
async def writer(consoles: Consoles) -> httpx.AsyncClient:
    client = await consoles.client("read", "write")
    await client.post("/programs", json=settings(groups=["ours"]))
    await client.post("/programs/SPRING/codes:generate", json={"count": 10})
    await client.post("/programs/SPRING/codes:attach", json={"profile_id": "p-1"})
    return client


async def carried_out(consoles: Consoles) -> None:
    await consoles.api.state.context.bulk_changer.process_pending()


async def test_counts_then_a_change_then_its_undo(
    consoles: Consoles, connection: Connection, writer: httpx.AsyncClient
) -> None:
    body: dict[str, Any] = {"filter": {"state": "pooled"}, "void": True}
    counted = await writer.post(PATH, json={**body, "dry_run": True})
    assert (counted.status_code, counted.json()) == (
        200, {"pooled": 9, "expired": 0, "attached": 0, "exact": True},
    )  # fmt: skip
    begun = await writer.post(PATH, json=body, headers={"Idempotency-Key": "k"})
    assert begun.status_code == 202, begun.text
    assert (await writer.post(PATH, json=body, headers={"Idempotency-Key": "k"})).json() == begun.json()
    change = f"/changes/{begun.json()['id']}"
    is_problem(await writer.post(PATH, json=body), 409, reason="change_busy")
    await carried_out(consoles)
    done = (await writer.get(change)).json()
    assert (done["state"], done["changed"], done["done"], done["total"]) == ("done", 9, 9, 9)
    assert [one["id"] for one in (await writer.get("/programs/SPRING/changes")).json()["items"]] == [done["id"]]
    assert (await writer.get(f"{change}/codes.csv")).text.splitlines()[1].split(",")[:3] == ["0:1:0*", "9", "changed"]
    is_problem(await writer.post(PATH, json=body), 409, reason="filter_finds_nothing")
    is_problem(await writer.post(f"{change}:stop"), 409, reason="change_ended")

    undoing = (await writer.post(f"{change}:undo")).json()
    assert undoing["state"] == "undoing"
    assert (await writer.post(f"{change}:undo")).json() == undoing
    await carried_out(consoles)
    undone = (await writer.get(change)).json()
    assert (undone["state"], undone["restored"]) == ("undone", 9)
    assert (await writer.post(f"{change}:undo")).json() == undone
    assert (await writer.get("/programs/SPRING/stock")).json()["pooled"] == 9
    assert await audit(connection) == []


@pytest.mark.parametrize(
    "body",
    [
        {"filter": {}},
        {"filter": {}, "void": True, "expires_at": LATER},
        {"filter": {}, "void": False},
        {"filter": {"state": "activated"}, "void": True},
        {"filter": {"batch": "1-0-5"}, "void": True},
        {"void": True},
    ],
)
async def test_what_is_no_change(writer: httpx.AsyncClient, body: dict[str, Any]) -> None:
    is_problem(await writer.post(PATH, json=body), 422, reason="field_invalid")


async def test_refusals(consoles: Consoles, writer: httpx.AsyncClient) -> None:
    is_problem(await writer.post(PATH, json={"filter": {}, "expires_at": "2020-01-01"}), 409, reason="expiry_passed")
    begun = (await writer.post(PATH, json={"filter": {}, "expires_at": LATER})).json()
    stranger = await consoles.client("admin", groups=["theirs"])
    is_problem(await stranger.post(PATH, json={"filter": {}, "void": True}), 404, reason="program_unknown")
    for method, path in (("GET", ""), ("GET", "/codes.csv"), ("POST", ":stop"), ("POST", ":undo")):
        is_problem(await stranger.request(method, f"/changes/{begun['id']}{path}"), 404, reason="change_unknown")
    is_problem(await writer.post(f"/changes/{uuid4()}:undo"), 404, reason="change_unknown")


async def test_two_consoles_do_each_chunk_once(
    consoles: Consoles, connection: Connection, writer: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_apply, "CODES_MAX", 1)
    for n in range(8):
        await writer.post("/programs/SPRING/codes:attach", json={"profile_id": f"q-{n}"})
    await writer.post(PATH, json={"filter": {}, "void": True})
    other = create_console(consoles.pool).state.context.bulk_changer

    async def both() -> None:
        while (await writer.get("/programs/SPRING/changes")).json()["items"][0]["state"] == "running":
            await asyncio.gather(carried_out(consoles), other.process_pending())

    await both()
    assert (await writer.get("/programs/SPRING/stock")).json()["deleted"] == 10
    assert await audit(connection) == []


async def test_pages_count_first_and_ask_for_the_name(consoles: Consoles, writer: httpx.AsyncClient) -> None:
    browser = await consoles.browser("read", "write")
    base = "/programs/SPRING"
    assert f"{base}/change-all?state=pooled" in (await browser.get(f"{base}/codes?state=pooled")).text
    asked = await browser.get(f"{base}/change-all?state=pooled")
    assert "Change all that match" in asked.text
    assert "pooled" in asked.text
    form = {"key": str(uuid4()), "state": "pooled"}
    untyped = await browser.post(f"{base}/change-all/void", data={**form, "typed": "no"})
    assert (untyped.status_code, "type SPRING" in untyped.text) == (422, True)
    past = await browser.post(f"{base}/change-all/extend", data={**form, "expires_at": "2020-01-01"})
    assert 'value="2020-01-01"' in past.text
    assert (past.status_code, "is past" in past.text) == (422, True)
    begun = await browser.post(f"{base}/change-all/void", data={**form, "key": str(uuid4()), "typed": "SPRING"})
    busy = await browser.post(f"{base}/change-all/void", data={**form, "key": str(uuid4()), "typed": "SPRING"})
    assert "Another change of many codes" in busy.text
    assert ('id="typed-error"' in busy.text, 'id="expires_at-error"' in busy.text) == (True, False)
    page = begun.headers["location"]
    assert "You may leave this page" in (await browser.get(page)).text
    await carried_out(consoles)
    done = (await browser.get(page)).text
    assert "The change is done" in done
    assert page in (await browser.get(f"{base}/changes")).text
    refused = await browser.post(f"{page}/stop", data={"key": str(uuid4())})
    assert (refused.status_code, "only a running one" in refused.text) == (409, True)
    assert (await browser.post(f"{page}/undo", data={"key": str(uuid4())})).status_code == 303
    await carried_out(consoles)
    assert "The change is undone" in (await browser.get(page)).text
    assert (await browser.get(f"{page}/codes.csv")).status_code == 200
    assert (await browser.get(f"{base}/change-all?state=activated")).status_code == 422
    assert (await (await consoles.browser("read")).get(f"{base}/change-all")).status_code == 403


async def test_histories_say_what_a_change_did(consoles: Consoles, writer: httpx.AsyncClient) -> None:
    async def events(place: str) -> list[tuple[str, str | None, str | None]]:
        history = (await writer.get(f"/programs/SPRING/places/{place}/history")).json()
        return [(one["event"], one["by"], one["expires_at"]) for one in history["events"]]

    begun = (await writer.post(PATH, json={"filter": {}, "expires_at": LATER})).json()
    await carried_out(consoles)
    # The first code is attached; those behind it have their block's expiry.
    assert [await events(f"0:1:{number}") for number in (0, 5)] == [
        [("made", None, None), ("attached", None, None), ("changed", begun["by"], LATER)],
        [("made", None, None), ("changed", begun["by"], LATER)],
    ]
    await writer.post(f"/changes/{begun['id']}:undo")
    await carried_out(consoles)
    for number in (0, 5):
        assert (await events(f"0:1:{number}"))[-1] == ("changed", begun["by"], None)
    await writer.post(PATH, json={"filter": {"state": "pooled"}, "void": True})
    await carried_out(consoles)
    assert (await events("0:1:5"))[-1] == ("deleted", None, None)
    await writer.post("/programs/SPRING/codes:generate", json={"count": 1})
    assert [kind for kind, _, _ in await events("0:1:10")] == ["made"]
