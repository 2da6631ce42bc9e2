"""`codewell program list`: how many codes stand ready in each program."""

from pathlib import Path

from codewell.codes import lifecycle
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from tests.support.commands import environment
from tests.support.factories import OFF, message, program
from tests.support.in_process import codewell
from tests.support.stock import codes


async def test_returned_codes_are_listed_once(
    connection: Connection, connections: Pool, minters: Minters, database_url: str, tmp_path: Path
) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 10, None)
    requests = [message("SPRING", profile_id=f"p-{number}") for number in range(3)]
    for code in codes((await Claims(connections, minters).attach(requests)).rows, requests):
        await lifecycle.detach(ProgramCodes(connection, minters, spring.id), code or "")
    env = environment(CODEWELL_POSTGRES_URL=database_url, CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1")

    said = (await codewell("program", "list", env=env, cwd=tmp_path)).is_done()

    [head, line] = said.out.splitlines()
    ready, had = head.index("ready"), head.index("had")
    assert line[ready:had].strip() == "10"
    [stock] = (await codewell("program", "show", "SPRING", "--json", env=env, cwd=tmp_path)).is_done().objects
    assert stock["stock"]["pooled"] == 10
