"""`codewell code import`: what it says, and its exit status."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from codewell.infra.postgres.connection import Connection
from codewell.pool.minter_cache import Minters
from codewell.profiles import profiles
from tests.integration.imports.test_imports import IMPORT
from tests.support.commands import environment
from tests.support.factories import program
from tests.support.in_process import codewell


@pytest.fixture
async def env(connection: Connection, minters: Minters, database_url: str) -> Mapping[str, str]:
    await program(connection, minters, **IMPORT)
    return environment(CODEWELL_POSTGRES_URL=database_url, CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1")


async def test_mail_addresses_never_become_codes(
    env: Mapping[str, str], tmp_path: Path, connection: Connection
) -> None:
    file = tmp_path / "codes.csv"
    file.write_text("E-Mail;Gutscheinnummer\nana@x.test;GN-811\n")

    seen = (await codewell("code", "import", "SPRING", str(file), "--preview", env=env, cwd=tmp_path)).is_done()
    assert "column 2, Gutscheinnummer" in seen.out
    assert "GN-811" in seen.out
    assert await connection.fetchval("SELECT count(*) FROM import") == 0

    done = (await codewell("code", "import", "SPRING", str(file), env=env, cwd=tmp_path)).is_done()
    assert "column 2, Gutscheinnummer" in done.out
    assert "semicolon" in done.out
    assert await connection.fetchval("SELECT array_agg(text) FROM code") == ["GN-811"]
    [one] = (await codewell("code", "list-imports", "SPRING", "--json", env=env, cwd=tmp_path)).is_done().objects
    assert (one["rows"], one["imported"], one["reading"]["header_row"]) == (1, 1, 1)


async def test_what_is_not_certain_fails_with_the_columns_and_the_option(
    env: Mapping[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "codes.csv"
    file.write_text("Email,Country Code,Voucher\na@x.test,DE,V-1\nb@x.test,AT,V-2\n")
    for more in ((), ("--preview",)):
        failed = await codewell("code", "import", "SPRING", str(file), *more, env=env, cwd=tmp_path)
        assert failed.status == 1
        assert "--column" in failed.err
        assert "2 Country Code (DE, AT); 3 Voucher (V-1, V-2)" in failed.err


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("Code\n", [], "has a head (Code) and no rows"),
        ('{"code": "AB-1"}\n', [], "JSON"),
        ("Code,Until\nA-1,31.01.2099\n", ["--expiry-column", "until"],
         "No row could be imported (bad expiry 1)"),
    ],
)  # fmt: skip
async def test_an_import_of_nothing_fails(
    env: Mapping[str, str], tmp_path: Path, content: str, options: list[str], says: str
) -> None:
    file = tmp_path / "codes.csv"
    file.write_text(content)
    words = ["code", "import", "SPRING", str(file), *options, "--bad-rows", str(tmp_path / "bad.csv")]
    failed = await codewell(*words, env=env, cwd=tmp_path)
    assert failed.status == 1
    assert says in failed.err
    if options:
        assert "31.01.2099: must be a date such as 2027-01-31" in (tmp_path / "bad.csv").read_text()


async def test_the_same_file_again_fails_nobody(env: Mapping[str, str], tmp_path: Path) -> None:
    file = tmp_path / "codes.csv"
    file.write_text("Code\nA-1\n")
    for imported in (1, 0):
        done = await codewell("code", "import", "SPRING", str(file), "--json", env=env, cwd=tmp_path)
        assert done.is_done().objects[0]["imported"] == imported


async def test_the_fields_for_an_export_are_listed_and_a_misspelt_one_is_refused(
    env: Mapping[str, str], tmp_path: Path, connection: Connection
) -> None:
    await profiles.put(connection, {"p-1": {"email": "a@x.test"}, "p-2": {"name": "Ana"}})
    listed = (await codewell("profile", "fields", "--json", env=env, cwd=tmp_path)).is_done().objects
    assert listed == [{"name": "email"}, {"name": "name"}]
    failed = await codewell("code", "export", "SPRING", "--field", "emial", env=env, cwd=tmp_path)
    assert failed.status == 1
    assert "No profile has a field emial: check its spelling. The fields are email, name." in failed.err
    out = tmp_path / "codes.csv"
    words = ["code", "export", "SPRING", "--field", "email", "--excel", "--output", str(out)]
    (await codewell(*words, env=env, cwd=tmp_path)).is_done()
    assert out.read_bytes().startswith(b"\xef\xbb\xbfcode,")


async def test_an_undo_says_what_it_deleted_and_what_stays(env: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text("V-1\nV-2\n")
    said = await codewell("code", "import", "SPRING", "codes.csv", "--json", env=env, cwd=tmp_path)
    [begun] = said.is_done().objects
    for code in ("V-1", "V-2"):
        await codewell("code", "attach", "SPRING", f"p-{code}", code, env=env, cwd=tmp_path)
    undone = await codewell("code", "undo-import", begun["id"], env=env, cwd=tmp_path)
    assert undone.out.splitlines()[-1] == "0 of 2 codes deleted; 2 are attached or used and stay."
