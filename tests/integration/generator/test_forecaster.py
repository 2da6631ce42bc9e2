"""Generators keep the history of demand and say when programs run out of codes."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.telemetry.health import Health
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from services.generator.forecaster import RUNS_OUT, Forecaster
from tests.integration.forecast.test_reading import give
from tests.support.factories import OFF, program
from tests.support.running import until


def shown() -> dict[str, float]:
    return {sample.labels["program"]: sample.value for [metric] in [RUNS_OUT.collect()] for sample in metric.samples}


async def test_the_metric_has_the_programs_that_run_out(
    connection: Connection, connections: Pool, minters: Minters
) -> None:
    soon = await program(connection, minters, "SOON", **OFF)
    ends = datetime.now(UTC) + timedelta(hours=2)
    for name, changed in (("LATER", {}), ("ENDS", {"valid_until": ends}), ("UNUSED", {}), ("OFF", {})):
        await program(connection, minters, name, **changed)
    for found in await programs.page(connection, [], "", 10):
        await fill.generate(connection, minters, found.id, 100, None)
        if found.name != "UNUSED":
            await give(connection, found.id, 10)
    await programs.set_active(connection, "OFF", False)
    forecaster, stop = Forecaster(connections, Health()), asyncio.Event()
    running = asyncio.create_task(forecaster.run(stop, 0.01))

    async def has(*names: str) -> bool:
        return shown().keys() == set(names)

    await until(lambda: has("SOON", "LATER"), "forecast of both")
    assert shown()["SOON"] == pytest.approx(10 * 3_600, rel=0.05)
    assert shown()["LATER"] > shown()["SOON"]
    assert await connection.fetchval("SELECT count(*) FROM demand_day WHERE program_id = $1", soon.id) >= 28

    # A series ends with its program.
    await programs.set_active(connection, "SOON", False)
    await until(lambda: has("LATER"), "forecast without SOON")
    stop.set()
    await asyncio.wait_for(running, 10)
