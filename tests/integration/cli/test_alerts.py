"""`codewell alert`: what a person lists and clears, of one program and of all."""

from pathlib import Path

from codewell.alerts.alerts import raise_alert
from codewell.infra.postgres.connection import Connection
from codewell.pool.minter_cache import Minters
from tests.support.command_result import Said
from tests.support.commands import environment
from tests.support.factories import program
from tests.support.in_process import codewell


async def test_alerts_are_listed_of_all_programs_and_of_one(
    connection: Connection, minters: Minters, database_url: str, tmp_path: Path
) -> None:
    env = environment(CODEWELL_POSTGRES_URL=database_url, CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1")

    async def run(*words: str) -> Said:
        return await codewell("alert", *words, env=env, cwd=tmp_path)

    async def listed(*words: str) -> list[tuple[str, str]]:
        said = (await run("list", "--json", *words)).is_done()
        return [(one["program"], one["kind"]) for one in said.objects]

    for name in ("SPRING", "OTHER"):
        made = await program(connection, minters, name)
        await raise_alert(connection, made.id, "pool-below", details={"ready": 5})
    await raise_alert(connection, made.id, "returns-stopped")

    assert await listed() == [("OTHER", "returns-stopped"), ("OTHER", "pool-below"), ("SPRING", "pool-below")]
    assert await listed("SPRING") == [("SPRING", "pool-below")]
    assert await listed("--kind", "pool-below") == [("OTHER", "pool-below"), ("SPRING", "pool-below")]
    assert await listed("OTHER", "--level", "critical") == [("OTHER", "returns-stopped")]
    head, *lines = (await run("list")).is_done().out.splitlines()
    assert (head.split()[:3], len(lines)) == (["program", "kind", "level"], 3)
    assert (await run("list", "NOPE")).status != 0

    assert (await run("clear", "SPRING")).is_done().out.strip() == "Cleared 1 alert of SPRING."
    assert (await run("list", "SPRING")).is_done().out.strip() == "No open alert of SPRING."
    assert await listed("--cleared") == [("SPRING", "pool-below")]
    assert "cleared_by" in (await run("list", "--cleared")).is_done().out
