"""Usage, workers and lag over HTTP."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from codewell.infra.postgres.connection import Connection
from codewell.infra.telemetry.health import Health
from codewell.usage.reporter import Reporter
from codewell.usage.tally import UsageTally
from schemas.moments import ZONE
from services.console.figures import ConsoleFigures
from tests.support.consoles import Consoles, is_problem, settings
from tests.support.pages import words

_GIVEN = """
    INSERT INTO usage_{unit} (program_id, {unit}, source, outcome, number)
    SELECT id, date_trunc('{unit}', $2::timestamptz), $3, $4, $5 FROM program WHERE name = $1
    """


async def given(connection: Connection, name: str, at: datetime, source: str, outcome: str, number: int) -> None:
    for unit in ("minute", "hour"):
        statement = _GIVEN.format(unit=unit)
        conflict = f"ON CONFLICT (program_id, {unit}, source, outcome) DO UPDATE SET number = usage_{unit}.number + $5"
        await connection.execute(f"{statement} {conflict}", name, at, source, outcome, number)


async def report(consoles: Consoles) -> None:
    """Write what this console has counted, as its reporter does."""
    tally: UsageTally = consoles.api.state.context.usage
    await Reporter("console", consoles.pool, Health(), tally, ConsoleFigures()).report("running")


async def test_what_a_console_gives_takes_back_and_activates_is_its_usage(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    await client.post("/programs/SPRING/codes:generate", json={"count": 3})

    async def post(step: str, key: str | None = None, **body: Any) -> Any:
        headers = {} if key is None else {"Idempotency-Key": key}
        return (await client.post(f"/programs/SPRING/codes:{step}", json=body, headers=headers)).json()

    codes = [(await post("attach", profile_id=f"p-{number}"))["code"] for number in range(3)]
    for _ in range(2):
        await post("activate", "one-key", code=codes[0])
    await post("activate", code=codes[0])
    await post("activate", code=codes[1])
    for key in ("another", "another", None):
        await post("detach", key, code=codes[2])
    await post("attach", profile_id="p-9", code="FROM-OUTSIDE")
    await client.patch("/programs/SPRING", json={"active": False})
    await post("attach", profile_id="p-10")
    await report(consoles)

    usage = (await client.get("/programs/SPRING/usage")).json()
    assert usage["total"] == {
        "attached": {"campaign": 0, "scenario": 0, "person": 4},
        "reused": 0,
        "refused": {"program_inactive": 1},
        "returned": 1,
        "quarantined": 0,
        "voided": 0,
        "activated": 2,
        "fallbacks": [0, 0, 0],
    }
    [step] = usage["steps"][-1:]
    assert usage["step"] == "minute"
    assert datetime.fromisoformat(usage["end"]) - datetime.fromisoformat(usage["start"]) == timedelta(hours=1)
    assert usage["start"] <= step["at"] < usage["end"]
    by_hour = (await client.get("/programs/SPRING/usage", params={"step": "hour"})).json()
    assert by_hour["total"] == usage["total"]


async def test_usage_between_two_moments(consoles: Consoles, connection: Connection) -> None:
    client = await consoles.client("read")
    writer = await consoles.client("write")
    await writer.post("/programs", json=settings())
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for minutes in (-1, 0, 59, 60):
        await given(connection, "SPRING", noon + timedelta(minutes=minutes), "campaign", "attached", 1)
    await given(connection, "SPRING", noon, "scenario", "pool_empty", 7)

    async def ask(**params: str) -> Any:
        return (await client.get("/programs/SPRING/usage", params=params)).json()

    usage = await ask(**{"from": "2026-03-01T12:00:30Z", "to": "2026-03-01T12:59:30Z"})
    assert (usage["start"], usage["end"]) == ("2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z")
    assert [(one["at"][11:16], one["attached"]["campaign"], one["refused"]) for one in usage["steps"]] == [
        ("12:00", 1, {"pool_empty": 7}),
        ("12:59", 1, {}),
    ]
    usage = await ask(step="hour", **{"from": "2026-03-01T11:10:00Z", "to": "2026-03-01T13:00:01Z"})
    assert [one["attached"]["campaign"] for one in usage["steps"]] == [1, 2, 1]
    for bounds in (("13:00", "12:00"), ("12:00", "12:00")):
        answer = await client.get(
            "/programs/SPRING/usage",
            params={"from": f"2026-03-01T{bounds[0]}:00Z", "to": f"2026-03-01T{bounds[1]}:00Z"},
        )
        is_problem(answer, 422, "query.from", "before query.to")
    long_ago = await client.get("/programs/SPRING/usage", params={"from": "2020-01-01T00:00:00Z"})
    is_problem(long_ago, 422, "1,500 steps", reason="field_invalid")


async def test_a_page_of_programs_shows_the_last_hour_and_today(
    consoles: Consoles, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await consoles.client("admin")
    for name in ("AUTUMN", "SPRING", "SUMMER"):
        await client.post("/programs", json=settings(name))
    now = (await connection.fetchval("SELECT now()")).replace(second=30)
    await given(connection, "SPRING", now, "campaign", "attached", 5)
    await given(connection, "SPRING", now - timedelta(minutes=59), "scenario", "attached", 2)
    await given(connection, "SPRING", now - timedelta(minutes=61), "campaign", "attached", 100)
    await given(connection, "SPRING", now - timedelta(days=2), "campaign", "attached", 1_000)
    await given(connection, "SPRING", now, "campaign", "pool_empty", 3)

    page = (await client.get("/usage", params={"limit": 2})).json()
    assert [one["program"] for one in page["items"]] == ["AUTUMN", "SPRING"]
    rest = (await client.get("/usage", params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert ([one["program"] for one in rest["items"]], rest["next_cursor"]) == (["SUMMER"], None)
    named = (await client.get("/usage", params={"name": ["SUMMER", "SPRING", "NONE"]})).json()
    assert [one["program"] for one in named["items"]] == ["SPRING", "SUMMER"]
    spring = page["items"][1]
    assert spring["attached"] == {"campaign": 5, "scenario": 2, "person": 0}
    assert spring["refused"] == {"pool_empty": 3}
    assert sum(spring["attached_by_minute"]) == 7
    assert page["items"][0]["attached_by_minute"] == [0] * 60


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
async def test_today_begins_at_midnight_where_the_viewer_is(
    consoles: Consoles, connection: Connection, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    midnight = datetime.now(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    await given(connection, "SPRING", midnight - timedelta(minutes=1), "campaign", "attached", 100)
    await given(connection, "SPRING", midnight, "campaign", "attached", 1)
    await given(connection, "SPRING", midnight + timedelta(hours=3), "person", "attached", 10)
    await given(connection, "SPRING", midnight, "person", "reused", 1_000)
    set_zone = ZONE.set(ZoneInfo(zone))
    try:
        [spring] = (await client.get("/usage")).json()["items"]
    finally:
        ZONE.reset(set_zone)
    assert spring["attached_today"] == 11


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
async def test_the_page_of_a_program_counts_from_midnight_too(
    consoles: Consoles, connection: Connection, zone: str
) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings("OTHER"))
    await client.post("/programs", json=settings(fallback=[{"program": "OTHER"}]))
    midnight = datetime.now(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    for outcome in ("returned", "fallback_first"):
        await given(connection, "SPRING", midnight - timedelta(minutes=1), "campaign", outcome, 100)
        await given(connection, "SPRING", midnight, "campaign", outcome, 7)
    browser = await consoles.browser("read")
    set_zone = ZONE.set(ZoneInfo(zone))
    try:
        page = await browser.get("/programs/SPRING")
    finally:
        ZONE.reset(set_zone)
    assert "Came back 7 " in words(page)
    assert "gave 7 codes today" in words(page)


async def test_another_groups_programs_are_in_no_usage(consoles: Consoles) -> None:
    admin = await consoles.client("admin")
    await admin.post("/programs", json=settings("MINE", groups=["mine"]))
    await admin.post("/programs", json=settings("THEIRS", groups=["theirs"]))
    client = await consoles.client("read", groups=["mine"])

    assert [one["program"] for one in (await client.get("/usage")).json()["items"]] == ["MINE"]
    is_problem(await client.get("/programs/THEIRS/usage"), 404, reason="program_unknown")
    for path in ("/workers", "/lag"):
        is_problem(await client.get(path), 403, "admin", reason="scope_missing")


_WORKER = """
    INSERT INTO worker (id, service, host, pid, version, started_at, report, seen_at, state, waiting_for, counters)
    VALUES (gen_random_uuid(), $1, 'h', 1, '1.2', now(), 1, now() - make_interval(secs => $2), $3, $4, $5)
    """


async def test_workers_are_listed_with_their_state(consoles: Consoles, connection: Connection) -> None:
    counters = {"answer_p99_ms": None, "answers_per_s": 1.5, "lag": {"message-render": 4.0}}
    for service, age_s, state, waiting in (
        ("issuer", 1, "running", {}),
        ("issuer", 1, "running", {"postgres": "OSError"}),
        ("generator", 16, "running", {}),
        ("console", 100, "stopped", {}),
    ):
        await connection.execute(_WORKER, service, age_s, state, json.dumps(waiting), json.dumps(counters))
    client = await consoles.client("admin")

    found = (await client.get("/workers")).json()["workers"]

    assert [(one["service"], one["state"], one["ready"]) for one in found] == [
        ("console", "stopped", False),
        ("generator", "lost", False),
        ("issuer", "running", True),
        ("issuer", "running", False),
    ]
    assert found[3]["waiting_for"] == {"postgres": "OSError"}
    assert found[0]["counters"] == counters


async def test_lag_without_kafka_says_what_to_do(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    is_problem(await client.get("/lag"), 503, "Cannot reach Kafka", reason="unavailable")
