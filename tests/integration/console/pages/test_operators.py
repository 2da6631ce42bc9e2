"""The pages of dead letters and of the audit log, by plain forms."""

import html
import re
from uuid import uuid4

import httpx
import pytest

from schemas.topics import DECIDED
from tests.integration.console.test_dead_letters import buried, bury
from tests.support.consoles import Consoles, create_console, settings
from tests.support.site import Site

DEAD = "/operations/dead-letters"
_LINK = r'href="/operations/dead-letters/([a-z-]+:\d+:\d+)"'


def text_of(page: httpx.Response) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


@pytest.fixture
async def operator(consoles: Consoles, site: Site) -> httpx.AsyncClient:
    consoles.api = create_console(consoles.pool, kafka_bootstrap=site.bootstrap, topic_prefix=site.prefix)
    return await consoles.browser("admin")


@pytest.mark.parametrize("topic", DECIDED)
async def test_dead_letters_of_each_topic_are_chosen_and_shown(
    site: Site, operator: httpx.AsyncClient, topic: str
) -> None:
    place = await bury(site, "p-1", topic=topic)
    page = await operator.get(f"{DEAD}?topic={topic}")
    assert re.findall(_LINK, page.text) == [place]
    assert f'<option value="{topic}" selected' in page.text
    assert (await operator.get(f"{DEAD}/{place}")).status_code == 200


async def test_dead_letters_are_filtered_shown_replayed_and_purged(site: Site, operator: httpx.AsyncClient) -> None:
    places = await buried(site, 4)
    hostile = await bury(site, "<b>p</b>", reason="not_json", value=b"<script>alert(1)</script>")
    page = await operator.get(DEAD)
    assert page.status_code == 200
    assert re.findall(_LINK, page.text) == [hostile, *places[::-1]]
    page = await operator.get(f"{DEAD}?topic=scenario-step&profile=p-3")
    assert re.findall(_LINK, page.text) == [places[3]]
    assert f'href="{DEAD}/replay?topic=scenario-step&amp;profile=p-3"' in page.text
    assert (await operator.get(f"{DEAD}?since=soon")).status_code == 422
    whole = await operator.get(f"{DEAD}/{hostile}")
    assert "&lt;script&gt;alert(1)" in whole.text
    assert "<script>alert" not in whole.text

    asked = await operator.get(f"{DEAD}/replay?profile=p-3")
    assert "Events 1" in text_of(asked)
    done = await operator.post(f"{DEAD}/replay", data={"key": str(uuid4()), "profile": "p-3"})
    assert done.status_code == 303
    assert "Events that were replayed: 1." in (await operator.get(done.headers["location"])).text
    assert "Replayed before 1" in text_of(await operator.get(f"{DEAD}/replay?profile=p-3"))

    assert "Letters 1" in text_of(await operator.get(f"{DEAD}/purge"))
    form = {"key": str(uuid4()), "unreplayed": "on", "reason": "not_json"}
    refused = await operator.post(f"{DEAD}/purge", data={**form, "typed": "yes"})
    assert refused.status_code == 422
    assert "Type the word purge." in text_of(refused)
    done = await operator.post(f"{DEAD}/purge", data={**form, "typed": "purge"})
    assert "Letters that were purged: 1." in (await operator.get(done.headers["location"])).text
    assert hostile not in (await operator.get(DEAD)).text


async def test_a_long_replay_goes_on_with_another_press(
    site: Site, operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await buried(site, 8)
    monkeypatch.setattr("services.console.dead_letter_access.STEP_LETTERS_MAX", 1)
    monkeypatch.setattr("services.console.pages.screens.dead_letters._STEPS_TIME_S", 0.0)
    presses, fields = 0, {"key": str(uuid4())}
    while True:
        page = await operator.post(f"{DEAD}/replay", data=fields)
        presses += 1
        if page.status_code == 303:
            break
        assert "Replayed so far" in page.text
        cursor = re.search(r'name="cursor" value="([^"]+)"', page.text)
        assert cursor is not None
        fields = {"key": str(uuid4()), "cursor": cursor[1]}
    assert presses > 2


async def test_dead_letters_are_for_operators_only(consoles: Consoles, operator: httpx.AsyncClient) -> None:
    assert (await operator.get(f"{DEAD}/message-render:0:99")).status_code == 404
    for browser in (await consoles.browser("read", "write"), await consoles.browser("admin", groups=["ours"])):
        assert (await browser.get(DEAD)).status_code == 403
        assert (await browser.post(f"{DEAD}/replay", data={"key": str(uuid4())})).status_code == 403


async def test_the_audit_log_says_who_did_what_and_how_far_it_is_verified(consoles: Consoles) -> None:
    name, secret = await consoles.token("admin")
    client = await consoles.with_secret(secret)
    for program, group in (("SPRING", "ours"), ("AUTUMN", "theirs")):
        await client.post("/programs", json=settings(program, groups=[group]))
    page = await (await consoles.browser("read")).get("/audit-log")
    assert page.status_code == 200
    assert re.search(r"Verified up to entry \d+", text_of(page))
    assert f"{name} program.create" in text_of(page)
    assert "AUTUMN" in page.text
    ours = await consoles.browser("read", groups=["ours"])
    assert "AUTUMN" not in (await ours.get("/audit-log")).text
    assert "No entries here" in (await ours.get("/audit-log?program=AUTUMN")).text
    assert (await ours.get("/audit-log?since=soon")).status_code == 422
    assert (await (await consoles.browser("write")).get("/audit-log")).status_code == 403
