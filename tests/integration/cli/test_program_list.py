"""`codewell program list`: how many codes stand ready in each program."""

from pathlib import Path

from services.postgres.connection import Connection, Pool
from services.store import life
from services.store.claim import Claims
from services.store.filling import generate
from services.store.minters import Minters
from tests.e2e.commands import codewell, environment
from tests.factories import OFF, message, program
from tests.integration.store.situations import codes


async def test_returned_codes_are_listed_once(
    connection: Connection, connections: Pool, minters: Minters, database_url: str, tmp_path: Path
) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 10, None)
    requests = [message("SPRING", profile_id=f"p-{number}") for number in range(3)]
    for code in codes((await Claims(connections, minters).attach(requests)).rows, requests):
        await life.detach(connection, minters, spring.id, code or "")
    env = environment(CODEWELL_POSTGRES_URL=database_url, CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1")

    said = (await codewell("program", "list", env=env, cwd=tmp_path)).is_done()

    [head, line] = said.out.splitlines()
    ready, had = head.index("ready"), head.index("had")
    assert line[ready:had].strip() == "10"
    [stock] = (await codewell("program", "show", "SPRING", "--json", env=env, cwd=tmp_path)).is_done().objects
    assert stock["stock"]["pooled"] == 10
