"""`codewell code reissue` and `codewell code change`: what they do, print and refuse."""

from pathlib import Path
from uuid import UUID

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from tests.support.command_result import Said
from tests.support.commands import environment
from tests.support.factories import OFF, program
from tests.support.in_process import codewell


async def test_a_code_is_reissued_and_many_are_changed_and_restored(
    connection: Connection, minters: Minters, database_url: str, tmp_path: Path
) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 10, None)
    env = environment(CODEWELL_POSTGRES_URL=database_url, CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1")

    async def run(*words: str) -> Said:
        return await codewell("code", *words, env=env, cwd=tmp_path)

    [old] = (await run("attach", "SPRING", "p-1", "--json")).is_done().objects
    [new] = (await run("reissue", "SPRING", "--profile", "p-1", "--reason", "lost", "--json")).is_done().objects
    assert (new["profile_id"], new["replaces"], new["reissues_left"]) == ("p-1", old["place"], 0)
    (await run("reissue", "SPRING", new["code"], "--reason", "again")).is_refused("raise --reissues-max")
    (await run("reissue", "SPRING", "--reason", "lost")).is_wrong_usage("either CODE or --profile")
    (await run("reissue", "SPRING", new["code"], "--reason", "x" * 10_240)).is_wrong_usage("1 to 500 characters")
    shown = (await run("show", "SPRING", old["code"], "--history")).is_done()
    assert "reissued" in shown.out

    [counts] = (await run("change", "SPRING", "--state", "pooled", "--dry-run", "--json")).is_done().objects
    assert counts == {"pooled": 8, "expired": 0, "attached": 0, "exact": True}
    # A script has nobody who answers.
    (await run("change", "SPRING", "--state", "pooled", "--void")).is_aborted("Delete up to")
    [done] = (await run("change", "SPRING", "--state", "pooled", "--void", "--yes", "--json")).is_done().objects
    assert (done["state"], done["changed"]) == ("done", 8)
    (await run("change", "SPRING", "--state", "pooled", "--void", "--yes")).is_refused("finds no code")
    (await run("change", "SPRING", "--stop", done["id"])).is_refused("only a running one")
    [undone] = (await run("change", "SPRING", "--undo", done["id"], "--json")).is_done().objects
    assert (undone["state"], undone["restored"]) == ("undone", 8)
    assert "changed" in (await run("change", "SPRING", "--expires-at", "2090-01-01")).is_done().out
    assert await connection.fetchval("SELECT count(*) FROM block WHERE expires_at = '2090-01-02'") == 1
    (await run("change", "SPRING", "--expires-at", "2020-01-01")).is_refused("is past")
    (await run("change", "SPRING")).is_wrong_usage("one of --expires-at, --void")
    (await run("change", "SPRING", "--void", "--expires-at", "never")).is_wrong_usage("one of --expires-at, --void")
    (await run("change", "SPRING", "--undo", str(UUID(int=7)))).is_refused("no change")
    assert await audit(connection) == []
