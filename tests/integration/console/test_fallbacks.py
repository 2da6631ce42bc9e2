"""Fallbacks over HTTP and on the pages: set, refused, used and counted."""

import re

import pytest

from codewell.alerts.fallback_use import FALLBACKS, note_fallbacks
from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection, pool
from codewell.infra.telemetry.health import Health
from codewell.usage.reporter import Reporter
from codewell.usage.tally import UsageTally
from codewell.usage.usage_key import UsageKey
from tests.support.consoles import Consoles, is_problem, settings
from tests.support.page_forms import form_of
from tests.support.servers import as_role

FIXED = settings(
    "FIXED", source={"kind": "template", "template": "FOR-ALL"}, shared=True, codes_max=1, groups=["a", "b"],
    campaign_can_create=True,
)  # fmt: skip
del FIXED["allow_guessable"]
LINK = [{"program": "FIXED"}]


async def test_a_person_gets_a_code_of_the_fallback(consoles: Consoles, connection: Connection) -> None:
    client = await consoles.client("admin")
    assert (await client.post("/programs", json=FIXED)).status_code == 201
    assert (await client.post("/programs/FIXED/codes:generate", json={"count": 1})).status_code == 201
    made = await client.post("/programs", json=settings(fallback=LINK, groups=["a"]))
    assert made.json()["fallback"] == LINK
    assert made.json()["fallback_on"] == ["pool_empty", "maximum_reached", "remote_failed"]
    body, key = {"profile_id": "p-1"}, {"Idempotency-Key": "once"}
    first = await client.post("/programs/SPRING/codes:attach", json=body, headers=key)
    again = await client.post("/programs/SPRING/codes:attach", json=body, headers=key)
    assert first.status_code == 200, first.text
    assert first.content == again.content
    told = first.json()
    assert (told["program"], told["code"], told["from"], told["fallback"]) == ("SPRING", "FOR-ALL", "FIXED", 1)
    own = await client.post("/programs/FIXED/codes:attach", json=body)
    assert (own.json()["from"], own.json()["fallback"]) == (None, None)
    is_problem(await client.post("/programs/SPRING/codes:detach", json={"code": "FOR-ALL"}), 404, reason="code_unknown")
    assert await audit(connection) == []


async def test_a_history_names_no_asked_program_of_another_group(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    stock = settings("STOCK", source={"kind": "import"}, groups=["a", "b"])
    for given in (stock, settings(fallback=[{"program": "STOCK"}], groups=["a"])):
        assert (await client.post("/programs", json=given)).status_code == 201
    by_hand = {"profile_id": "p-0", "code": "BY-HAND-0001"}
    assert (await client.post("/programs/STOCK/codes:attach", json=by_hand)).status_code == 200
    assert (await client.post("/programs/STOCK/codes:detach", json={"code": by_hand["code"]})).status_code == 200
    told = (await client.post("/programs/SPRING/codes:attach", json={"profile_id": "p-1"})).json()
    assert (told["code"], told["from"]) == (by_hand["code"], "STOCK")
    for groups, asked in ((["a"], "SPRING"), (["b"], None), ((), "SPRING")):
        reader = await consoles.client("read", groups=groups)
        history = (await reader.get(f"/programs/STOCK/history/{by_hand['code']}")).json()
        assert [event["asked"] for event in history["events"] if event["link"] is not None] == [asked], history
        browser = await consoles.browser("read", groups=groups)
        page = await browser.get(f"/programs/STOCK/code/{history['code']['place']}")
        assert f"as fallback 1 of {asked or 'another program'}" in page.text


@pytest.mark.parametrize("way", ["fallback", "groups", "remove"])
async def test_another_groups_program_is_none(consoles: Consoles, way: str) -> None:
    admin = await consoles.client("admin")
    for given in (FIXED, settings("OTHER", groups=["b"]), settings(groups=["a"], fallback=LINK)):
        assert (await admin.post("/programs", json=given)).status_code == 201
    theirs = await consoles.client("write", groups=["a"])
    if way == "fallback":
        refused = await theirs.patch("/programs/SPRING", json={"fallback": [{"program": "OTHER"}]})
        is_problem(refused, 409, "There is no program OTHER", reason="fallback_unknown")
        nowhere = await theirs.patch("/programs/SPRING", json={"fallback": [{"program": "NOWHERE"}]})
        assert nowhere.json()["detail"] == refused.json()["detail"].replace("OTHER", "NOWHERE")
    elif way == "groups":
        refused = await admin.patch("/programs/FIXED", json={"groups": ["b"]})
        is_problem(refused, 409, "access group a", reason="program_is_fallback")
    else:
        others = await consoles.client("write", groups=["b"])
        is_problem(await others.delete("/programs/FIXED"), 409, "of 1 other program:", reason="program_is_fallback")
        is_problem(await theirs.delete("/programs/FIXED"), 409, "of SPRING:", reason="program_is_fallback")


async def test_the_pages_ask_for_fallbacks_and_show_them(consoles: Consoles, connection: Connection) -> None:
    browser, client = await consoles.browser("admin"), await consoles.client("admin")
    for given in (FIXED, settings()):
        assert (await client.post("/programs", json=given)).status_code == 201
    form = form_of((await browser.get("/programs/SPRING/edit")).text, "/programs/SPRING/edit")
    wrong = await browser.post(form.action, data=form.filled(go="review", fallback="FIXED, FIXED"))
    assert wrong.status_code == 422
    assert re.search(r'id="fallback-error".*?must name each program once', wrong.text, re.DOTALL)
    page = await browser.get("/programs/SPRING")
    assert "Fallbacks" not in page.text
    changed = await client.patch("/programs/SPRING", json={"fallback": LINK, "fallback_on": ["pool_empty"]})
    assert changed.status_code == 200, changed.text
    form = form_of((await browser.get("/programs/SPRING/edit")).text, "/programs/SPRING/edit")
    assert form.fields["fallback"] == ["FIXED"]
    assert ("fallback_pool_empty" in form.fields, "fallback_remote_failed" in form.fields) == (True, False)
    spring = (await client.get("/programs/SPRING")).json()
    for unit in ("minute", "hour"):
        await connection.execute(
            f"INSERT INTO usage_{unit} VALUES ($1, date_trunc('{unit}', now()), 'campaign', 'fallback_first', 7)",
            spring["id"],
        )
    page = await browser.get("/programs/SPRING")
    assert re.search(r'<a href="/programs/FIXED"><code>FIXED</code></a>.*?gave 7 codes today', page.text, re.DOTALL)
    usage = (await client.get("/programs/SPRING/usage")).json()["total"]
    assert (usage["fallbacks"], usage["refused"]) == ([7, 0, 0], {})


async def test_a_fallback_is_counted_and_raises_an_alert_once_an_hour(
    consoles: Consoles, connection: Connection, database_url: str
) -> None:
    client, browser = await consoles.client("admin"), await consoles.browser("admin")
    for given in (FIXED, settings("OTHER"), settings("COUNTED", fallback=[{"program": "OTHER"}, *LINK])):
        assert (await client.post("/programs", json=given)).status_code == 201
    id_ = (await client.get("/programs/COUNTED")).json()["id"]
    tally = UsageTally()
    async with pool(as_role(database_url, "issuer"), "codewell-reporter", 1) as own:
        reporter = Reporter("issuer", own, Health(), tally, lambda _: {}, note_fallbacks)

        async def alerts_after(outcome: str) -> list[tuple[str, str, int]]:
            tally.add({UsageKey(id_, "campaign", outcome): 2})
            await reporter.report("running")
            found = (await client.get("/programs/COUNTED/alerts")).json()["items"]
            return [(one["kind"], one["key"], one["count"]) for one in found]

        assert await alerts_after("attached") == []
        assert await alerts_after("fallback_second") == [("fallback-used", "FIXED", 1)]
        assert await alerts_after("fallback_second") == [("fallback-used", "FIXED", 1)]
        await connection.execute("UPDATE alert SET last_at = now() - interval '61 minutes'")
        assert await alerts_after("fallback_second") == [("fallback-used", "FIXED", 2)]
    assert FALLBACKS.labels("COUNTED", 2)._value.get() == 6
    assert "A fallback gives codes" in (await browser.get("/programs/COUNTED")).text
