"""Every command as a person or a script runs it, on one set of services."""

import json
import shlex
from collections.abc import AsyncIterator
from datetime import datetime

import pytest
import pytest_asyncio

from schemas.alert_rules import DEFAULT_RULES
from tests.support.services import Services, running_services

pytestmark = pytest.mark.asyncio(loop_scope="module")

GUIDE = "{string 4}-{number 4}-{upstring 4}"
GOOD = ("--template", GUIDE, "--codes-max", "1000")
# These commands go on until they are stopped; they have tests of their own.
RUNNING = {"standalone", "demo", "issuer", "generator", "console", "bench"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, kafka_bootstrap: str
) -> AsyncIterator[Services]:
    async with running_services(tmp_path_factory.mktemp("stack"), postgres_url, kafka_bootstrap) as running:
        created = ("program", "create", "SPRING", "--template", GUIDE, "--codes-max", "100000", "--ttl", "P30D")
        (await running.spawn(*created, "--campaign-can-create", "--scenario-can-create")).is_done()
        yield running


async def subcommands(stack: Services, *words: str) -> list[str]:
    # `bench` replaces its process by that of the benchmarks, whose own help tests/unit/cli/test_help.py reads.
    run = stack.spawn if words == ("bench",) else stack.run
    said = (await run(*words, "--help")).is_done()
    assert said.out.startswith(f"Usage: codewell {' '.join(words)}".rstrip())
    listed = said.out.partition("Commands:\n")[2].splitlines()
    return [line.split()[0] for line in listed if line.startswith("  ") and not line.startswith("   ")]


async def test_help_of_every_command(stack: Services) -> None:
    found = set(await subcommands(stack))
    assert found >= RUNNING | {"migrate", "topics", "program", "code", "token", "send", "audit"}
    for name in sorted(found):
        for inner in await subcommands(stack, name):
            if name == "bench":
                continue
            assert await subcommands(stack, name, inner) == []
    assert (await stack.run("--version")).is_done().out == "codewell 0.1.0\n"


async def test_create_from_options(stack: Services) -> None:
    said = await stack.run(
        "program", "create", "OPTIONS", *GOOD, "--title", "By options", "--description", "Ünïcode", "--group", "a",
        "--group", "b", "--inactive", "--valid-from", "2026-01-01T00:00:00Z", "--valid-until", "2030-01-01T00:00:00Z",
        "--scenario-can-create", "--campaign-cannot-create", "--pool-max", "10", "--ttl", "P1DT2H",
        "--ttl-from", "attachment", "--reuse", "campaign", "--json",
    )  # fmt: skip
    [made] = said.is_done().objects
    del made["id"], made["notes"]
    assert made == {
        "removed_at": None, "placeholder": "{loyalty.OPTIONS.promocode}", "min_life_at_attach": None,
        "name": "OPTIONS", "title": "By options", "description": "Ünïcode", "groups": ["a", "b"], "active": False,
        "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2030-01-01T00:00:00Z",
        "source": {"kind": "template", "template": GUIDE}, "scenario_can_create": True, "campaign_can_create": False,
        "shared": False, "auto_link": False, "codes_max": 1000, "pool_max": 10, "ttl": "P1DT2H",
        "ttl_from": "attachment", "fields": [], "reuse": "campaign", "allow_guessable": False,
        "match": "exact", "returns": "reuse", "return_after": "P3D", "reissues_max": 1, "retention": None,
        "uses": {"per_code": 1, "per_profile": 1}, "holder_only": False, "refund": "give_back",
        "fallback": [], "fallback_on": ["pool_empty", "maximum_reached", "remote_failed"], "fallback_after": None,
        "alerts": [one.model_dump(mode="json") for one in DEFAULT_RULES],
    }  # fmt: skip
    [shown] = (await stack.run("program", "show", "OPTIONS", "--json")).is_done().objects
    stock = shown.pop("stock")
    assert shown.pop("forecast")["assumes"] == ["switched_off"]
    assert shown.pop("id") > 0
    assert shown == made
    assert stock["codes_max"] == 1000
    assert stock["made"] == 0


async def test_create_from_a_file_and_from_standard_input(stack: Services) -> None:
    program = {"name": "FILE", "title": "From a file", "codes_max": 500, "shared": True,
               "source": {"kind": "template", "template": "{safe 12}"},
               "fields": [{"name": "discount", "required": True}]}  # fmt: skip
    file = stack.folder / "program.json"
    file.write_text(json.dumps(program))
    [made] = (await stack.run("program", "create", "--file", str(file), "--json")).is_done().objects
    assert {name: made[name] for name in ("name", "title", "codes_max", "shared", "source")} == {
        name: program[name] for name in ("name", "title", "codes_max", "shared", "source")
    }
    assert made["fields"] == [{"name": "discount", "required": True, "save": True}]
    assert made["pool_max"] == 500

    said = await stack.run("program", "create", "STDIN", "--file", "-", "--codes-max", "20", "--title", "By option",
                           stdin=json.dumps(program))  # fmt: skip
    assert "STDIN" in said.is_done().out
    [shown] = (await stack.run("program", "show", "STDIN", "--json")).is_done().objects
    assert (shown["name"], shown["codes_max"], shown["title"], shown["shared"]) == ("STDIN", 20, "By option", True)

    generate = ("code", "generate", "FILE", "5")
    (await stack.run(*generate)).is_refused("FILE requires the field discount")
    (await stack.run(*generate, "--field", "discount=10", "--field", "other=1")).is_refused("no field other")
    (await stack.run(*generate, "--field", "discount=10")).is_done()
    codes = (await stack.run("code", "list", "FILE", "--json")).is_done().objects
    assert [code["fields"] for code in codes] == [{"discount": "10"}] * 5


async def test_a_guessable_template_that_is_meant(stack: Services) -> None:
    words = ("program", "create", "GUESSABLE", "--template", "{number 6}", "--codes-max", "1000")
    (await stack.run(*words)).is_refused("can be guessed")
    (await stack.run(*words, "--allow-guessable")).is_done()


async def test_lists_of_programs(stack: Services) -> None:
    objects = (await stack.run("program", "list", "--json")).is_done().objects
    names = [one["name"] for one in objects]
    assert names == sorted(names)
    assert "SPRING" in names
    table = (await stack.run("program", "list")).is_done().out.splitlines()
    assert [line.split()[0] for line in table] == ["name", *names]
    assert "pooled" in (await stack.run("program", "show", "SPRING")).is_done().out


async def test_generate_list_and_show_codes(stack: Services) -> None:
    (await stack.run("program", "create", "CODES", *GOOD, "--ttl", "P1D")).is_done()
    [stock] = (await stack.run("code", "generate", "CODES", "600", "--json")).is_done().objects
    assert (stock["program"], stock["made"], stock["pooled"]) == ("CODES", 600, 600)
    said = (await stack.run("code", "generate", "CODES", "1")).is_done()
    sentence, head, line, last = said.out.splitlines()
    assert (sentence, head.split()) == ("Generated 1 code: 601 in the pool.", ["code", "expires_at"])
    [generated] = (await stack.run(*last.removeprefix("All of them: codewell ").split(), "--json")).is_done().objects
    assert line.startswith(f"{generated['code']} ")

    first = (await stack.run("code", "list", "CODES", "--limit", "400", "--json")).is_done().objects
    after = first[-1]["place"]
    rest = (await stack.run("code", "list", "CODES", "--limit", "400", "--after", after, "--json")).is_done().objects
    codes = [one["code"] for one in first + rest]
    assert len(set(codes)) == len(codes) == 601
    [shown] = (await stack.run("code", "show", "CODES", codes[0], "--json")).is_done().objects
    assert shown == first[0]
    # The newest one is first.
    assert shown["code"] == generated["code"]
    oldest = (await stack.run("code", "list", "CODES", "--limit", "2", "--oldest-first", "--json")).is_done().objects
    assert [one["code"] for one in oldest] == codes[:-3:-1]
    *_, count, more = (await stack.run("code", "list", "CODES", "--limit", "2")).is_done().out.splitlines()
    assert count == "2 of 601."
    assert more.startswith("More: codewell code list CODES --limit 2 --after ")
    *_, last = (await stack.run(*shlex.split(more)[2:])).is_done().out.splitlines()
    assert last.startswith("There may be more: codewell code list CODES --limit 2 --after ")
    options = ("--state", "pooled", "--oldest-first", "--limit", "2")
    *_, last = (await stack.run("code", "list", "CODES", *options)).is_done().out.splitlines()
    assert last.startswith("More: codewell code list CODES --limit 2 --state pooled --oldest-first --after ")
    none = (await stack.run("code", "list", "CODES", "--profile", "p-none")).is_done().out
    assert none == "CODES has no matching codes.\n"
    [found] = (await stack.run("code", "list", "CODES", "--prefix", codes[9], "--json")).is_done().objects
    assert found["code"] == codes[9]
    assert shown["state"] == "pooled"
    assert codes[0] in (await stack.run("code", "show", "CODES", codes[0])).is_done().out
    (await stack.run("code", "show", "CODES", codes[0].swapcase())).is_refused("There is no code")
    (await stack.run("code", "generate", "CODES", "400")).is_refused("room for 399")


async def test_the_life_of_a_code(stack: Services) -> None:
    (await stack.run("program", "create", "LIFE", *GOOD, "--ttl", "P1D")).is_done()
    (await stack.run("code", "generate", "LIFE", "3")).is_done()

    async def step(*words: str) -> tuple[str, str | None]:
        [facts] = (await stack.run("code", *words, "--json")).is_done().objects
        assert facts["code"] == code
        return facts["state"], facts["profile_id"]

    [facts] = (await stack.run("code", "attach", "LIFE", "p-1", "--json")).is_done().objects
    code = facts["code"]
    assert (facts["state"], facts["profile_id"]) == ("attached", "p-1")
    assert await step("detach", "LIFE", code) == ("pooled", None)
    assert await step("attach", "LIFE", "p-2", code) == ("attached", "p-2")
    assert await step("activate", "LIFE", code) == ("activated", "p-2")
    (await stack.run("code", "activate", "LIFE", code)).is_refused(code, "activated already")
    (await stack.run("code", "delete", "LIFE", code)).is_refused(code, "is activated")
    assert await step("deactivate", "LIFE", code) == ("attached", "p-2")
    (await stack.run("code", "update", "LIFE", code, "--expires-at", "tomorrow")).is_refused(
        "a date such as", "or never"
    )
    words = ("code", "update", "LIFE", code, "--expires-at", "never", "--field", "note=kept", "--json")
    [facts] = (await stack.run(*words)).is_done().objects
    assert (facts["expires_at"], facts["fields"]) == (None, {"note": "kept"})
    assert await step("delete", "LIFE", code) == ("deleted", "p-2")

    code = "FROM-OUTSIDE"
    assert await step("attach", "LIFE", "p-3", code) == ("attached", "p-3")
    (await stack.run("code", "attach", "LIFE", "p\x01")).is_refused("profile id")
    (await stack.run("code", "activate", "LIFE", "nonsense")).is_refused("no code nonsense")
    for state, count in (("pooled", 2), ("attached", 1), ("deleted", 1)):
        listing = ("code", "list", "LIFE", "--state", state, "--json")
        assert len((await stack.run(*listing)).is_done().objects) == count
    [facts] = (await stack.run("code", "list", "LIFE", "--profile", "p-3", "--json")).is_done().objects
    assert facts["code"] == code


async def test_send_and_what_became_of_the_code(stack: Services) -> None:
    profiles = stack.folder / "profiles"
    profiles.write_text("p-2\n\n p-3 \n")
    template = "Hello! {loyalty.SPRING.promocode}"
    words = ("send", "message-render", "p-1", "--file", str(profiles), "--campaign", "c", "--template", template)
    answers = (await stack.run(*words, "--json")).is_done().objects
    assert sorted(one["profile_id"] for one in answers) == ["p-1", "p-2", "p-3"]
    for one in answers:
        [code] = one["codes"]
        assert one["rendered"] == f"Hello! {code['code']}"
        [shown] = (await stack.run("code", "show", "SPRING", code["code"], "--json")).is_done().objects
        assert (shown["state"], shown["profile_id"]) == ("attached", one["profile_id"])
        assert datetime.fromisoformat(shown["expires_at"]) == datetime.fromisoformat(code["expires_at"])

    step = ("send", "scenario-step", "--program", "SPRING", "--scenario", "welcome", "--step", "s-3", "--file", "-")
    table = (await stack.run(*step, stdin="p-4\np-5\n")).is_done().out.splitlines()
    assert len(table) == 3
    assert sorted(line.split()[:2] for line in table[1:]) == [["p-4", "attached"], ["p-5", "attached"]]


async def test_send_a_preview_and_what_is_refused(stack: Services) -> None:
    [seen] = (await stack.run("send", "scenario-step", "p-9", "--program", "SPRING", "--preview", "--json")).objects
    assert seen["preview"] is True
    [code] = seen["codes"]
    (await stack.run("code", "show", "SPRING", code["code"])).is_refused("There is no code")

    late = ("send", "message-render", "p-9", "--program", "SPRING", "--deadline", "2020-01-01T00:00:00Z", "--json")
    said = await stack.run(*late)
    assert (said.status, said.err) == (1, "Error: 1 of 1 request was refused: see why above.\n")
    [refused] = said.objects
    assert refused["refusals"][0]["reason"] == "deadline_passed"
    said = await stack.run("send", "message-render", "p-9", "p-10", "--program", "NOPE")
    assert (said.status, said.err) == (1, "Error: 2 of 2 requests were refused: see why above.\n")
    assert "No program has the short name NOPE." in said.out


async def test_audit_migrate_and_topics_again(stack: Services) -> None:
    assert (await stack.run("migrate", "--json")).is_done().objects == [{"applied": [], "newer": None}]
    assert (await stack.run("topics", "--json")).is_done().objects == [{"created": [], "raised": [], "weak": []}]
    [report] = (await stack.run("audit", "--json")).is_done().objects
    assert (report["clean"], report["findings"]) == (True, [])
    assert "no violations" in (await stack.run("audit")).is_done().out
    assert (await stack.run("migrate")).is_done().out == "The schema is up to date.\n"
    assert (await stack.run("topics")).is_done().out == "All topics exist.\n"
