"""The page of a code by plain forms: masked until Show, its history, its actions by scope, and no text in any URL."""

import html
import re
from uuid import uuid4

import httpx
import pytest
from prometheus_client import REGISTRY

from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from tests.support.consoles import Consoles, settings

PAGE = "/programs/SPRING/code"


@pytest.fixture
async def code(consoles: Consoles) -> str:
    """A code of the template SPRING-{upstring 4}, attached to p-100001, at the place 0:1:0."""
    client = await consoles.client("admin")
    await client.post("/programs", json=settings(groups=["ours"]))
    await client.post("/programs/SPRING/codes:generate", json={"count": 2})
    answer = await client.post("/programs/SPRING/codes:attach", json={"profile_id": "p-100001"})
    text: str = answer.json()["code"]
    return text


async def press(browser: httpx.AsyncClient, step: str, **fields: str) -> httpx.Response:
    given = {"key": str(uuid4()), "place": "0:1:0", **fields}
    answer = await browser.post(f"{PAGE}/step/{step}", data=given)
    return await browser.get(answer.headers["location"]) if answer.status_code == 303 else answer


async def test_a_reader_sees_masks_and_may_not_show(consoles: Consoles, code: str) -> None:
    reader = await consoles.browser("read")
    page = await reader.get(f"{PAGE}/0:1:0")
    assert page.status_code == 200
    assert "SPR•••-••••" in page.text
    assert "p-••••" in page.text
    assert code not in page.text
    assert "p-100001" not in page.text
    for button in ("Show", "Detach", "Activate", "Delete", "Change"):
        assert not re.search(rf"</svg>{button}</button>", page.text)
    assert (await reader.post(f"{PAGE}/0:1:0/show")).status_code == 403


async def test_showing_a_text_is_recorded(consoles: Consoles, connection: Connection, code: str) -> None:
    writer = await consoles.browser("read", "write")
    assert code not in (await writer.get(f"{PAGE}/0:1:0")).text
    page = await writer.post(f"{PAGE}/0:1:0/show")
    assert page.status_code == 200
    assert code in page.text
    assert "p-100001" in page.text
    [entry] = await audit_log.page(connection, 10, verb="code.show")
    assert (entry.program, entry.details) == ("SPRING", {"place": "0:1:0"})


async def test_a_look_up_leads_to_the_place(consoles: Consoles, code: str) -> None:
    reader = await consoles.browser("read")
    answer = await reader.post(PAGE, data={"key": str(uuid4()), "code": f" {code} "})
    assert answer.headers["location"] == f"{PAGE}/0:1:0"
    answer = await reader.post(PAGE, data={"key": str(uuid4()), "code": "SPRING-none"})
    assert answer.status_code == 404
    assert "check its spelling" in answer.text
    assert (await reader.post(PAGE, data={"key": str(uuid4()), "code": ""})).status_code == 422


async def test_each_action_says_what_it_did(consoles: Consoles, code: str) -> None:
    browser = await consoles.browser("admin")
    assert "The code is activated." in (await press(browser, "activate")).text
    assert "The activation is undone" in (await press(browser, "deactivate")).text
    assert "back in the pool" in (await press(browser, "detach")).text
    refused = await press(browser, "detach")
    assert refused.status_code == 409
    assert "Nothing was changed" in refused.text
    assert code not in refused.text
    assert "attached to the profile" in (await press(browser, "attach", profile_id="p-2")).text
    changed = await press(browser, "change", expires_at="2090-01-01")
    assert "The code is changed" in changed.text
    assert "2090-01-02 00:00" in changed.text
    assert "never" in (await press(browser, "change", forever="on")).text
    assert (await press(browser, "change", expires_at="soon")).status_code == 422
    untyped = await press(browser, "delete", typed="no")
    assert untyped.status_code == 422
    assert "type SPRING" in untyped.text
    deleted = await press(browser, "delete", typed="SPRING")
    assert "The code is deleted" in deleted.text
    for words in ("Made", "Attached", "Activated", "Activation undone", "Returned to the pool", "Changed", "Deleted"):
        assert f"<strong>{words}</strong>" in deleted.text


@pytest.mark.parametrize(
    ("step", "given", "at", "told"),
    [
        ("hold", {"hold_order": "o-1", "hold_minutes": "soon"}, "hold_minutes", "Give a whole number of minutes"),
        ("hold", {"hold_order": "o-1", "hold_minutes": "1,441"}, "hold_minutes", "at most 1,440."),
        ("hold", {"hold_order": ""}, "hold_order", "Give a value, it is required."),
        ("change", {"expires_at": ""}, "expires_at", "Must be a date such as 2027-01-31"),
        ("reissue", {"reason": "", "expires": "same"}, "reason", "Must have at least 1 character."),
        ("activate", {"activate_profile": "p" * 257}, "activate_profile", "Must have 1 to 256 characters"),
    ],
)
async def test_a_refusal_stands_at_its_field(
    consoles: Consoles, code: str, step: str, given: dict[str, str], at: str, told: str
) -> None:
    del code
    refused = await press(await consoles.browser("admin"), step, **given)
    assert refused.status_code == 422
    assert told in refused.text.partition(f'id="{at}-error"')[2]
    assert f'href="#{at}"' in refused.text
    assert "body." not in refused.text


async def test_minutes_may_be_written_as_the_page_writes_them(consoles: Consoles, code: str) -> None:
    del code
    held = await press(await consoles.browser("admin"), "hold", hold_order="o-1", hold_minutes="1,440")
    assert held.status_code == 200


async def test_what_was_typed_stays_when_it_is_refused(consoles: Consoles, code: str) -> None:
    del code
    browser = await consoles.browser("admin")
    late = await press(browser, "hold", hold_order="o-<1>", hold_profile="p-7", hold_minutes="1441")
    assert late.status_code == 422
    for typed in ("o-&lt;1&gt;", "p-7", "1441"):
        assert f'value="{typed}"' in late.text
    assert (await press(browser, "deactivate", deactivate_order="o-2")).text.count('value="o-2"') == 0
    unread = await press(browser, "change", expires_at="soon")
    assert (unread.status_code, 'value="soon"' in unread.text) == (422, True)
    untold = await press(browser, "reissue", reason="x" * 501, expires="fresh")
    assert (untold.status_code, "x" * 501 in untold.text) == (422, True)
    assert '<option value="fresh" selected>' in untold.text


async def test_orders_hold_use_and_give_back_a_code(consoles: Consoles, code: str) -> None:
    api, browser = await consoles.client("admin"), await consoles.browser("admin")
    await api.patch("/programs/SPRING", json={"uses": {"per_code": 3, "per_profile": 2}})
    kinds = [("activate", "done"), ("activate", "profile_required"), ("hold", "done"), ("deactivate", "done")]
    before = [steps_counted(*kind) for kind in kinds]
    unnamed = await press(browser, "activate")
    assert unnamed.status_code == 409
    assert "give profile_id" in unnamed.text
    late = await press(browser, "hold", hold_order="o-1", hold_profile="p-1", hold_minutes="1441")
    assert late.status_code == 422
    held = await press(browser, "hold", hold_order="o-1", hold_profile="p-100001", hold_minutes="5")
    assert "The order holds the code" in held.text
    assert "Held until" in held.text
    assert "p-100001" not in held.text
    used = await press(browser, "activate", activate_order="<o-2>", activate_profile="p-100001")
    assert "The code may be used again." in used.text
    forms = form_of_button(used.text, "Take back")
    assert ("&lt;o-2&gt;" in used.text, "<o-2>" in used.text, forms["deactivate_order"]) == (True, False, "<o-2>")
    released = await press(browser, "release", release_order="o-1")
    assert "The hold has ended." in released.text
    assert "Release</button>" not in released.text
    # A code that is used in part is attached, and its use can be taken back.
    assert "Deactivate</button>" in released.text
    back = await press(browser, "deactivate", deactivate_order="<o-2>")
    assert "The activation is undone" in back.text
    for words in ("released", "taken back"):
        assert words in back.text
    assert "Deactivate</button>" not in back.text
    listed = (await api.get(f"/programs/SPRING/uses/{code}")).json()["uses"]
    assert [(use["state"], use["order_id"]) for use in listed] == [("taken_back", "<o-2>"), ("released", "o-1")]
    assert [steps_counted(*kind) for kind in kinds] == [count + 1 for count in before]
    reader = await (await consoles.browser("read")).get(f"{PAGE}/0:1:0")
    assert "Uses and holds" in reader.text
    assert "Hold</button>" not in reader.text


def steps_counted(step: str, outcome: str) -> float:
    counted = REGISTRY.get_sample_value("codewell_till_steps_total", {"step": step, "outcome": outcome})
    return counted or 0.0


def form_of_button(page: str, button: str) -> dict[str, str]:
    """The hidden fields of the form with this button."""
    [found] = re.findall(rf"<form(?:(?!</form>).)*{button}</button>", page, re.DOTALL)
    return {name: html.unescape(value) for name, value in re.findall(r'name="([^"]+)" value="([^"]*)"', found)}


async def test_support_reissues_a_code_and_both_histories_say_so(consoles: Consoles, code: str) -> None:
    support = await consoles.browser("read", "support")
    assert "Reissue" not in (await (await consoles.browser("read", "write")).get(f"{PAGE}/0:1:0")).text
    assert (await press(support, "reissue", reason=" ", expires="same")).status_code == 422

    new = await press(support, "reissue", reason="mail deleted", expires="same")

    assert "This code replaces the other one" in new.text
    assert f'<a href="{PAGE}/0:1:0"><strong>Replaces another code</strong></a>' in new.text
    assert "mail deleted" in new.text
    old = await support.get(f"{PAGE}/0:1:0")
    assert f'<a href="{PAGE}/0:1:1"><strong>Was reissued as another code</strong></a>' in old.text
    assert code not in old.text + new.text
    # Whoever may only support has no list of codes, and so no place.
    agent = await consoles.browser("support")
    shown = (await agent.post(f"{PAGE}/0:1:1/show")).status_code
    assert shown == 403
    found = await agent.post(PAGE, data={"key": str(uuid4()), "code": code})
    assert "Was reissued" in found.text


async def test_a_till_redeems_what_it_looks_up_without_a_place(consoles: Consoles, code: str) -> None:
    till = await consoles.browser("redeem")
    page = await till.post(PAGE, data={"key": str(uuid4()), "code": code})
    assert page.status_code == 200
    assert code in page.text
    done = await press(till, "activate", place="", code=code)
    assert "The code is activated." in done.text
    assert (await till.get(f"{PAGE}/0:1:0")).status_code == 403


async def test_no_page_for_another_group_or_a_missing_place(consoles: Consoles, code: str) -> None:
    assert code
    stranger = await consoles.browser("admin", groups=["theirs"])
    reader = await consoles.browser("read")
    for answer in (
        await stranger.get(f"{PAGE}/0:1:0"),
        await reader.get(f"{PAGE}/0:1:9"),
        await reader.get(f"{PAGE}/x"),
    ):
        assert answer.status_code == 404
    assert (await press(stranger, "activate")).status_code == 404
    for scope in ("read", "redeem"):
        assert (await (await consoles.browser(scope, groups=["theirs"])).get(PAGE)).status_code == 404
        assert (await (await consoles.browser(scope)).get(PAGE)).status_code == 200
    assert (await press(await consoles.browser("admin"), "explode")).status_code == 404


async def test_an_address_that_postgres_cannot_hold_is_no_page(consoles: Consoles, code: str) -> None:
    browser = await consoles.browser("admin")
    assert (await browser.get("/programs/SPRI%00NG/code")).status_code == 404
    forgotten = await browser.get("/programs/SPRING/codes/changed", params={"result": "\0"})
    assert (forgotten.status_code, forgotten.headers["location"]) == (303, "/programs/SPRING/codes")
    assert code


async def test_hostile_texts_stay_texts(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    text = "<script>alert(1)</script>"
    answer = await client.post("/programs/SPRING/codes:attach", json={"profile_id": text, "code": text})
    assert answer.status_code == 200
    browser = await consoles.browser("admin")
    place = (await client.get(f"/programs/SPRING/codes/{text}")).json()["place"]
    page = await browser.post(f"{PAGE}/{place}/show")
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script>alert" not in page.text
