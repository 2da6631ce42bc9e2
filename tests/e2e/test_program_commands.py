"""Programs are changed, cloned, switched and removed as a person or a script does it."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from schemas.alert_rules import DEFAULT_RULES
from tests.support.services import Services, running_services

pytestmark = pytest.mark.asyncio(loop_scope="module")

GUIDE = "{string 4}-{number 4}-{upstring 4}"
GOOD = ("--template", GUIDE, "--codes-max", "1000")
FILL_TIMEOUT_S = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, kafka_bootstrap: str
) -> AsyncIterator[Services]:
    # Nothing is found by a sweep within the time of these tests: what is filled was announced.
    async with running_services(tmp_path_factory.mktemp("stack"), postgres_url, kafka_bootstrap) as running:
        (await running.run("program", "create", "THERE", *GOOD)).is_done()
        yield running
        [report] = (await running.run("audit", "--json")).is_done().objects
        assert (report["clean"], report["findings"]) == (True, [])


async def shown(stack: Services, name: str) -> dict[str, Any]:
    [one] = (await stack.run("program", "show", name, "--json")).is_done().objects
    return one


async def kept(stack: Services, name: str) -> dict[str, Any]:
    """What is shown but the forecast, which is of the moment."""
    return {key: value for key, value in (await shown(stack, name)).items() if key != "forecast"}


async def until_ready(stack: Services, name: str, count: int) -> None:
    deadline = time.monotonic() + FILL_TIMEOUT_S
    while (await shown(stack, name))["stock"]["pooled"] != count:
        assert time.monotonic() < deadline, f"the pool of {name} was not filled"


async def test_update_changes_what_is_given_and_nothing_else(stack: Services) -> None:
    (await stack.run("program", "create", "CHANGES", *GOOD, "--title", "Before", "--ttl", "P1D", "--shared")).is_done()
    before = await kept(stack, "CHANGES")

    options = ("--title", "After", "--group", "a", "--not-shared", "--field", "x:required", "--field", "y:discard")
    [changed] = (await stack.run("program", "update", "CHANGES", *options, "--json")).is_done().objects
    fields = [{"name": "x", "required": True, "save": True}, {"name": "y", "required": False, "save": False}]
    del before["stock"]
    assert changed == before | {"notes": changed["notes"]} | {
        "title": "After",
        "groups": ["a"],
        "shared": False,
        # By default those of a program whose profiles do not share a code.
        "uses": {"per_code": 1, "per_profile": 1},
        "fields": fields,
    }

    file = json.dumps({"title": "By file", "ttl": None, "description": "By file"})
    said = await stack.run("program", "update", "CHANGES", "--file", "-", "--description", "By option", stdin=file)
    # What was not changed needs no note.
    assert said.is_done().out == "Changed program CHANGES.\n"
    off = (await stack.run("program", "update", "CHANGES", "--campaign-cannot-create")).is_done().out
    assert "Both switches of CHANGES are off, so no codes are made by themselves and its pool stays at 0" in off
    assert "or set --campaign-can-create or --scenario-can-create." in off
    after = await shown(stack, "CHANGES")
    assert (after["title"], after["ttl"], after["description"]) == ("By file", None, "By option")


async def test_a_program_that_may_create_now_is_filled_at_once(stack: Services) -> None:
    (await stack.run("program", "create", "FILLED", *GOOD)).is_done()
    (await stack.run("program", "update", "FILLED", "--campaign-can-create")).is_done()
    await until_ready(stack, "FILLED", 1000)

    (await stack.run("program", "deactivate", "FILLED")).is_done()
    (await stack.run("program", "update", "FILLED", "--codes-max", "1500", "--pool-max", "1200")).is_done()
    assert (await shown(stack, "FILLED"))["active"] is False
    [active] = (await stack.run("program", "activate", "FILLED", "--json")).is_done().objects
    assert active["active"] is True
    await until_ready(stack, "FILLED", 1200)


async def test_a_new_template_and_codes_of_the_old_one(stack: Services) -> None:
    (await stack.run("program", "create", "TEMPLATES", *GOOD)).is_done()
    (await stack.run("code", "generate", "TEMPLATES", "2")).is_done()
    (await stack.run("program", "update", "TEMPLATES", "--template", "{safe 14}")).is_done()
    (await stack.run("code", "generate", "TEMPLATES", "2")).is_done()

    codes = [one["code"] for one in (await stack.run("code", "list", "TEMPLATES", "--json")).is_done().objects]
    assert ["-" in code for code in codes] == [False, False, True, True]
    for code in codes:
        (await stack.run("code", "show", "TEMPLATES", code)).is_done()


async def test_clone_and_remove(stack: Services) -> None:
    (await stack.run("program", "create", "ONE", *GOOD, "--title", "First")).is_done()
    (await stack.run("code", "generate", "ONE", "1")).is_done()
    [two] = (await stack.run("program", "clone", "ONE", "TWO", "--json")).is_done().objects
    assert (two["name"], two["title"]) == ("TWO", "First")

    said = (await stack.run("program", "remove", "ONE", "--yes")).is_done()
    assert said.out == "Removed program ONE. Its codes stay on record: codewell code list ONE\n"
    names = [one["name"] for one in (await stack.run("program", "list", "--json")).is_done().objects]
    assert "ONE" not in names
    assert "TWO" in names
    assert len((await stack.run("code", "list", "ONE", "--json")).is_done().objects) == 1
    for words in (("update", "ONE", "--title", "x"), ("activate", "ONE"), ("deactivate", "ONE"),
                  ("remove", "ONE", "--yes")):  # fmt: skip
        (await stack.run("program", *words)).is_refused("ONE was removed")
    (await stack.run("program", "create", "ONE", *GOOD)).is_refused("perhaps by a removed program")
    (await stack.run("program", "clone", "ONE", "TWO")).is_refused("The short name TWO is taken")


async def test_a_removal_asks_for_the_name_and_removed_programs_are_listed(stack: Services) -> None:
    (await stack.run("program", "create", "GONE", *GOOD)).is_done()
    (await stack.spawn("program", "remove", "GONE", stdin="")).is_aborted("Type its name to remove it")
    said = await stack.spawn("program", "remove", "GONE", stdin="gone\n")
    assert (said.status, said.err.endswith("The name differs: GONE was not removed.\n")) == (1, True), said
    [listed] = [one for one in (await stack.run("program", "list", "--json")).objects if one["name"] == "GONE"]
    assert (listed["removed_at"], listed["state"], listed["pooled"], listed["had"]) == (None, "active", 0, 0)

    said = await stack.spawn("program", "remove", "GONE", "--json", stdin="GONE\n")
    assert said.status == 0, said
    assert "would end for good: it has 0 pooled codes and 0 attached codes" in said.err
    [removed] = said.objects
    assert (removed["active"], (await shown(stack, "GONE"))["removed_at"]) == (False, removed["removed_at"])
    assert removed["removed_at"] is not None

    gone = [one for one in (await stack.run("program", "list", "--removed", "--json")).objects if one["name"] == "GONE"]
    assert [(one["state"], one["removed_at"]) for one in gone] == [("removed", removed["removed_at"])]
    head, *lines = (await stack.run("program", "list", "--removed")).is_done().out.splitlines()
    assert head.split()[-1] == "removed"
    assert any(line.startswith("GONE ") for line in lines)
    (await stack.run("program", "remove", "GONE")).is_refused("GONE is removed already, since 20")


async def test_what_leaves_the_pool_empty_and_the_text_to_copy_are_said_at_creation(stack: Services) -> None:
    said = (await stack.run("program", "create", "COPIED", *GOOD)).is_done()
    assert "In a message template its code is: {loyalty.COPIED.promocode}\n" in said.out
    assert "Both switches of COPIED are off" in said.out
    (await stack.run("program", "update", "COPIED", "--campaign-can-create")).is_done()
    [made] = (await stack.run("program", "create", "FILES", "--import-only", "--codes-max", "9", "--json")).objects
    assert made["notes"] == [
        "All codes of FILES are imported, and it has none before that: import them, or attach codes."
    ]
    assert made["placeholder"] == "{loyalty.FILES.promocode}"


async def test_the_list_says_how_each_program_stands(stack: Services) -> None:
    (await stack.run("program", "create", "ENDED", *GOOD, "--valid-until", "2026-01-01T00:00:00Z")).is_done()
    (await stack.run("program", "create", "LATER", *GOOD, "--valid-from", "2040-01-01T00:00:00Z")).is_done()
    (await stack.run("program", "create", "OFF", *GOOD, "--inactive", "--title", "Off")).is_done()
    (await stack.run("program", "create", "STOCK", *GOOD)).is_done()
    (await stack.run("code", "generate", "STOCK", "7")).is_done()

    head, *lines = (await stack.run("program", "list")).is_done().out.splitlines()
    found = {line.split()[0]: line for line in lines}
    assert head.split() == ["name", "title", "state", "codes", "ready", "had", "maximum", "valid", "until"]
    assert " ended " in found["ENDED"]
    assert " not started " in found["LATER"]
    assert found["OFF"].split()[1:3] == ["Off", "off"]
    assert found["STOCK"].split()[-4:] == ["7", "7", "1,000", "-"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("update", "NOPE", "--title", "x"), ("There is no program NOPE",)),
        (("update", "THERE", "--codes-max", "0"), ("--codes-max", "Nothing was changed.")),
        (("update", "THERE", "--pool-max", "1001"), ("--pool-max must not be more", "Nothing was changed.")),
        (("update", "THERE", "--template", "{number 6}"), ("can be guessed",)),
        (("update", "THERE", "--template", "{number 2}"), ("100 unused texts left", "1,000 more codes")),
        (("update", "THERE", "--valid-until", "soon"), ("--valid-until",)),
        (("clone", "THERE", "A B"), ("short name", "Nothing was made.")),
        (("clone", "NOPE", "X"), ("There is no program NOPE",)),
        (("activate", "NOPE"), ("There is no program NOPE",)),
        (("remove", "NOPE"), ("There is no program NOPE",)),
        (("remove", "NOPE", "--yes"), ("There is no program NOPE",)),
    ],
)
async def test_what_is_refused_changes_nothing(stack: Services, words: tuple[str, ...], says: tuple[str, ...]) -> None:
    before = await kept(stack, "THERE")
    (await stack.run("program", *words)).is_refused(*says)
    assert await kept(stack, "THERE") == before


async def test_another_name_in_a_file_is_refused(stack: Services) -> None:
    said = await stack.run("program", "update", "THERE", "--file", "-", stdin='{"name": "ELSE"}')
    said.is_refused("The short name of THERE cannot change")


@pytest.mark.parametrize(
    "words",
    [
        ("update",),
        ("update", "THERE"),
        ("update", "THERE", "--field", "x:optional"),
        ("clone", "THERE"),
        ("remove",),
    ],
    ids=" ".join,
)
async def test_usage(stack: Services, words: tuple[str, ...]) -> None:
    (await stack.run("program", *words)).is_wrong_usage()


async def test_an_interview_repeats_what_is_refused(stack: Services) -> None:
    answers = [
        "A B", "THERE", "ASKED", "Asked for", "", "red, blue", "tomorrow", "2026-01-01T00:00:00Z",
        "2025-01-01T00:00:00Z", "2099-01-01T00:00:00Z",
        "{numbr 4}", "{number 4}",
        "maybe", "yes", "no", "no", "no", "many", "100,000", "{number 6}", "1000", "n", GUIDE, "5000",
        "6000", "300", "0", "3", "any", "P30D", "birth", "attachment", "",
        "SPARE, SPARE", "THERE", "SPARE", "sold_out", "pool_empty", "discount:required, note:discard",
    ]  # fmt: skip
    (await stack.run("program", "create", "SPARE", *GOOD, "--group", "red", "--group", "blue")).is_done()
    said = await stack.run("program", "create", "--interactive", "--json", stdin="\n".join(answers) + "\n")

    assert said.status == 0, said
    [made] = said.objects
    del made["id"]
    assert (made.pop("removed_at"), made.pop("placeholder")) == (None, "{loyalty.ASKED.promocode}")
    assert made.pop("notes") == []
    assert made == {
        "name": "ASKED", "title": "Asked for", "description": "", "groups": ["red", "blue"], "active": True,
        "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2099-01-01T00:00:00Z",
        "source": {"kind": "template", "template": GUIDE}, "scenario_can_create": True, "campaign_can_create": False,
        "shared": False, "auto_link": False, "codes_max": 5000, "pool_max": 300, "ttl": "P30D",
        "ttl_from": "attachment", "min_life_at_attach": None, "reuse": "request", "match": "exact",
        "allow_guessable": False, "returns": "reuse", "return_after": "P3D", "reissues_max": 1, "retention": None,
        "uses": {"per_code": 3, "per_profile": None}, "holder_only": False, "refund": "give_back",
        "fallback": [{"program": "SPARE"}], "fallback_on": ["pool_empty"], "fallback_after": None,
        "alerts": [one.model_dump(mode="json") for one in DEFAULT_RULES],
        "fields": [{"name": "discount", "required": True, "save": True},
                   {"name": "note", "required": False, "save": False}],
    }  # fmt: skip
    for asked in ("1. General", "2. Where codes come from", "3. Settings", "without spaces", "Answer yes or no.",
                  "The short name THERE is taken", "valid_from must be before", '"{numbr 4}" is unknown',
                  "fewer than the maximum of 100,000", "can be guessed", "pool_max must not be more",
                  "must name each program once", "no program THERE in all"):  # fmt: skip
        assert asked in said.err, said


async def test_an_interview_shows_what_is_given_as_its_defaults(stack: Services) -> None:
    words = ("program", "create", "DEFAULTS", *GOOD, "--interactive", "--title", "Given", "--field", "x:required")
    said = await stack.run(*words, "--shared", stdin="\n" * 25)

    assert said.status == 0, said
    made = await shown(stack, "DEFAULTS")
    assert (made["title"], made["shared"], made["pool_max"], made["ttl"]) == ("Given", True, 1000, None)
    assert made["fields"] == [{"name": "x", "required": True, "save": True}]
    assert "Name [Given]:" in said.err
    assert "One code for many profiles [yes]:" in said.err


async def test_an_interview_that_ends_early_makes_nothing(stack: Services) -> None:
    said = await stack.run("program", "create", "--interactive", stdin="HALF\n")
    assert said.status == 1, said
    (await stack.run("program", "show", "HALF")).is_refused("There is no program HALF")


async def test_kafka_out_of_reach_changes_nothing(stack: Services) -> None:
    before = await kept(stack, "THERE")
    for words in (("update", "THERE", "--title", "x"), ("deactivate", "THERE"), ("remove", "THERE", "--yes")):
        said = await stack.run("program", *words, CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1")
        said.is_refused("Cannot reach Kafka")
    assert await kept(stack, "THERE") == before


async def test_dates_are_read_in_the_zone_that_is_named_and_that_is_said(stack: Services) -> None:
    dates = ("--valid-from", "2026-01-01", "--valid-until", "2099-12-31", "--time-zone", "Europe/Berlin")
    said = (await stack.run("program", "create", "DATES", *GOOD, *dates)).is_done()
    assert (
        "--valid-from 2026-01-01 is read in the time zone Europe/Berlin: it is 2025-12-31T23:00:00Z.\n"
        "--valid-until 2099-12-31 is read in the time zone Europe/Berlin: it ends when that day ends, "
        "2099-12-31T23:00:00Z.\n"
    ) in said.out
    found = await shown(stack, "DATES")
    assert (found["valid_from"], found["valid_until"]) == ("2025-12-31T23:00:00Z", "2099-12-31T23:00:00Z")
    said = (await stack.run("program", "update", "DATES", "--valid-until", "2098-12-31")).is_done()
    assert "time zone UTC: it ends when that day ends, 2099-01-01T00:00:00Z" in said.out
    (await stack.run("program", "update", "DATES", *dates[:4], "--time-zone", "Mars")).is_wrong_usage("Europe/Berlin")
