"""A template is judged before a program has it: samples that belong to no pool, the space, and its strength."""

import json
from typing import Any

import httpx
import pytest

from codewell.infra.postgres.connection import Connection
from codewell.pool.minter_cache import Minters
from tests.support.consoles import Consoles, is_problem, settings

PREVIEW = "/templates:preview"


async def shown(client: httpx.AsyncClient, **given: Any) -> dict[str, Any]:
    answer = await client.post(PREVIEW, json=given)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_good_template(consoles: Consoles) -> None:
    client = await consoles.client("read")
    found = await shown(client, template="{string 4}-{number 4}-{upstring 4}", codes_max=1_000_000)
    assert (found["valid"], found["error"], found["length"]) == (True, None, 14)
    assert found["space"] == str(52**4 * 10**4 * 26**4)
    assert (found["bits"], found["strength"]["level"]) == (54.9, "good")
    assert "someone who tries 10 per second for 365 days" in found["strength"]["sentence"]
    assert len({*found["codes"]}) == 5
    assert all(code[4] == code[9] == "-" for code in found["codes"])
    assert [one["token"] for one in found["tokens"]] == [
        "{string 4}", "{number 4}", "{upstring 4}", "{safe 4}", "{[ABC] 4}", "{check}",
    ]  # fmt: skip
    assert found["check"] is None
    checked = await shown(client, template="{safe 8}{check}", codes_max=10)
    assert "every wrong character, swap" in checked["check"]
    assert (checked["space"], checked["length"]) == (str(28**8), 9)


async def test_what_is_safe_can_be_created_and_one_more_can_not(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    template = "{upstring 10}"
    safe = (await shown(client, template=template))["codes_max_safe"]
    assert safe > 0
    source = {"kind": "template", "template": template}
    for more, level, status in ((0, "good", 201), (1, "weak", 422)):
        given: dict[str, Any] = {"codes_max": safe + more}
        assert (await shown(client, template=template, **given))["strength"]["level"] == level
        made = settings(f"P{more}", source=source, allow_guessable=False, **given)
        assert (await client.post("/programs", json=made)).status_code == status


@pytest.mark.parametrize(
    ("template", "position", "words"),
    [
        ("", None, "empty"),
        ("A-{numbr 4}", 3, "unknown"),
        ("A-{number 4", 3, "never closed"),
        ("{number 4}}", 11, "closes no token"),
        ("A\\b", 2, "escape"),
        ("A\tB", 2, "not printable"),
        (" {number 8}", 1, "space"),
        ("{number 8} ", 11, "space"),
        ("={number 8}", 1, "formulas"),
        ("{number 201}", 1, "201"),
        ("é{[AA] 4}", 2, "repeats"),
    ],
)
async def test_a_mistake_has_its_place(consoles: Consoles, template: str, position: int | None, words: str) -> None:
    found = await shown(await consoles.client("write"), template=template)
    assert not found["valid"]
    assert (found["error"]["reason"], found["error"]["position"]) == ("template_invalid", position)
    assert words in found["error"]["detail"]
    assert found["tokens"]


async def test_a_template_with_too_few_codes(consoles: Consoles) -> None:
    found = await shown(await consoles.client("read"), template="{number 1}", codes_max=11)
    assert (found["valid"], found["error"]["reason"], len(found["codes"])) == (False, "template_too_small", 5)
    few = await shown(await consoles.client("read"), template="A{[XY] 1}", codes_max=2)
    assert sorted(few["codes"]) == ["AX", "AY"]


async def test_a_text_for_all_is_public(consoles: Consoles) -> None:
    client = await consoles.client("read")
    given: dict[str, Any] = {"template": "WELCOME10", "codes_max": 1}
    assert (await shown(client, **given))["strength"]["level"] == "weak"
    assert (await shown(client, **given, shared=True))["strength"]["level"] == "public"


async def test_a_shorter_life_is_harder_to_guess(consoles: Consoles) -> None:
    client = await consoles.client("read")
    given: dict[str, Any] = {"template": "{upstring 9}", "codes_max": 1_000}
    assert (await shown(client, **given))["strength"]["level"] == "weak"
    life = {"valid_from": "2098-01-01", "valid_until": "2098-01-01", "ttl": "P1D"}
    assert (await shown(client, **given, **life))["strength"]["level"] == "good"


async def test_samples_are_no_codes_of_a_pool(consoles: Consoles, connection: Connection, minters: Minters) -> None:
    """Of 26**8 texts a real pool has the first 20; samples differ each time, so that none is its next."""
    client = await consoles.client("admin")
    template = "{upstring 8}"
    made = settings(source={"kind": "template", "template": template})
    await client.post("/programs", json=made)
    pool = {
        one["code"]
        for one in (await client.post("/programs/SPRING/codes:generate", json={"count": 20})).json()["codes"]
    }
    seen = [tuple((await shown(client, template=template, codes_max=1_000))["codes"]) for _ in range(5)]
    assert len({*seen}) == 5
    assert pool.isdisjoint(code for codes in seen for code in codes)
    assert (await client.get("/programs/SPRING/stock")).json()["made"] == 20


async def test_who_may_ask_and_how(consoles: Consoles) -> None:
    redeemer = await consoles.client("redeem")
    is_problem(await redeemer.post(PREVIEW, json={"template": "A"}), 403, "read or write")
    reader = await consoles.client("read")
    is_problem(await reader.post(PREVIEW, json={}), 422, "template")
    is_problem(await reader.post(PREVIEW, json={"template": "A", "codes_max": 0}), 422, "codes_max")
    is_problem(await reader.post(PREVIEW, content=b"{", headers={"content-type": "application/json"}), 400)
    long = await shown(reader, template="{number 1}" * 199 + "{number 2}")
    assert "201 characters" in json.dumps(long["error"])


async def test_a_short_name_is_free_or_not(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings(groups=["ours"]))
    await client.post("/programs", json=settings("REMOVED"))
    await client.delete("/programs/REMOVED")
    other = await consoles.client("write", groups=["theirs"])
    for name, free, words in (
        ("SPRING_2", True, ""), ("SPRING", False, "taken"), ("REMOVED", False, "taken"),
        ("two words", False, "letters"), ("", False, "letters"), ("x" * 65, False, "64"), ("A\n", False, "letters"),
    ):  # fmt: skip
        found = (await other.get("/programs:check-name", params={"name": name})).json()
        assert (found["name"], found["free"]) == (name, free)
        assert words in found["detail"]
    reader = await consoles.client("read")
    is_problem(await reader.get("/programs:check-name", params={"name": "A"}), 403)
