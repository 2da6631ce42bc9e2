"""The pages of one customer and of Try it, by plain forms; no id and no code is in a URL."""

import re
from uuid import uuid4

import httpx
import pytest

from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from tests.support.consoles import Consoles, is_problem, settings
from tests.support.pages import words

PROFILE = "ann@example.com"


@pytest.fixture
async def codes(consoles: Consoles) -> dict[str, str]:
    """A code of the profile in a program of each group, by program."""
    client = await consoles.client("admin")
    found = {}
    for name, group in (("SPRING", "ours"), ("AUTUMN", "theirs")):
        await client.post("/programs", json=settings(name, groups=[group]))
        await client.post(f"/programs/{name}/codes:generate", json={"count": 1})
        answer = await client.post(f"/programs/{name}/codes:attach", json={"profile_id": PROFILE})
        found[name] = answer.json()["code"]
    await client.put(f"/profiles/{PROFILE}", json={"fields": {"city": "Graz"}})
    return found


async def look_up(browser: httpx.AsyncClient, page: str = "", **fields: str) -> httpx.Response:
    return await browser.post(f"/profiles{page}", data={"key": str(uuid4()), "profile_id": PROFILE, **fields})


async def test_codes_of_a_profile_by_group(consoles: Consoles, codes: dict[str, str]) -> None:
    everything = (await (await consoles.client("read")).get("/codes", params={"profile_id": PROFILE})).json()
    assert {one["program"]: one["code"] for one in everything["items"]} == codes
    assert everything["complete"]
    ours = await consoles.client("read", groups=["ours"])
    found = (await ours.get("/codes", params={"profile_id": PROFILE})).json()
    assert [one["program"] for one in found["items"]] == ["SPRING"]
    is_problem(await ours.get("/codes"), 422)


async def test_a_profile_is_masked_until_shown(
    consoles: Consoles, codes: dict[str, str], connection: Connection
) -> None:
    reader = await consoles.browser("read")
    page = await look_up(reader)
    assert page.status_code == 200
    for secret in (*codes.values(), PROFILE.partition("@")[2], "Graz"):
        assert secret not in re.sub(r'name="profile_id" value="[^"]*"', "", page.text)
    assert page.text.count("SPR•••-••••") == 1
    assert (await look_up(reader, "/show")).status_code == 403
    shown = await look_up(await consoles.browser("read", "write"), "/show")
    assert all(text in shown.text for text in (*codes.values(), PROFILE, "Graz"))
    [entry] = await audit_log.page(connection, 10, verb="code.show")
    assert entry.details == {"of": "profile"}
    grouped = await look_up(await consoles.browser("read", "write", groups=["ours"]), "/show")
    assert codes["AUTUMN"] not in grouped.text
    assert "Graz" not in grouped.text


async def test_a_profile_is_forgotten_once_its_id_was_typed(consoles: Consoles, codes: dict[str, str]) -> None:
    assert codes
    writer = await consoles.browser("read", "write")
    assert (await look_up(writer, "/forget", typed="yes")).status_code == 422
    done = await look_up(writer, "/forget", typed=PROFILE)
    assert "The profile is forgotten" in done.text
    assert "No codes" in (await look_up(writer)).text
    assert (await look_up(await consoles.browser("read"), "/forget", typed=PROFILE)).status_code == 403
    assert (await look_up(await consoles.browser("write", "read", groups=["ours"]), "/forget", typed=PROFILE)
            ).status_code == 403  # fmt: skip


async def test_a_message_is_previewed_by_the_rules_of_requests(
    consoles: Consoles, codes: dict[str, str], connection: Connection
) -> None:
    ours = await consoles.client("read", groups=["ours"])
    answers = await connection.fetchval("SELECT count(*) FROM answer")
    text = "Hi {loyalty.SPRING.promocode} {Loyalty.x.promocode}"
    found = (await ours.post("/preview", json={"profile_id": "p-1", "template": text})).json()
    [code] = found["codes"]
    assert found["rendered"] == f"Hi {code['code']} {{Loyalty.x.promocode}}"
    assert re.fullmatch("SPRING-[A-Z]{4}", code["code"])
    assert code["code"] != codes["SPRING"]
    assert found["unresolved"] == ["{Loyalty.x.promocode}"]
    refused = (await ours.post("/preview", json={"profile_id": "p-1", "programs": ["SPRING", "AUTUMN"]})).json()
    assert [(one["program"], one["reason"]) for one in refused["refusals"]] == [("AUTUMN", "program_unknown")]
    assert refused["outcome"] == "refused"
    for body in ({"profile_id": "p-1"}, {"profile_id": "p-1", "template": "{loyalty.}"}, {"template": "x"}):
        is_problem(await ours.post("/preview", json=body), 422)
    assert await connection.fetchval("SELECT count(*) FROM answer") == answers


async def test_try_it(consoles: Consoles, codes: dict[str, str]) -> None:
    assert codes
    browser = await consoles.browser("read")
    assert "{loyalty.SPRING.promocode}" in (await browser.get("/try?program=SPRING")).text
    form = {"key": str(uuid4()), "profile_id": "p-1"}
    page = await browser.post("/try", data={**form, "template": "<b>{loyalty.SPRING.promocode}</b>"})
    assert re.search(r"&lt;b&gt;SPRING-[A-Z]{4}&lt;/b&gt;", page.text)
    refused = await browser.post("/try", data={**form, "template": "{loyalty.NONE.promocode}"})
    assert refused.status_code == 200
    assert "NONE" in refused.text
    assert "<h2>Preview</h2>" in refused.text
    for template in ("no variable", "", " ".join(f"{{loyalty.P{n}.promocode}}" for n in range(17))):
        refused = await browser.post("/try", data={**form, "template": template})
        assert refused.status_code == 422
        assert "for at least one program and at most 16." in words(refused)
