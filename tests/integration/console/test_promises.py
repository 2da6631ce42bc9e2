"""Checks of the promises, asked for over HTTP and on their page."""

import pytest

from codewell.audit import promise_checks
from codewell.infra.postgres.connection import Connection
from services.console.background.promise_checker import PromiseChecker
from tests.support.consoles import Consoles, is_problem, settings


def checker_of(consoles: Consoles) -> PromiseChecker:
    found: PromiseChecker = consoles.api.state.context.promise_checker
    return found


async def check_next(consoles: Consoles) -> None:
    """Make the check that was begun, as the console's background does."""
    checker = checker_of(consoles)
    await checker.check(checker._begun.get_nowait())


async def test_a_check_runs_in_the_background_and_its_result_stays(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    assert (await client.get("/promises")).json() == {"check": None}

    begun = await client.post("/promises:check")
    assert begun.status_code == 202
    assert begun.json()["check"]["state"] == "running"
    assert (await client.post("/promises:check")).json() == begun.json()
    await check_next(consoles)

    check = (await client.get("/promises")).json()["check"]
    assert (check["state"], check["rules_done"], check["findings"]) == ("clean", check["rules"], [])
    assert checker_of(consoles)._begun.empty()
    assert (await client.post("/promises:check")).json()["check"]["state"] == "running"


async def test_broken_rules_are_counted_without_their_rows(consoles: Consoles, connection: Connection) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    await client.post("/programs/SPRING/codes:generate", json={"count": 3})
    await connection.execute("UPDATE program SET made = made + 1")
    await client.post("/promises:check")
    await check_next(consoles)

    check = (await client.get("/promises")).json()["check"]
    assert check["state"] == "broken"
    assert {one["promise"] for one in check["findings"]} == {"I4"}
    assert all(one.keys() == {"promise", "says", "count"} for one in check["findings"])
    page = await (await consoles.browser("admin")).get("/operations/promises")
    assert "Promises are broken" in page.text
    assert "I4" in page.text


async def test_a_check_whose_console_died_is_interrupted(
    consoles: Consoles, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await consoles.client("admin")
    await client.post("/promises:check")
    await connection.execute("UPDATE promise_check SET started_at = now() - interval '1 minute'")
    assert (await client.get("/promises")).json()["check"]["state"] == "interrupted"

    locked = await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", *promise_checks._ADVISORY_LOCK)
    assert locked
    assert (await client.get("/promises")).json()["check"]["state"] == "running"


async def test_a_check_that_the_database_ends_says_so(consoles: Consoles, connection: Connection) -> None:
    client = await consoles.client("admin")
    await client.post("/promises:check")
    await connection.execute("ALTER TABLE holding RENAME TO away")
    await check_next(consoles)
    check = (await client.get("/promises")).json()["check"]
    assert (check["state"], check["error"]) == ("failed", "The database failed (UndefinedTableError).")


async def test_the_page_shows_progress_and_a_button_without_javascript(consoles: Consoles) -> None:
    client = await consoles.browser("admin")
    assert "Not checked yet" in (await client.get("/operations/promises")).text
    answer = await client.post("/operations/promises", data={"key": "0b7c9d53-0f0f-4c1b-9f0c-6f1f5a4f1f0e"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/operations/promises")
    page = (await client.get("/operations/promises")).text
    assert "<progress" in page
    assert 'http-equiv="refresh"' in page
    assert "Check now" not in page


async def test_promises_are_for_admins(consoles: Consoles) -> None:
    is_problem(await (await consoles.client("read")).get("/promises"), 403, "admin")
    is_problem(await (await consoles.client("write")).post("/promises:check"), 403, "admin")
    assert (await (await consoles.browser("read")).get("/operations/promises")).status_code == 403
