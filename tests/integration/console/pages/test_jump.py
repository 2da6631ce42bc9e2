"""The field of the top bar: a program by name or words, a code by its text, and no text of a code in any URL."""

import httpx
import pytest

from tests.support.consoles import Consoles, create_console, settings
from tests.support.pages import form, submit, words


@pytest.fixture
async def codes(consoles: Consoles) -> dict[str, str]:
    """Programs of two groups with a code each, by program; both also have the code TWICE."""
    api = await consoles.client("admin")
    found = {}
    for program, group in (("SPRING", "ours"), ("AUTUMN", "theirs")):
        await api.post("/programs", json=settings(program, title=f"{program} sale", groups=[group]))
        await api.post(f"/programs/{program}/codes:generate", json={"count": 1})
        made = await api.post(f"/programs/{program}/codes:attach", json={"profile_id": "p-1"})
        given = {"profile_id": "p-2", "code": "TWICE"}
        assert (await api.post(f"/programs/{program}/codes:attach", json=given)).status_code == 200
        found[program] = made.json()["code"]
    return found


async def jump(browser: httpx.AsyncClient, to: str) -> httpx.Response:
    answer = await submit(browser, form(await browser.get("/tokens"), "/jump"), to=to)
    assert to not in str(answer.request.url)
    return answer


async def test_a_program_and_a_code_are_found_by_the_same_field(consoles: Consoles, codes: dict[str, str]) -> None:
    browser = await consoles.browser("read")
    assert (await jump(browser, "SPRING")).headers["location"] == "/programs/SPRING"
    assert (await jump(browser, "autumn sale")).headers["location"] == "/programs?search=autumn+sale"
    for program, code in codes.items():
        answer = await jump(browser, f" {code} ")
        assert answer.headers["location"] == f"/programs/{program}/code/0:1:0"
        assert (await browser.get(answer.headers["location"])).status_code == 200


async def test_what_is_nowhere_is_said_on_the_page(consoles: Consoles, codes: dict[str, str]) -> None:
    assert codes
    browser = await consoles.browser("read")
    answer = await jump(browser, "SPRING-none")
    assert answer.status_code == 404
    assert "no code has this text" in words(answer)
    assert "location" not in answer.headers
    assert (await browser.post("/jump", data={"to": " "})).status_code == 422


async def test_a_code_of_another_group_is_nowhere(consoles: Consoles, codes: dict[str, str]) -> None:
    browser = await consoles.browser("read", groups=["ours"])
    assert (await jump(browser, codes["AUTUMN"])).status_code == 404
    assert (await jump(browser, "AUTUMN")).status_code == 404
    twice = await jump(browser, "TWICE")
    assert twice.headers["location"].startswith("/programs/SPRING/code/1:")


async def test_a_code_of_several_programs_is_chosen(consoles: Consoles, codes: dict[str, str]) -> None:
    assert codes
    browser = await consoles.browser("read")
    page = await jump(browser, "TWICE")
    assert page.status_code == 200
    chosen = await submit(browser, form(page, "/programs/AUTUMN/code"))
    assert chosen.headers["location"].startswith("/programs/AUTUMN/code/1:")


async def test_a_till_gets_the_page_of_the_code(consoles: Consoles, codes: dict[str, str]) -> None:
    till = await consoles.browser("redeem")
    page = await till.post("/jump", data={"to": codes["SPRING"]})
    assert page.status_code == 200
    assert codes["SPRING"] in page.text


async def test_who_may_neither_read_nor_redeem_may_not_jump(consoles: Consoles, codes: dict[str, str]) -> None:
    writer = await consoles.browser("write")
    assert (await writer.post("/jump", data={"to": codes["SPRING"]})).status_code == 403


async def test_one_jump_is_one_guess_over_all_programs(consoles: Consoles, codes: dict[str, str]) -> None:
    consoles.api = create_console(consoles.pool, misses_per_minute=2)
    browser = await consoles.browser("read")
    for _ in range(5):
        assert (await jump(browser, codes["SPRING"])).status_code == 303
    for _ in range(2):
        assert (await jump(browser, "SPRING-none")).status_code == 404
    answer = await jump(browser, codes["SPRING"])
    assert answer.status_code == 429
    assert "Too many look-ups" in words(answer)
    assert (await jump(browser, "SPRING")).headers["location"] == "/programs/SPRING"
    assert (await jump(browser, "autumn sale")).headers["location"] == "/programs?search=autumn+sale"
