"""Forecasts are read for many programs at once, from the days that generators keep and from the hours after them."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from codewell.forecast import forecasts, history, reading
from codewell.forecast.forecast import ForecastInput, forecasts_of
from codewell.infra.postgres.connection import Connection, Pool
from codewell.pool import fill, orders
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.forecast import Forecast
from tests.integration.reservations.test_claims import reserve
from tests.support.factories import OFF, program

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LARGE: dict[str, Any] = {"source": {"kind": "template", "template": "{safe 10}"}, "codes_max": 20_000_000}

# As many codes in each of the last hours, and the same share of the hour that has begun.
_USAGE = """
    INSERT INTO usage_hour (program_id, hour, source, outcome, number)
    SELECT $1, date_trunc('hour', now()) - make_interval(hours => n), 'campaign', 'attached',
           greatest(1, CASE n WHEN 0 THEN $2 * extract(epoch FROM now() - date_trunc('hour', now())) / 3600 ELSE $2 END)
    FROM generate_series(0, $3::integer) n
    """


async def give(connection: Connection, program_id: int, an_hour: int, hours: int = 28 * 24) -> None:
    """Say that the program gave so many codes in each of the last hours."""
    await connection.execute(_USAGE, program_id, an_hour, hours)


async def one(connection: Connection, program_id: int) -> Forecast:
    return (await forecasts(connection, [program_id]))[program_id]


def hours_left(forecast: Forecast) -> float:
    assert forecast.runs_out_at.p50 is not None
    return (forecast.runs_out_at.p50 - datetime.now(UTC)) / HOUR


async def test_a_program_lasts_until_its_maximum_is_given(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, codes_max=10_000, pool_max=100)
    await fill.top_up(connection, minters, spring.id)
    await give(connection, spring.id, 20)

    found = await one(connection, spring.id)

    assert hours_left(found) == pytest.approx(500, rel=0.02)
    assert (found.cause, found.before_valid_until) == ("maximum", True)
    assert found.assumes == ["usual_weeks", "filled"]
    # No hour differed from another.
    assert found.runs_out_at.p90 is not None
    assert found.runs_out_at.p50 is not None
    assert found.runs_out_at.p50 - found.runs_out_at.p90 < DAY


async def test_without_the_right_to_make_codes_the_pool_is_all_there_is(
    connection: Connection, minters: Minters
) -> None:
    spring = await program(connection, minters, **OFF)
    await fill.generate(connection, minters, spring.id, 1_000, None)
    await give(connection, spring.id, 20)

    found = await one(connection, spring.id)

    assert (round(hours_left(found), -1), found.cause) == (50, "stock")


async def test_the_days_that_are_kept_give_the_same_forecast_as_the_hours(
    connection: Connection, connections: Pool, minters: Minters
) -> None:
    ids = []
    for number in range(3):
        made = await program(connection, minters, f"P{number}", codes_max=10_000, pool_max=100)
        ids.append(made.id)
        await give(connection, made.id, 5 + number, 28 * 24 if number else 30)
    await connection.execute(
        "INSERT INTO usage_hour SELECT $1, date_trunc('hour', now()) - interval '5 h', 'campaign', 'returned', 3",
        ids[1],
    )
    _, before = await history.read(connection, ids)

    async def keep() -> bool:
        async with connections.acquire() as other:
            return await history.keep(other)

    # Two generators at once: one keeps the days.
    assert any(await asyncio.gather(keep(), keep()))
    await history.keep(connection)
    assert not await history.keep(connection)

    assert await connection.fetchval("SELECT count(*) FROM demand_day") >= 2 * 28
    _, after = await history.read(connection, ids)
    assert (after.hours == before.hours).all()
    assert before.hours[1].sum() == 28 * 24 * 6 - 3
    # The days answer, not the hours.
    await connection.execute("DELETE FROM usage_hour WHERE hour < date_trunc('hour', now()) - interval '2 hours'")
    assert ((await history.read(connection, ids))[1].hours == before.hours).all()


async def test_a_report_that_came_late_is_added_with_the_next_hour(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters)
    await give(connection, spring.id, 7, 50)
    await history.keep(connection)
    await connection.execute("UPDATE demand_done SET until = until - interval '1 hour'")
    # Of the day in which the kept hours end, or, where that has just begun, of the day before.
    await connection.execute(
        "UPDATE usage_hour SET number = 70 WHERE hour = date_trunc('hour', now()) - interval '2 hours'"
    )
    await history.keep(connection)
    assert (await history.read(connection, [spring.id]))[1].hours[0, -2] == 70


async def test_days_that_are_too_old_are_deleted(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters)
    await connection.execute(
        "INSERT INTO demand_day SELECT $1, date_trunc('day', now()) - interval '40 days', array_fill(9, ARRAY[24])",
        spring.id,
    )
    await history.keep(connection)
    assert await connection.fetchval("SELECT count(*) FROM demand_day") == 0


@pytest.mark.parametrize("ahead", [DAY, timedelta(days=400)])
async def test_a_clock_that_was_ahead_spoils_no_forecast(
    connection: Connection, minters: Minters, ahead: timedelta
) -> None:
    spring = await program(connection, minters)
    await give(connection, spring.id, 7)
    _, before = await history.read(connection, [spring.id])
    await connection.execute("INSERT INTO demand_done (until) VALUES (date_trunc('hour', now() + $1))", ahead)
    await connection.execute(
        "INSERT INTO demand_day SELECT $1, date_trunc('day', now() + $2), array_fill(9, ARRAY[24])", spring.id, ahead
    )
    _, meanwhile = await history.read(connection, [spring.id])
    assert meanwhile.hours.shape == before.hours.shape
    assert meanwhile.current == before.current

    assert await history.keep(connection)

    _, after = await history.read(connection, [spring.id])
    assert (after.hours == before.hours).all()
    assert await connection.fetchval("SELECT count(*) FROM demand_day WHERE day > now()") == 0
    assert not await history.keep(connection)


async def test_a_reservation_moves_the_forecast_when_it_is_made(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, pool_max=1_000, **LARGE)
    await give(connection, spring.id, 5_000)
    before = await one(connection, spring.id)

    mine = await reserve(connection, minters, spring.id, 2_000_000)

    after = await one(connection, spring.id)
    assert hours_left(before) - hours_left(after) == pytest.approx(400, rel=0.02)
    assert after.assumes == ["usual_weeks", "filled", "reservations"]
    # What the reservation lacks is taken from the pool when its campaign is sent.
    await connection.execute(
        "UPDATE reservation SET count = count + 1000000, send_at = now() + interval '10 days' WHERE id = $1", mine.id
    )
    short = await one(connection, spring.id)
    assert hours_left(after) - hours_left(short) == pytest.approx(200, rel=0.02)


async def test_codes_that_expire_are_given_first_and_are_gone_then(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF, min_life_at_attach=DAY, ttl=timedelta(days=300))
    await fill.generate(connection, minters, spring.id, 1_000, None)
    await give(connection, spring.id, 1)
    await connection.execute("UPDATE block SET expires_at = now() + interval '11 days'")

    found = await one(connection, spring.id)

    # With less life than the program asks for no code is given.
    assert hours_left(found) == pytest.approx(240, abs=0.1)
    assert found.cause == "expiry"


async def test_a_remote_service_that_is_too_slow(connection: Connection, minters: Minters) -> None:
    url = "https://codes.example.com/"
    remote = {"kind": "remote", "url": url, "request_max": 100}
    spring = await program(connection, minters, source=remote, codes_max=5_000_000, pool_max=5_000)
    await connection.execute(
        "INSERT INTO block (program_id, kind, size, origin) VALUES ($1, 'list', 5000, 'pool')", spring.id
    )
    await give(connection, spring.id, 500)
    found = await one(connection, spring.id)
    assert (found.cause, found.assumes) == ("maximum", ["usual_weeks", "filled", "remote_rate_unknown"])

    # Its last requests took 15 minutes each, one after another; two thirds of the codes came: 267 an hour.
    await connection.execute(
        """
        INSERT INTO remote_request (program_id, count, fields, origin, state, received, created_at, finished_at)
        SELECT $1, 90, '{}', 'pool', 'done', 60, now() - n * interval '15 min', now() - (n - 1) * interval '15 min'
        FROM generate_series(1, 10) n
        """,
        spring.id,
    )
    found = await one(connection, spring.id)
    assert (found.cause, found.assumes[-1]) == ("remote_too_slow", "remote_rate")
    assert hours_left(found) == pytest.approx(5_000 / (500 - 4 * 100 * 2 / 3), rel=0.1)

    await connection.execute("UPDATE remote_service SET failures = $1", orders.FAILURES_MAX)
    found = await one(connection, spring.id)
    assert (found.cause, found.assumes[-1]) == ("remote_too_slow", "remote_down")
    assert hours_left(found) == pytest.approx(10, rel=0.1)


async def test_a_shared_code_lasts_as_long_as_it_lives(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, shared=True, codes_max=1, pool_max=1, reuse="profile", **OFF)
    await give(connection, spring.id, 1_000)
    assert (await one(connection, spring.id)).cause == "stock"
    await connection.execute(
        "INSERT INTO holding (program_id, profile_id, scope, block_id, position, code, expires_at) "
        "VALUES ($1, '', '', 1, 0, 'A', now() + interval '5 days')",
        spring.id,
    )
    found = await one(connection, spring.id)
    assert (round(hours_left(found)), found.cause, found.assumes) == (120, "expiry", ["shared"])
    await connection.execute("UPDATE holding SET expires_at = NULL")
    assert (await one(connection, spring.id)).cause is None


async def test_programs_that_give_nothing(connection: Connection, minters: Minters) -> None:
    new = await program(connection, minters, "NEW", **OFF)
    await fill.generate(connection, minters, new.id, 10, None)
    off = await program(connection, minters, "OFF")
    await programs.set_active(connection, "OFF", False)
    found = await forecasts(connection, [new.id, off.id, 999])

    assert found.keys() == {new.id, off.id}
    assert (found[new.id].runs_out_at.p50, found[new.id].assumes) == (None, ["no_history", "two_years"])
    assert (found[off.id].cause, found[off.id].assumes) == (None, ["switched_off"])
    assert await forecasts(connection, []) == {}


async def test_no_statement_reads_the_usage_of_other_programs_or_times(
    connection: Connection, minters: Minters
) -> None:
    ids = [(await program(connection, minters, f"P{number}")).id for number in range(60)]
    for id_ in ids:
        await give(connection, id_, 3, 24 * 20)
    await history.keep(connection)
    await connection.execute("VACUUM ANALYZE")
    plans: list[str] = []
    connection.add_log_listener(lambda _, said: plans.append(said.message))
    await connection.execute(
        "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET client_min_messages = log"
    )
    await forecasts(connection, ids[:1])
    await forecasts(connection, ids)
    await connection.execute("UPDATE demand_done SET until = until - interval '1 hour'")
    assert await history.keep(connection)
    await asyncio.sleep(0)

    told = [plan for plan in plans if "usage_hour" in plan and "plan:" in plan]
    assert len(told) >= 3
    assert not [plan for plan in told if "Seq Scan on usage_" in plan]


async def test_consoles_and_generators_may_read_all_of_it(connection: Connection, minters: Minters) -> None:
    url = "https://codes.example.com/"
    shared = await program(connection, minters, shared=True, pool_max=1)
    remote = await program(connection, minters, "PARTNER", source={"kind": "remote", "url": url})
    await connection.execute("UPDATE program SET reservations = 1")
    ids = [shared.id, remote.id]
    for role in ("codewell_console", "codewell_generator"):
        await connection.execute(f"SET ROLE {role}")
        assert (await forecasts(connection, ids)).keys() == set(ids)
    assert await history.keep(connection)
    await connection.execute("RESET ROLE")


async def test_the_next_programs_are_read_while_the_ones_before_are_computed(
    connection: Connection, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [(await program(connection, minters, f"P{n}")).id for n in range(3)]
    begun = [threading.Event() for _ in ids]
    numbers = iter(range(len(ids)))
    read, compute = reading.read, forecasts_of

    async def noted(connection: Connection, some: Sequence[int]) -> ForecastInput:
        begun[next(numbers)].set()
        return await read(connection, some)

    def after_the_next(found: ForecastInput) -> list[Forecast]:
        following = ids.index(found.facts[0].id) + 1
        assert following == len(ids) or begun[following].wait(timeout=10)
        return compute(found)

    monkeypatch.setattr(reading, "BATCH_MAX", 1)
    monkeypatch.setattr(reading, "read", noted)
    monkeypatch.setattr(reading, "forecasts_of", after_the_next)
    assert list(await forecasts(connection, ids)) == ids


async def test_a_forecast_that_fails_leaves_the_connection_to_its_caller(
    connection: Connection, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [(await program(connection, minters, f"P{n}")).id for n in range(2)]
    read = reading.read

    async def slowly(connection: Connection, some: Sequence[int]) -> ForecastInput:
        await connection.execute("SELECT pg_sleep(0.2)")
        return await read(connection, some)

    def broken(_: ForecastInput) -> list[Forecast]:
        raise ZeroDivisionError

    monkeypatch.setattr(reading, "BATCH_MAX", 1)
    monkeypatch.setattr(reading, "read", slowly)
    monkeypatch.setattr(reading, "forecasts_of", broken)
    with pytest.raises(ZeroDivisionError):
        await forecasts(connection, ids)
    assert await connection.fetchval("SELECT 1") == 1
