"""`codewell code generate --profiles`: the ids come one a line, from a file or standard input."""

from pathlib import Path

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from codewell.pool.minter_cache import Minters
from tests.support.command_result import Said
from tests.support.commands import environment
from tests.support.factories import program
from tests.support.in_process import codewell

GENERATE = ("code", "generate", "SPRING", "--profiles")


async def test_profiles_get_codes_by_the_command_line(
    connection: Connection, minters: Minters, database_url: str, tmp_path: Path
) -> None:
    await program(connection, minters, auto_link=True)
    env = environment(CODEWELL_POSTGRES_URL=database_url, CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1")

    async def run(*words: str, stdin: str | None = None) -> Said:
        return await codewell(*words, env=env, cwd=tmp_path, stdin=stdin)

    (tmp_path / "ids.txt").write_text("p-1\r\n\n  p-2 \nü 3\n")
    said = (await run(*GENERATE, "ids.txt")).is_done()
    sentence, head, *who, last = said.out.splitlines()
    assert sentence == "Generated and attached 3 codes, one per profile."
    assert head.split() == ["code", "profile_id", "expires_at"]
    assert [line[line.index(" ") : line.rindex(" ")].strip() for line in who] == ["p-1", "p-2", "ü 3"]
    assert last.startswith("All of them: codewell code list SPRING --batch ")
    listed = (await run(*last.split("codewell ")[1].split(), "--json")).is_done().objects
    assert {one["profile_id"] for one in listed} == {"p-1", "p-2", "ü 3"}
    [stock] = (await run(*GENERATE, "-", "--json", stdin="p-4\n")).is_done().objects
    assert (stock["made"], stock["attached"], stock["pooled"]) == (4, 4, 0)
    rows = await connection.fetch("SELECT profile_id FROM answer ORDER BY request_id")
    assert [row["profile_id"] for row in rows] == ["p-1", "p-2", "ü 3", "p-4"]

    (await run("code", "generate", "SPRING", "2")).is_refused("give the profiles")
    (await run(*GENERATE, "-", stdin="p-5\np-5\n")).is_refused("Profile 2", "twice")
    (await run("code", "generate", "SPRING")).is_wrong_usage("Missing COUNT")
    (await run("code", "generate", "SPRING", "2", "--profiles", "-", stdin="p-5\n")).is_wrong_usage("leave COUNT out")
    (await run(*GENERATE, "-", stdin="\n")).is_wrong_usage("no profile id")
    (await run(*GENERATE, "-", stdin=f"p-5\n{'x' * 257}\n")).is_wrong_usage("line 2")
    (tmp_path / "ids.txt").write_bytes(b"p-5\n\xff\n")
    (await run(*GENERATE, "ids.txt")).is_wrong_usage("UTF-8")
    assert await connection.fetchval("SELECT count(*) FROM answer") == 4
    assert await audit(connection) == []
