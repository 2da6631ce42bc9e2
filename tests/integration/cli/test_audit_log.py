"""What commands change is in the audit log with the user who ran them; `codewell audit` lists and verifies it."""

import getpass
from pathlib import Path
from uuid import uuid4

import pytest

from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from tests.integration.audit.test_audit_log import tamper
from tests.support.command_result import Said
from tests.support.commands import environment
from tests.support.in_process import codewell

PROFILE = "p-nobody-may-read"
SETTINGS = ("--template", "{upstring 4}-{number 6}", "--codes-max", "1000", "--allow-guessable")


@pytest.fixture
def env(database_url: str, kafka_bootstrap: str, prefix: str) -> dict[str, str]:
    return environment(
        CODEWELL_POSTGRES_URL=database_url, CODEWELL_KAFKA_BOOTSTRAP=kafka_bootstrap, CODEWELL_TOPIC_PREFIX=prefix
    )


async def test_each_command_that_changes_something_is_logged(
    connection: Connection, env: dict[str, str], tmp_path: Path
) -> None:
    async def run(*words: str, stdin: str | None = None) -> Said:
        return (await codewell(*words, env=env, cwd=tmp_path, stdin=stdin)).is_done()

    (tmp_path / "codes.csv").write_text("ALPHA-0001\nALPHA-0002\n")
    await run("program", "create", "SPRING", *SETTINGS)
    await run("program", "update", "SPRING", "--title", "Spring")
    await run("program", "clone", "SPRING", "AUTUMN")
    await run("program", "remove", "AUTUMN", "--yes")
    await run("code", "generate", "SPRING", "5")
    [attached] = (await run("code", "attach", "SPRING", PROFILE, "--json")).objects
    await run("code", "attach", "SPRING", PROFILE, "BY-HAND")
    asked = str(uuid4())
    await run("code", "attach", "SPRING", PROFILE, "--request-id", asked)
    for _ in range(2):
        await run("receipt", asked, "--profile", PROFILE, "--receipt", "before_handoff")
    await run("code", "activate", "SPRING", attached["code"])
    await run("code", "deactivate", "SPRING", attached["code"])
    await run("code", "detach", "SPRING", attached["code"])
    await run("code", "delete", "SPRING", attached["code"])
    [begun] = (await run("code", "import", "SPRING", "codes.csv", "--json")).objects
    undone = await run("code", "undo-import", begun["id"])
    assert undone.out.splitlines()[-1] == "2 of 2 codes deleted."
    await run("code", "export", "SPRING", "--output", "out.csv")
    await run("profile", "import", "-", stdin=f"profile_id,email\n{PROFILE},a@example.com\n")
    await run("profile", "forget", PROFILE)
    await run("token", "create", "shop", "--scope", "redeem")
    await run("token", "revoke", "shop")

    said = (await run("audit", "log", "--json")).objects
    assert [entry["verb"] for entry in reversed(said)] == [
        "program.create", "program.update", "program.clone", "program.remove", "code.generate", "code.attach",
        "code.attach", "code.attach", "receipt.settle", "code.activate", "code.deactivate", "code.detach",
        "code.delete", "import.begin", "import.undo", "code.export", "profile.import", "profile.forget", "token.create",
        "token.revoke",
    ]  # fmt: skip
    assert {entry["via"] for entry in said} == {"command"}
    assert all(entry["actor"].startswith(f"{getpass.getuser()}@") for entry in said)
    assert not [word for word in (attached["code"], PROFILE, "ALPHA", "BY-HAND") if word in str(said)]
    [settled] = [entry for entry in said if entry["verb"] == "receipt.settle"]
    assert (settled["program"], settled["details"]) == ("SPRING", {"returned": 1})
    assert said[2]["details"] == {"answers": 3}
    await looked_at_and_verified(connection, env, tmp_path)


async def looked_at_and_verified(connection: Connection, env: dict[str, str], cwd: Path) -> None:
    shown = (await codewell("audit", "log", "--program", "AUTUMN", "--limit", "1", env=env, cwd=cwd)).is_done().out
    assert "program.remove" in shown
    assert "program.clone" not in shown
    assert "codewell audit log --before 4" in shown
    (await codewell("audit", "log", "--since", "yesterday", env=env, cwd=cwd)).is_wrong_usage("must be a date such as")

    [whole] = (await codewell("audit", "verify", "--json", env=env, cwd=cwd)).is_done().objects
    assert (whole["entries"], whole["wrong"]) == (20, None)
    (await codewell("audit", "verify", "--head", whole["head"], env=env, cwd=cwd)).is_done()
    (await codewell("audit", "verify", "--head", "soon", env=env, cwd=cwd)).is_wrong_usage("PLACE:HASH")
    (await codewell("audit", env=env, cwd=cwd)).is_done()

    await tamper(connection, "UPDATE audit_entry SET actor = 'eve@home' WHERE id = 7")
    (await codewell("audit", "verify", env=env, cwd=cwd)).is_refused("Entry 7 (id 7) or its hash was changed", "6")
    assert (await audit_log.verify(connection)).entries == 6
