"""`codewell login` makes a user of the database for one service."""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from tests.support.command_result import Said
from tests.support.commands import environment
from tests.support.in_process import codewell
from tests.support.servers import as_role


async def test_a_service_gets_a_user_and_another_password(
    connection: Connection, database_url: str, tmp_path: Path
) -> None:
    name = f"issuer_{uuid4().hex[:8]}"

    async def run(*words: str) -> Said:
        env = environment(CODEWELL_POSTGRES_URL=database_url, CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1")
        return await codewell("login", "issuer", "--user", name, *words, env=env, cwd=tmp_path)

    async def may(url: str) -> tuple[str, bool]:
        own = await asyncpg.connect(url)
        try:
            row = await own.fetchrow("SELECT current_user, has_table_privilege('token', 'SELECT')")
        finally:
            await own.close()
        return row[0], row[1]

    try:
        made = (await run()).is_done().out.splitlines()[-1].removeprefix("CODEWELL_POSTGRES_URL=")
        assert await may(made) == (name, False)
        (tmp_path / "password").write_text("a-password-of-my-own\n")
        printed = (await run("--password-file", "password")).is_done().out
        assert "a-password-of-my-own" not in printed
        again = urlsplit(printed.splitlines()[-1].removeprefix("CODEWELL_POSTGRES_URL="))
        assert await may(urlunsplit(again._replace(netloc=again.netloc.replace("@", ":a-password-of-my-own@"))))
        url = as_role(database_url, "issuer")
        theirs = environment(CODEWELL_POSTGRES_URL=url, CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1")
        refused = await codewell("token", "create", "shop", "--scope", "read", env=theirs, cwd=tmp_path)
        refused.is_refused("permission denied for table token", "owner of the schema")
        [given] = (await run("--json")).is_done().objects
        assert (given["user"], given["role"]) == (name, "codewell_issuer")
        assert await may(given["postgres_url"]) == (name, False)
        (await run("--user", "")).is_wrong_usage("--user", "must not be empty")
        (tmp_path / "password").write_bytes(b"\xff" * 32)
        (await run("--password-file", "password")).is_wrong_usage("--password-file", "must be UTF-8 text")
        (tmp_path / "password").write_text("short")
        (await run("--password-file", "password")).is_refused("at least 16 ASCII characters")
        assert [entry.verb for entry in await audit_log.page(connection, 10)] == ["login.give"] * 3
    finally:
        await connection.execute(f"DROP ROLE IF EXISTS {name}")


async def test_the_url_names_any_user_and_has_what_the_server_wants(
    connection: Connection, database_url: str, tmp_path: Path
) -> None:
    name = f"a/b:c@{uuid4().hex[:8]}"
    url = f"{database_url}?sslmode=prefer&target_session_attrs=any&application_name=own"
    env = environment(CODEWELL_POSTGRES_URL=url, CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1")
    try:
        said = await codewell("login", "issuer", "--user", name, "--json", env=env, cwd=tmp_path)
        [given] = said.is_done().objects
        assert given["postgres_url"].endswith("?sslmode=prefer&target_session_attrs=any")
        theirs = env | {"CODEWELL_POSTGRES_URL": given["postgres_url"]}
        # The settings take it, and the server too.
        [found] = (await codewell("doctor", "--json", env=theirs, cwd=tmp_path)).objects
        assert any(f"user {name} does not own the schema" in one["says"] for one in found["findings"])
    finally:
        await connection.execute(f'DROP ROLE IF EXISTS "{name}"')
