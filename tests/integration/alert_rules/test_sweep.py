"""One look judges the rules of all programs: it raises and clears alerts; what a person cleared stays so."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from codewell.alert_rules import readings
from codewell.alert_rules.sweep import LOOKS_A_ROUND, Sweep, Swept
from codewell.alerts import alerts
from codewell.alerts.fallback_use import note_fallbacks
from codewell.forecast import forecast, reading
from codewell.forecast.forecast import ForecastInput
from codewell.infra.postgres.connection import Connection
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from codewell.usage.tally import UsageRow
from schemas.forecast import Forecast
from tests.support.factories import OFF, program

IMPORT: dict[str, Any] = {"source": {"kind": "import"}, **OFF}


async def open_kinds(connection: Connection, program_id: int) -> list[str]:
    return sorted(one.kind for one in await alerts.page(connection, program_id, 20))


async def change(connection: Connection, name: str = "SPRING", **changed: Any) -> None:
    await programs.update(connection, Minters(None), name, changed, 10)


async def test_an_alert_is_raised_once_and_cleared_by_itself(connection: Connection, minters: Minters) -> None:
    spring = (await program(connection, minters, alerts=[{"kind": "pool_below", "codes": 20}], **OFF)).id
    sweep = Sweep()

    assert await sweep.look(connection) == Swept(1, 0)
    await fill.generate(connection, minters, spring, 25, None)
    assert await sweep.look(connection) == Swept(0, 0)
    [alert] = await alerts.page(connection, spring, 2)
    assert (alert.kind, alert.level, alert.count, alert.details) == (
        "pool-below", "warning", 1, {"pooled": 0, "codes": 20},
    )  # fmt: skip
    await fill.generate(connection, minters, spring, 5, None)
    assert await sweep.look(connection) == Swept(0, 1)
    [cleared] = await alerts.page(connection, spring, 2, cleared=True)
    assert cleared.cleared_by == "codewell"
    # The cause is back: that is another alert.
    await connection.execute("UPDATE block SET open = false")
    assert await sweep.look(connection) == Swept(1, 0)
    # The rule is gone.
    await change(connection, alerts=[])
    assert await sweep.look(connection) == Swept(0, 1)


async def test_what_a_person_clears_stays_cleared_until_its_cause_is_gone(
    connection: Connection, minters: Minters
) -> None:
    spring = (await program(connection, minters, alerts=[{"kind": "pool_below", "codes": 20}], **OFF)).id
    sweep = Sweep()
    await sweep.look(connection)
    await alerts.clear_alerts(connection, spring, "ana")

    assert await sweep.look(connection) == Swept(0, 0)
    await fill.generate(connection, minters, spring, 40, None)
    assert await sweep.look(connection) == Swept(0, 0)
    await connection.execute("UPDATE block SET open = false")
    assert await sweep.look(connection) == Swept(1, 0)


async def test_a_full_pool_and_a_later_end_are_good_however_near_their_thresholds(
    connection: Connection, minters: Minters
) -> None:
    end = datetime.now(UTC) + timedelta(days=2)
    rules = [{"kind": "pool_below", "codes": 80}, {"kind": "ends_within", "within": "P3D"}]
    spring = (await program(connection, minters, pool_max=100, valid_until=end, alerts=rules)).id
    sweep = Sweep()
    assert await sweep.look(connection) == Swept(2, 0)
    await fill.top_up(connection, minters, spring)
    assert await sweep.look(connection) == Swept(0, 1)
    await connection.execute("UPDATE block SET open = false")
    assert await sweep.look(connection) == Swept(1, 0)

    await alerts.clear_alerts(connection, spring, "ana")
    await connection.execute("UPDATE block SET open = true")
    await change(connection, valid_until=end + timedelta(days=2))
    assert await sweep.look(connection) == Swept(0, 0)
    await connection.execute("UPDATE block SET open = false")
    await change(connection, valid_until=end)
    assert await sweep.look(connection) == Swept(2, 0)


async def test_each_rule_finds_its_figures_in_the_database(connection: Connection, minters: Minters) -> None:
    now = datetime.now(UTC)
    spring = (
        await program(
            connection, minters, valid_until=now + timedelta(days=2), ttl=timedelta(days=1), ttl_from="creation", **OFF
        )
    ).id
    await fill.generate(connection, minters, spring, 10, None)
    for outcome, number in (("pool_empty", 30), ("attached", 100), ("fallback_first", 5), ("returned", 70)):
        await use(connection, spring, outcome, number)
    await connection.execute("INSERT INTO return_minute VALUES ($1, date_trunc('minute', now()), 101)", spring)
    await connection.execute(
        "INSERT INTO remote_service (program_id, failures, error) VALUES ($1, 5, 'it said 500')", spring
    )
    sweep = Sweep()

    await sweep.look(connection)

    found = {one.kind: one.details for one in await alerts.page(connection, spring, 20)}
    assert found["refusals"] == {"refused": 30, "requests": 135, "pool_empty": 30}
    assert found["returns-share"] == {"returned": 101, "attached": 100}
    assert found["remote-down"] == {"failures": 5, "error": "it said 500"}
    assert found["codes-expire-within"] == {"expiring": 10, "pooled": 10}
    assert set(found["ends-within"]) == {"valid_until"}
    assert set(found) <= {*found, "runs-out-within"}

    await connection.execute("UPDATE usage_minute SET minute = minute - interval '20 minutes'")
    await connection.execute("UPDATE remote_service SET failures = 0")
    await connection.execute("UPDATE program SET valid_until = NULL, removed_at = NULL")
    await connection.execute("UPDATE block SET expires_at = now() + interval '30 days'")
    await connection.execute("DELETE FROM return_minute")
    await sweep.look(connection)
    assert set(await open_kinds(connection, spring)) <= {"runs-out-within"}


async def test_a_program_that_runs_out_is_found_by_its_forecast(connection: Connection, minters: Minters) -> None:
    """A shortfall of a campaign moves the forecast at once."""
    spring = (await program(connection, minters, **OFF)).id
    await fill.generate(connection, minters, spring, 10, None)
    sweep = Sweep()
    for _ in range(LOOKS_A_ROUND):
        await sweep.look(connection)
    assert await open_kinds(connection, spring) == []
    await connection.execute(
        "INSERT INTO reservation (program_id, source, source_id, count, granted, until, send_at, partial, overflow) "
        "VALUES ($1, 'campaign', 'summer', 1000, 0, now() + interval '9 days', now() + interval '2 hours', true, "
        "'pool')",
        spring,
    )
    await connection.execute("UPDATE program SET reservations = 1")

    await sweep.look(connection)

    assert await open_kinds(connection, spring) == ["runs-out-within"]
    await change(connection, active=False)
    await sweep.look(connection)
    assert await open_kinds(connection, spring) == []


async def test_a_forecast_that_fails_stops_no_other_forecast_and_no_other_rule(
    connection: Connection, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    dry = {"alerts": [{"kind": "runs_out_within"}], "valid_until": datetime.now(UTC) + timedelta(days=30), **OFF}
    first, broken, last = [(await program(connection, minters, name, **dry)).id for name in ("FIRST", "BROKEN", "LAST")]
    other = (await program(connection, minters, "OTHER", alerts=[{"kind": "pool_below", "codes": 20}], **OFF)).id
    await connection.execute(
        "INSERT INTO usage_hour SELECT id, date_trunc('hour', now()) - interval '2 h', 'campaign', 'attached', 90 "
        "FROM program"
    )

    def forecasts_of(reading: ForecastInput) -> list[Forecast]:
        if broken in {one.id for one in reading.facts}:
            raise FloatingPointError
        return forecast.forecasts_of(reading)

    monkeypatch.setattr(reading, "forecasts_of", forecasts_of)
    await Sweep().look(connection)

    assert [await open_kinds(connection, one) for one in (first, broken, last, other)] == [
        ["runs-out-within"], [], ["runs-out-within"], ["pool-below"],
    ]  # fmt: skip


async def test_an_open_alert_says_what_its_newest_forecast_says(connection: Connection, minters: Minters) -> None:
    """Each program has its turn in another look of a round."""
    ids = [(await program(connection, minters, name, **OFF)).id for name in ("FIRST", "SECOND", "THIRD")]
    await connection.execute(
        "INSERT INTO usage_hour SELECT id, date_trunc('hour', now()) - interval '2 h', 'campaign', 'attached', 90 "
        "FROM program"
    )
    for id_ in ids:
        await fill.generate(connection, minters, id_, 30, None)
    sweep = Sweep()
    assert await sweep.look(connection) == Swept(3, 0)
    # So few that no forecast is made for it alone.
    await connection.execute("UPDATE block SET next = next + 1, undone = undone + 1")

    for _ in range(2 * LOOKS_A_ROUND):
        await sweep.look(connection)

    found = [(await alerts.page(connection, id_, 2))[0].details["pooled"] for id_ in ids]
    assert found == [29, 29, 29]


async def test_a_fallback_raises_an_alert_where_that_is_a_rule_and_it_ends_with_its_use(
    connection: Connection, minters: Minters
) -> None:
    await program(connection, minters, "OTHER")
    links = [{"program": "OTHER"}]
    spring = (await program(connection, minters, fallback=links)).id
    quiet = (await program(connection, minters, "QUIET", fallback=links, alerts=[{"kind": "remote_down"}])).id
    sweep = Sweep()
    for one in (spring, quiet):
        await use(connection, one, "fallback_first", 3)
        await note_fallbacks(connection, [usage_row(one, "fallback_first", 3)])

    assert await open_kinds(connection, spring) == ["fallback-used"]
    assert await open_kinds(connection, quiet) == []
    await connection.execute("UPDATE alert SET last_at = last_at - interval '2 hours'")
    await sweep.look(connection)
    assert await open_kinds(connection, spring) == ["fallback-used"]
    await connection.execute("UPDATE usage_minute SET minute = minute - interval '2 hours'")
    await sweep.look(connection)
    assert await open_kinds(connection, spring) == []


async def test_no_statement_of_a_look_reads_answers_or_scans_usage(
    connection: Connection, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    await program(connection, minters, **IMPORT)
    await connection.execute("SET enable_seqscan = off")
    for statement, values in (
        (readings._PROGRAMS, [timedelta(days=3)]),
        (readings._REQUESTS, [15, ["returned"]]),
        (readings._RETURNED, []),
        (readings._STATES, []),
    ):
        rows = await connection.fetch(f"EXPLAIN {statement}", *values)
        plan = "\n".join(row[0] for row in rows)
        assert "answer" not in plan, plan
        assert "Seq Scan on usage_minute" not in plan, plan
        assert "Seq Scan on return_minute" not in plan, plan
        assert "Seq Scan on block" not in plan, plan
        assert "Seq Scan on alert" not in plan, plan


def usage_row(program_id: int, outcome: str, number: int) -> UsageRow:
    return UsageRow(time.time(), program_id, "campaign", outcome, number)


async def use(connection: Connection, program_id: int, outcome: str, number: int) -> None:
    await connection.execute(
        "INSERT INTO usage_minute VALUES ($1, date_trunc('minute', now()), 'campaign', $2, $3)",
        program_id, outcome, number,
    )  # fmt: skip
