"""`codewell program forecast` and the forecast in `program show`."""

from pathlib import Path

from codewell.infra.postgres.connection import Connection
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from tests.integration.forecast.test_reading import give
from tests.support.commands import environment
from tests.support.factories import OFF, program
from tests.support.in_process import codewell


async def test_when_a_program_runs_out(
    connection: Connection, minters: Minters, database_url: str, tmp_path: Path
) -> None:
    spring = await program(connection, minters, **OFF)
    env = environment(CODEWELL_POSTGRES_URL=database_url, CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1")
    await generate(connection, minters, spring.id, 1_000, None)

    said = (await codewell("program", "forecast", "SPRING", env=env, cwd=tmp_path)).is_done()
    assert [line.split(maxsplit=1) for line in said.out.splitlines()] == [
        ["runs_out_at", "not within two years"], ["assumes", "no_history, two_years"],
    ]  # fmt: skip

    await give(connection, spring.id, 10)
    said = (await codewell("program", "forecast", "SPRING", env=env, cwd=tmp_path)).is_done()
    facts = dict(line.split(maxsplit=1) for line in said.out.splitlines())
    assert facts.keys() == {"runs_out_at", "at_high_demand", "cause", "before_valid_until", "assumes"}
    assert (facts["cause"], facts["before_valid_until"], facts["assumes"]) == ("stock", "yes", "usual_weeks")

    [found] = (await codewell("program", "forecast", "SPRING", "--json", env=env, cwd=tmp_path)).is_done().objects
    assert found.keys() == {"runs_out_at", "cause", "before_valid_until", "assumes"}
    [shown] = (await codewell("program", "show", "SPRING", "--json", env=env, cwd=tmp_path)).is_done().objects
    assert shown["forecast"]["cause"] == "stock"
    said = (await codewell("program", "show", "SPRING", env=env, cwd=tmp_path)).is_done()
    assert "runs_out_at" in said.out

    said = await codewell("program", "forecast", "NOWHERE", env=env, cwd=tmp_path)
    assert (said.status, said.out) == (1, "")
    assert "NOWHERE" in said.err
