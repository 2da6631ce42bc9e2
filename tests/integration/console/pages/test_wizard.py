"""The screens that create, clone and edit a program, as a browser without JavaScript sees them."""

import html
import re
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from codewell.access import tokens
from schemas.program import ProgramSettings
from services.console.pages.program_form import settings_of
from tests.support.consoles import Consoles, create_console, is_problem, settings
from tests.support.page_forms import PageForm, form_of
from tests.support.remote_server import Asked, RemoteServer, Reply, remote_server, reply
from tests.support.remote_server import answer as answer_of

GENERAL = {"title": "Spring sale", "name": "SPRING", "valid_to": "2098-12-31"}
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&{{7*7}}\u202e\u0007é" + "x" * 300


async def sent(
    client: httpx.AsyncClient, form: PageForm, go: str = "", **fields: Any
) -> tuple[httpx.Response, httpx.Response]:
    """Send a form with a button; returns its answer and the page that follows."""
    answer = await client.post(form.action, data=form.filled(go=go, **fields))
    if answer.status_code != 303:
        return answer, answer
    return answer, await client.get(answer.headers["location"])


@pytest.fixture
async def client(consoles: Consoles) -> httpx.AsyncClient:
    return await consoles.browser("admin")


@pytest.mark.parametrize("button", ["look", "next"])
async def test_a_theme_that_is_chosen_on_a_draft_leads_back_to_it(client: httpx.AsyncClient, button: str) -> None:
    form = form_of((await client.get("/programs/new")).text, "/programs/new")
    answer, _ = await sent(client, form, button, **GENERAL | {"name": "no name", "title": "Long thought about"})
    [back] = re.findall(r'name="back" value="([^"]+)"', answer.text)
    themed = await client.post("/theme", data={"theme": "dark", "back": html.unescape(back)})
    assert 'value="Long thought about"' in (await client.get(themed.headers["location"])).text


@pytest.mark.parametrize("button", ["look", "review"])
async def test_a_theme_that_is_chosen_on_a_change_leads_back_to_it(
    consoles: Consoles, client: httpx.AsyncClient, button: str
) -> None:
    assert (await (await consoles.client("admin")).post("/programs", json=settings())).status_code == 201
    form = form_of((await client.get("/programs/SPRING/edit")).text, "/programs/SPRING/edit")
    answer, _ = await sent(client, form, button, title="Long thought about", codes_max="many")
    [back] = re.findall(r'name="back" value="([^"]+)"', answer.text)
    themed = await client.post("/theme", data={"theme": "dark", "back": html.unescape(back)})
    assert 'value="Long thought about"' in (await client.get(themed.headers["location"])).text


async def test_a_program_is_created_in_three_steps(consoles: Consoles, client: httpx.AsyncClient) -> None:
    page = await client.get("/programs/new")
    assert page.status_code == 200
    for words in ("General settings", "Template name", "Access groups", "Short name"):
        assert words in page.text
    form = form_of(page.text, "/programs/new")
    _, page = await sent(client, form, "next", **GENERAL, groups="marketing, spring")
    assert "Where codes come from" in page.text
    assert len(re.findall(r'<li class="code">', page.text)) == 5
    _, page = await sent(client, form_of(page.text, "/programs/new"), "next", template="{safe 12}")
    for words in (
        "Promo code settings", "Scenario can create promo codes", "Campaign can create promo codes",
        "One promo code can be attached to multiple profiles", "Automatically link promo codes to profile",
        "The maximum number of promo codes", "Time to live", "Custom fields",
    ):  # fmt: skip
        assert words in page.text, words
    assert "In a message its code stands as {loyalty.SPRING.promocode}." in page.text
    given = {
        "codes_max": "12,000", "ttl": "30", "field_name_0": "discount", "field_required_0": "on", "shared": None,
        "campaign_can_create": None,
    }  # fmt: skip
    answer, _ = await sent(client, form_of(page.text, "/programs/new"), "create", **given)
    assert answer.headers["location"].partition("?")[0] == "/programs/SPRING"
    made = (await (await consoles.client("admin")).get("/programs/SPRING")).json()
    expected = {
        "title": "Spring sale", "groups": ["marketing", "spring"], "valid_from": None,
        "valid_until": "2099-01-01T00:00:00Z", "source": {"kind": "template", "template": "{safe 12}"},
        "scenario_can_create": True, "campaign_can_create": False, "shared": False, "codes_max": 12_000,
        "pool_max": 12_000, "ttl": "P30D", "fields": [{"name": "discount", "required": True, "save": True}],
        "active": True,
    }  # fmt: skip
    assert {name: made[name] for name in expected} == expected


async def test_faults_stand_at_their_fields_and_above(client: httpx.AsyncClient) -> None:
    form = form_of((await client.get("/programs/new")).text, "/programs/new")
    answer, page = await sent(client, form, "next", name="two words", valid_from="2098-02-01", valid_to="soon")
    assert answer.status_code == 422
    assert 'role="alert"' in page.text
    assert re.search(r'id="name-error".*?1 to 64 letters', page.text, re.DOTALL)
    assert re.search(r'id="valid_to-error".*?must be a date'.replace("must", "Must"), page.text, re.DOTALL)
    assert 'value="two words"' in page.text
    _, page = await sent(client, form_of(page.text, "/programs/new"), "next", **GENERAL)
    answer, page = await sent(client, form_of(page.text, "/programs/new"), "next", template="A-{numbr 4}")
    assert answer.status_code == 422
    assert re.search(r'id="template-error".*?unknown', page.text, re.DOTALL)
    assert "At character 3" in page.text
    _, page = await sent(client, form_of(page.text, "/programs/new"), "next", template="{number 4}")
    answer, page = await sent(client, form_of(page.text, "/programs/new"), "create", codes_max="many", ttl="x")
    assert answer.status_code == 422
    assert re.search(r'id="codes_max-error".*?Must be a whole number', page.text, re.DOTALL)
    assert re.search(r'id="ttl-error".*?Give a whole number', page.text, re.DOTALL)
    answer, page = await sent(client, form_of(page.text, "/programs/new"), "create", codes_max="10", ttl="")
    assert answer.status_code == 422
    assert re.search(r'id="allow_guessable-error".*?can be guessed', page.text, re.DOTALL)
    form = form_of(page.text, "/programs/new")
    answer, _ = await sent(client, form, "create", allow_guessable="on", field_name_0="no name")
    assert answer.status_code == 422
    answer, _ = await sent(client, form, "create", allow_guessable="on")
    assert answer.headers["location"].partition("?")[0] == "/programs/SPRING"


async def test_a_taken_name_is_told_at_the_first_step(consoles: Consoles, client: httpx.AsyncClient) -> None:
    await (await consoles.client("admin")).post("/programs", json=settings())
    form = form_of((await client.get("/programs/new")).text, "/programs/new")
    answer, page = await sent(client, form, "next", **GENERAL)
    assert answer.status_code == 422
    assert re.search(r'id="name-error".*?is taken', page.text, re.DOTALL)


async def test_a_step_back_and_a_second_click_create_nothing_more(
    consoles: Consoles, client: httpx.AsyncClient
) -> None:
    form = form_of((await client.get("/programs/new")).text, "/programs/new")
    _, page = await sent(client, form, "next", **GENERAL)
    _, page = await sent(client, form_of(page.text, "/programs/new"), "next", template="{safe 12}")
    last = form_of(page.text, "/programs/new")
    for given in ({"codes_max": "1,000"}, {"codes_max": "1,000"}, {"codes_max": "2,000"}):
        answer, _ = await sent(client, last, "create", **given)
        assert answer.headers["location"].partition("?")[0] == "/programs/SPRING"
    again = await client.post(form.action, data=form.filled(go="next", **GENERAL | {"name": "OTHER"}))
    assert again.headers["location"] == "/programs/SPRING"
    draft = re.search(r'name="key" value="([^"]+)"', page.text)
    assert draft is not None
    assert (await client.get(f"/programs/new?draft={draft[1]}")).headers["location"] == "/programs/SPRING"
    listed = (await (await consoles.client("admin")).get("/programs")).json()["items"]
    assert [(one["name"], one["codes_max"]) for one in listed] == [("SPRING", 1_000)]


async def test_a_refusal_ends_with_its_reason(consoles: Consoles, client: httpx.AsyncClient) -> None:
    form = form_of((await client.get("/programs/new")).text, "/programs/new")
    _, page = await sent(client, form, "next", **GENERAL)
    _, page = await sent(client, form_of(page.text, "/programs/new"), "next", template="{safe 12}")
    given = {"codes_max": "1,000", "fallback": "LATER"}
    for _ in range(2):
        answer, page = await sent(client, form_of(page.text, "/programs/new"), "create", **given)
        assert answer.status_code == 422
        assert "There is no program LATER" in page.text
    assert (await (await consoles.client("admin")).post("/programs", json=settings("LATER"))).status_code == 201
    answer, _ = await sent(client, form_of(page.text, "/programs/new"), "create")
    assert answer.headers["location"].partition("?")[0] == "/programs/SPRING"


async def test_a_draft_survives_leaving_and_is_the_persons_own(consoles: Consoles, client: httpx.AsyncClient) -> None:
    form = form_of((await client.get("/programs/new")).text, "/programs/new")
    answer, _ = await sent(client, form, "later", **GENERAL)
    assert answer.headers["location"] == "/programs?did=kept"
    page = (await client.get("/programs/new")).text
    assert "Your drafts" in page
    for listed in ("/programs?did=kept", "/programs?state=draft"):
        assert "Spring sale" in (await client.get(listed)).text
    assert "Spring sale" not in (await client.get("/programs?state=off")).text
    url = re.search(r'href="(/programs/new\?draft=[^"]+)"', page)
    assert url is not None
    assert 'value="Spring sale"' in (await client.get(url[1])).text
    other = await consoles.browser("admin")
    assert "Your drafts" not in (await other.get("/programs/new")).text
    assert (await other.get(url[1])).status_code == 404
    key = url[1].rpartition("=")[2]
    await other.post("/programs/drafts/discard", data={"key": key})
    await other.post("/programs/new", data={"key": key, "step": "general", "go": "next", "name": "THEIRS"})
    assert 'value="SPRING"' in (await client.get(url[1])).text
    discarded = await client.post("/programs/drafts/discard", data={"key": key})
    assert "The draft is discarded." in (await client.get(discarded.headers["location"])).text
    assert (await client.get(url[1])).status_code == 404
    assert "No drafts" in (await client.get("/programs?state=draft")).text


async def test_a_token_made_anew_under_an_old_name_finds_no_old_drafts(consoles: Consoles) -> None:
    async with consoles.owners.acquire() as connection:
        for number in range(2):
            secret = await tokens.replace(connection, "shop", ["read", "write"])
            browser = await consoles.anonymous_browser()
            await browser.post("/sign-in", data={"token": secret})
            assert "Your drafts" not in (await browser.get("/programs")).text
            form = form_of((await browser.get("/programs/new")).text, "/programs/new")
            await sent(browser, form, "later", title=f"Draft {number}")
            assert f"Draft {number}" in (await browser.get("/programs")).text


async def test_what_is_typed_is_kept_while_typing(client: httpx.AsyncClient) -> None:
    form = form_of((await client.get("/programs/new")).text, "/programs/new")
    live = await client.post("/programs/new/live", data=form.filled(**GENERAL))
    assert "{loyalty.SPRING.promocode}" in live.text
    assert "This short name is free." in live.text
    assert "<html" not in live.text
    page = await client.get(f"/programs/new?draft={form.fields['key'][0]}")
    assert 'value="Spring sale"' in page.text


async def test_tokens_are_inserted_without_javascript(client: httpx.AsyncClient) -> None:
    form = form_of((await client.get("/programs/new")).text, "/programs/new")
    _, page = await sent(client, form, "next", **GENERAL)
    form = form_of(page.text, "/programs/new")
    for insert, template in (
        ({"insert": "{number 4}"}, "A-{number 4}"),
        ({"insert": "own", "own_characters": "A]\\", "own_count": "3"}, "A-{[A\\]\\\\] 3}"),
    ):
        answer = await client.post("/programs/new", data=form.filled(template="A-", **insert))
        assert answer.status_code == 200
        assert f'value="{html.escape(template)}"' in answer.text


async def test_who_may(consoles: Consoles) -> None:
    reader = await consoles.browser("read")
    for path in ("/programs/new", "/programs/SPRING/edit", "/programs/new?like=SPRING"):
        assert (await reader.get(path)).status_code == 403
    admin = await consoles.client("admin")
    await admin.post("/programs", json=settings(groups=["ours"]))
    other = await consoles.browser("read", "write", groups=["theirs"])
    for path in ("/programs/SPRING/edit", "/programs/new?like=SPRING"):
        assert (await other.get(path)).status_code == 404
    page = await other.get("/programs/new")
    assert 'name="groups" value="theirs" checked' in page.text
    form = form_of(page.text, "/programs/new")
    _, page = await sent(other, form, "next", **GENERAL | {"name": "THEIRS"})
    _, page = await sent(other, form_of(page.text, "/programs/new"), "next", template="{safe 12}")
    answer, _ = await sent(other, form_of(page.text, "/programs/new"), "create", codes_max="5")
    assert answer.headers["location"].partition("?")[0] == "/programs/THEIRS"
    assert (await admin.get("/programs/THEIRS")).json()["groups"] == ["theirs"]


async def test_a_clone_begins_with_the_settings_of_another(consoles: Consoles, client: httpx.AsyncClient) -> None:
    api = await consoles.client("admin")
    given: dict[str, Any] = {
        "ttl": "PT36H", "fields": [{"name": "discount", "save": True}], "valid_until": "2098-06-01T12:30:00Z",
        "campaign_can_create": True, "title": "Spring sale", "reuse": "profile",
    }  # fmt: skip
    made = (await api.post("/programs", json=settings(**given))).json()
    page = await client.get("/programs/new?like=SPRING")
    form = form_of(page.text, "/programs/new")
    assert (form.fields["name"], form.fields["title"]) == ([""], ["Spring sale"])
    _, page = await sent(client, form, "next", name="AUTUMN")
    _, page = await sent(client, form_of(page.text, "/programs/new"), "next")
    answer, _ = await sent(client, form_of(page.text, "/programs/new"), "create")
    assert answer.headers["location"].partition("?")[0] == "/programs/AUTUMN"
    cloned = (await api.get("/programs/AUTUMN")).json()
    own = {"name", "id", "placeholder"}
    assert {k: v for k, v in cloned.items() if k not in own} == {
        k: v for k, v in made.items() if k not in own | {"notes"}
    }


async def test_hostile_texts_are_texts(consoles: Consoles, client: httpx.AsyncClient) -> None:
    api = await consoles.client("admin")
    made = settings(title=HOSTILE, description=HOSTILE, source={"kind": "template", "template": "<b>{number 4}"})
    assert (await api.post("/programs", json=made)).status_code == 201
    for path in ("/programs/SPRING/edit", "/programs/new?like=SPRING"):
        page = await client.get(path)
        assert page.status_code == 200
        assert "<img src=x" not in page.text
        assert "<b>" not in page.text
        assert "{{7*7}}" in page.text
    form = form_of((await client.get("/programs/new")).text, "/programs/new")
    answer, page = await sent(client, form, "next", title=HOSTILE, name=HOSTILE, groups=HOSTILE, valid_to=HOSTILE)
    assert answer.status_code == 422
    assert "<img src=x" not in page.text
    huge = form.filled(go="next", title="x" * 250_000)
    refused = await client.post("/programs/new", data=huge)
    assert (refused.status_code, "too large" in refused.text) == (413, True)


@pytest.mark.parametrize("key", ["", "no uuid"])
async def test_a_form_without_its_key_does_nothing(client: httpx.AsyncClient, key: str) -> None:
    for path in ("/programs/new", "/programs/new/live"):
        assert (await client.post(path, data={"key": key, "step": "general"})).status_code == 400
    assert (await client.get("/programs/new?draft=no-uuid")).status_code == 404


async def test_the_program_changes_after_a_look(consoles: Consoles, client: httpx.AsyncClient) -> None:
    api = await consoles.client("admin")
    await api.post("/programs", json=settings(title="Spring", ttl="P30D"))
    form = form_of((await client.get("/programs/SPRING/edit")).text, "/programs/SPRING/edit")
    answer, page = await sent(
        client, form, "review", title="Late spring", codes_max="2,000", ttl="", template="N-{safe 9}"
    )
    assert urlsplit(answer.headers["location"]).path == "/programs/SPRING/edit/review"
    for words in ("Late spring", "1,000", "2,000", "30 days", "none", "SPRING-{upstring 4}", "N-{safe 9}"):
        assert words in page.text
    assert "Codes of the template before stay in the pool and are given out first." in page.text
    assert (await api.get("/programs/SPRING")).json()["title"] == "Spring"
    review = form_of(page.text, "/programs/SPRING/edit/review")
    for _ in range(2):
        answer, _ = await sent(client, review)
        assert answer.headers["location"].partition("?")[0] == "/programs/SPRING"
    changed = (await api.get("/programs/SPRING")).json()
    assert (changed["title"], changed["codes_max"], changed["ttl"]) == ("Late spring", 2_000, None)
    assert changed["pool_max"] == 1_000


async def test_pages_keep_every_setting(consoles: Consoles, client: httpx.AsyncClient) -> None:
    api = await consoles.client("admin")
    remote = {"kind": "remote", "url": "https://codes.example.com/make"}
    other = await api.post("/programs", json=settings("OTHER", groups=["a", "b"], source=remote))
    assert other.status_code == 201, other.text
    given: dict[str, Any] = {
        "title": "Spring", "description": "Sale", "groups": ["a", "b"], "active": False,
        "valid_from": "2020-01-01T12:30:00Z", "valid_until": "2098-06-01T12:30:00Z",
        "source": {"kind": "template", "template": "A-{number 4}"}, "scenario_can_create": True,
        "campaign_can_create": True, "shared": True, "auto_link": True, "codes_max": 5_000, "pool_max": 70,
        "ttl": "PT36H", "ttl_from": "attachment", "min_life_at_attach": "PT90S",
        "fields": [{"name": "discount", "required": True, "save": False}], "reuse": "campaign", "match": "fold",
        "returns": "void", "return_after": "PT5H", "reissues_max": 4, "retention": "P400D", "allow_guessable": True,
        "uses": {"per_code": 3, "per_profile": None}, "holder_only": True, "refund": "keep_used",
        "fallback": [{"program": "OTHER"}], "fallback_on": ["pool_empty"], "fallback_after": "PT5S",
        "alerts": [{"kind": "pool_below", "codes": 20}, {"kind": "ends_within", "within": "P2D"}],
    }  # fmt: skip
    answer = await api.post("/programs", json={"name": "SPRING"} | given)
    assert answer.status_code == 201, answer.text
    made = {name: value for name, value in answer.json().items() if name != "notes"}
    usual = ProgramSettings.model_validate({"name": "X", "source": {"kind": "import"}, "codes_max": 1})
    asked = ProgramSettings.model_validate({"name": "SPRING"} | given)
    # Each setting differs from its default, also one that is new.
    assert [name for name, value in asked if value == getattr(usual, name)] == []

    edit = "/programs/SPRING/edit"
    answer, page = await sent(client, form_of((await client.get(edit)).text, edit), "review", title="Late")
    assert re.findall(r'scope="row">([^<]+)', page.text) == ["Template name"]
    await sent(client, form_of(page.text, f"{edit}/review"))
    assert (await api.get("/programs/SPRING")).json() == made | {"title": "Late"}

    form = form_of((await client.get("/programs/new?like=SPRING")).text, "/programs/new")
    _, page = await sent(client, form, "next", name="CLONE", title="Spring")
    _, page = await sent(client, form_of(page.text, "/programs/new"), "next")
    # A clone begins active.
    answer, page = await sent(client, form_of(page.text, "/programs/new"), "create", active=None)
    assert answer.status_code == 303, page.text
    cloned = (await api.get("/programs/CLONE")).json()
    own = {"name", "id", "placeholder"}
    assert {k: v for k, v in cloned.items() if k not in own} == {k: v for k, v in made.items() if k not in own}


async def test_a_form_that_is_sent_as_it_came_changes_nothing(consoles: Consoles, client: httpx.AsyncClient) -> None:
    lines = settings(title=" Spring ", description="First line\nsecond line ")
    assert (await (await consoles.client("admin")).post("/programs", json=lines)).status_code == 201
    form = form_of((await client.get("/programs/SPRING/edit")).text, "/programs/SPRING/edit")
    filled = form.filled(go="review").items()
    as_browsers_send = {name: [value.replace("\n", "\r\n") for value in values] for name, values in filled}
    answer = await client.post(form.action, data=as_browsers_send)
    assert "Nothing is changed" in (await client.get(answer.headers["location"])).text


async def test_uses_are_asked_told_and_changed(consoles: Consoles, client: httpx.AsyncClient) -> None:
    api = await consoles.client("admin")
    await api.post("/programs", json=settings())
    edit = "/programs/SPRING/edit"
    form = form_of((await client.get(edit)).text, edit)
    assert [form.fields[f"uses_per_{one}"] for one in ("code", "profile")] == [["1"], ["1"]]
    answer, page = await sent(client, form, "review", uses_per_code="many")
    assert answer.status_code == 422
    assert re.search(r'id="uses_per_code-error".*?Must be a whole number', page.text, re.DOTALL)
    wanted = {"uses_per_code": "", "uses_per_profile": "2", "holder_only": "on", "refund": "keep_used"}
    page = await client.post(f"{edit}/live", data=form.filled(**wanted))
    for words in ("Each customer may use a code 2 times.", "Only a customer who got", "order&#39;s code stays used"):
        assert words in page.text, words
    _, page = await sent(client, form, "review", **wanted)
    for words in ("1 in all, 1 by one customer", "no limit in all, 2 by one customer", "can be used again",
                  "stays used", "A lower limit applies at once."):  # fmt: skip
        assert words in page.text, words
    _, page = await sent(client, form_of(page.text, f"{edit}/review"))
    assert "no limit in all, 2 by one customer" in page.text
    changed = (await api.get("/programs/SPRING")).json()
    assert (changed["uses"], changed["holder_only"], changed["refund"]) == (
        {"per_code": None, "per_profile": 2}, True, "keep_used",
    )  # fmt: skip
    # A limit that a change leaves out stays.
    changed = (await api.patch("/programs/SPRING", json={"uses": {"per_code": 9}})).json()
    assert changed["uses"] == {"per_code": 9, "per_profile": 2}
    # What the form says counts, although a program that sets no uses follows `shared`.
    await api.patch("/programs/SPRING", json={"uses": None})
    _, page = await sent(client, form_of((await client.get(edit)).text, edit), "review", shared="on")
    await sent(client, form_of(page.text, f"{edit}/review"))
    assert (await api.get("/programs/SPRING")).json()["uses"] == {"per_code": 1, "per_profile": 1}


async def test_a_draft_from_before_uses_has_their_defaults() -> None:
    for shared, most in (("", 1), ("on", None)):
        assert settings_of({"name": "SPRING", "shared": shared})["uses"] == {"per_code": most, "per_profile": 1}


async def test_an_invalid_draft_is_not_reviewed(consoles: Consoles, client: httpx.AsyncClient) -> None:
    await (await consoles.client("admin")).post("/programs", json=settings())
    edit = "/programs/SPRING/edit"
    form = form_of((await client.get(edit)).text, edit)
    await client.post(edit, data=form.filled(go="later", codes_max="many"))
    [draft] = form.filled()["key"]
    for page in ("review", "conflict"):
        answer = await client.get(f"{edit}/{page}?draft={draft}")
        assert answer.status_code == 422
        assert "codes_max" in answer.text


async def test_the_second_of_two_is_shown_what_changed_meanwhile(consoles: Consoles, client: httpx.AsyncClient) -> None:
    api = await consoles.client("admin")
    await api.post("/programs", json=settings(title="Spring"))
    edit = "/programs/SPRING/edit"
    form = form_of((await client.get(edit)).text, edit)
    theirs = {"title": "Theirs", "description": "By them", "reuse": "profile"}
    await api.patch("/programs/SPRING", json=theirs)
    _, page = await sent(client, form, "review", title="Mine", codes_max="3,000", description="By me")
    assert "Mine" in page.text
    answer, page = await sent(client, form_of(page.text, f"{edit}/review"))
    assert urlsplit(answer.headers["location"]).path == f"{edit}/conflict"
    for words in ("Theirs: Theirs", "Yours: Mine", "Theirs: By them", "Yours: By me", "It was: Spring", "profile"):
        assert words in page.text
    conflict = form_of(page.text, f"{edit}/conflict")
    _, page = await sent(client, conflict, keep_title="mine", keep_description="theirs")
    answer, _ = await sent(client, form_of(page.text, f"{edit}/review"))
    assert answer.headers["location"].partition("?")[0] == "/programs/SPRING"
    changed = (await api.get("/programs/SPRING")).json()
    assert {name: changed[name] for name in ("title", "description", "reuse", "codes_max")} == {
        "title": "Mine", "description": "By them", "reuse": "profile", "codes_max": 3_000,
    }  # fmt: skip


async def test_a_refused_change_stands_at_its_field(consoles: Consoles, client: httpx.AsyncClient) -> None:
    api = await consoles.client("admin")
    await api.post("/programs", json=settings())
    await api.post("/programs/SPRING/codes:generate", json={"count": 20})
    edit = "/programs/SPRING/edit"
    form = form_of((await client.get(edit)).text, edit)
    _, page = await sent(client, form, "review", codes_max="10", pool_max="10")
    answer, page = await sent(client, form_of(page.text, f"{edit}/review"))
    assert answer.status_code == 422
    assert re.search(r'id="codes_max-error".*?has had 20 codes', page.text, re.DOTALL)
    is_problem(await api.patch("/programs/SPRING", json={"codes_max": 10, "pool_max": 10}), 409)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"codes_max": "500", "pool_max": "501"},
         "“Pool size” must not be more than “The maximum number of promo codes”."),
        ({"valid_from": "2099-01-01", "valid_to": "2098-01-01"}, "“Valid from” must be before “Valid until”."),
        ({"ttl": "1,5"}, "Give a whole number, such as 30."),
        ({"ttl": "0"}, "Must be more than 0 seconds."),
    ],
)  # fmt: skip
async def test_faults_name_settings_as_the_form_does(
    consoles: Consoles, client: httpx.AsyncClient, given: dict[str, str], told: str
) -> None:
    await (await consoles.client("admin")).post("/programs", json=settings())
    _, page = await sent(
        client, form_of((await client.get("/programs/SPRING/edit")).text, "/programs/SPRING/edit"), **given
    )
    assert page.status_code == 422
    assert told in page.text


async def test_a_remote_service_is_tried_before_there_is_a_program(consoles: Consoles) -> None:
    """The page shows request, signature, answer and verdict; what the service says is text, and nothing is kept."""

    async def wrong(asked: Asked, _: RemoteServer) -> Reply:
        return reply(answer_of(asked, [{"code": "<b>A</b>", "price": 1}]))

    api = create_console(consoles.pool, remote_allow=("127.0.0.0/8",))
    _, secret = await consoles.token("admin")
    client = await consoles.anonymous_browser(api)
    await client.post("/sign-in", data={"token": secret})
    form = form_of((await client.get("/programs/new")).text, "/programs/new")
    _, page = await sent(client, form, "next", **GENERAL)
    form = form_of(page.text, "/programs/new")
    async with remote_server(wrong) as server:
        _, page = await sent(client, form, "test", source="remote", url=server.url)
        await client.post("/programs/new/live", data=form.filled(go="test", source="remote", url=server.url))
    assert len(server.asked) == 2
    for words in (
        "The answer is not as agreed",
        "codes.0.price",
        "webhook-signature: v1,",
        "codewell-test: true",
        "whsec_",
    ):
        assert words in page.text, words
    assert "&lt;b&gt;A" in page.text
    assert "<b>A" not in page.text
    _, page = await sent(client, form, "test", source="remote", url="ftp://x")
    assert "No test request was sent" in page.text
