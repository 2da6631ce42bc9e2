"""The policies of reuse are measured with profiles that are new to the program, and with those that it knows."""

import json
from typing import Any

import asyncpg
import pytest

from benchmarks import grown_assignments
from benchmarks.contenders import Contender
from benchmarks.grown import check_audit
from benchmarks.grown_answers import grow
from benchmarks.grown_assignments import CASES, assign, bench_assignments
from benchmarks.race import ALL_KINDS, Outcome
from benchmarks.report import Report
from codewell.errors import CodewellError
from codewell.infra.uuid7 import uuid7
from codewell.issuing.claim import Claims
from codewell.issuing.model import Request
from schemas.events import MessageRender, ScenarioStep

ASSIGNED = 3_000
REQUESTS = 100
PROGRAM = "OLD"
SERVERS: Any = None


def measure(monkeypatch: pytest.MonkeyPatch, connection: asyncpg.Connection, claims: Claims, share: float) -> None:
    """Decide this share of each run's requests in this process instead of an issuer's."""

    async def run(contender: Contender, requests: int, name: str, *_: Any) -> Outcome:
        await contender.stock(connection, name, 2 * requests)
        assert contender.data is not None
        kind = ScenarioStep if contender.topic == "scenario-step" else MessageRender
        asked = [json.dumps(contender.data(name, number)) for number in range(int(share * requests))]
        events = [kind.model_validate_json(data) for data in asked]
        claimed = await claims.attach([Request(uuid7(), event, event.program_names) for event in events])
        assert not any(row.refusals for [row] in claimed.rows.values())
        return Outcome(
            requests, 2.0 if contender.name.startswith("reuse") else 1.0, dict.fromkeys(ALL_KINDS, 1.0), 0, 0
        )

    monkeypatch.setattr(grown_assignments, "_run", run)


async def grow_assigned(connection: asyncpg.Connection, url: str) -> None:
    await grow(connection, PROGRAM, ASSIGNED, 0, 7, lambda _: None, scatter=True)
    await assign(url, PROGRAM, lambda _: None)


async def test_each_policy_is_a_share_of_a_program_without_reuse(
    connection: asyncpg.Connection, database_url: str, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(monkeypatch, connection, claims, 1)
    report = Report("grown", {})
    await grow_assigned(connection, database_url)

    await bench_assignments(database_url, SERVERS, report, REQUESTS, PROGRAM, 2, lambda _: None)

    [cpu] = [one for one in report.results if one.name == f"{CASES[0].label}: CPU"]
    assert cpu.rate == 3e6 / REQUESTS
    assert report.shares() == {f"{case.label} / request": 0.5 for case in CASES}
    assert [goal.name for goal in report.goals] == [f"share of reuse: request, {case.label}" for case in CASES]
    held = await connection.fetch("SELECT scope, count(*) FROM holding GROUP BY 1 ORDER BY 1")
    assert [count for _, count in held] == [ASSIGNED // 3 + 2 * REQUESTS] * 3
    await check_audit(database_url)


async def test_a_run_that_gave_too_few_codes_is_no_figure(
    connection: asyncpg.Connection, database_url: str, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(monkeypatch, connection, claims, 0.5)
    await grow_assigned(connection, database_url)

    with pytest.raises(CodewellError, match="attached 50 codes, not 100"):
        await bench_assignments(database_url, SERVERS, Report("grown", {}), REQUESTS, PROGRAM, 1, lambda _: None)
