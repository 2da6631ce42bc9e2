"""Exports and profiles as a person or a script uses them."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.commands import CODEWELL, environment
from tests.support.services import Services, running_services

pytestmark = pytest.mark.asyncio(loop_scope="module")

GUIDE = "{string 4}-{number 4}-{upstring 4}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, kafka_bootstrap: str
) -> AsyncIterator[Services]:
    async with running_services(tmp_path_factory.mktemp("stack"), postgres_url, kafka_bootstrap) as running:
        created = ("program", "create", "SPRING", "--template", GUIDE, "--codes-max", "100000")
        (await running.run(*created)).is_done()
        (await running.run("code", "generate", "SPRING", "50000")).is_done()
        for who in ("p-1", "p-2"):
            (await running.run("code", "attach", "SPRING", who)).is_done()
        yield running
        [report] = (await running.run("audit", "--json")).is_done().objects
        assert (report["clean"], report["findings"]) == (True, [])


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def test_an_export_goes_to_standard_output_or_a_file(stack: Services) -> None:
    said = (await stack.run("code", "export", "SPRING")).is_done()
    assert len(rows(said.out)) == 50_000
    file = stack.folder / "codes.csv"
    file.write_text("what was there before")
    [done] = (await stack.run("code", "export", "SPRING", "--output", "codes.csv", "--json")).is_done().objects
    assert done == {"program": "SPRING", "codes": 50_000, "output": "codes.csv"}
    assert file.read_bytes().decode() == said.out.replace("\r\n", "\n").replace("\n", "\r\n")
    told = await stack.run("code", "export", "SPRING", "--state", "attached", "--output", "codes.csv")
    assert told.is_done().out == "Exported 2 codes to codes.csv.\n"
    [first, second] = rows(file.read_bytes().decode())
    assert {first["profile_id"], second["profile_id"]} == {"p-1", "p-2"}


async def test_an_export_that_fails_leaves_no_file(stack: Services) -> None:
    (await stack.run("code", "export", "NOBODY", "--output", "never.csv")).is_refused("no program NOBODY")
    assert not list(stack.folder.glob("never*"))
    (await stack.run("code", "export", "SPRING", "--output", "/dev/full")).is_refused("No space left")
    (await stack.run("code", "export", "SPRING", "--output", "none/such.csv")).is_refused("No such file")
    (await stack.run("code", "export", "SPRING", "--field", "two words")).is_refused("two words")
    (await stack.run("code", "export", "SPRING", "--json")).is_wrong_usage("--output")


async def test_who_reads_no_further_ends_it_without_a_word(stack: Services) -> None:
    process = await asyncio.create_subprocess_exec(
        *CODEWELL, "code", "export", "SPRING", env=environment(**stack.variables),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert (await process.stdout.readline()).startswith(b"code,")
    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    assert await process.stderr.read() == b""
    assert await process.wait() == 1


async def test_profiles_are_taken_in_shown_exported_and_forgotten(stack: Services) -> None:
    file = stack.folder / "customers.csv"
    file.write_bytes("\ufeffprofile_id,email,name\r\np-1,ann@example.com,=Ann\r\n,nobody,\r\np-2,,Bo\r\n".encode())
    [done] = (await stack.run("profile", "import", "customers.csv", "--json")).is_done().objects
    assert (done["written"], done["refused"], [row["line"] for row in done["rows"]]) == (2, 1, [3])
    told = (await stack.run("profile", "import", "-", stdin="profile_id,email\np-3,x\n,y\n")).is_done().out
    assert told.startswith("Imported 1 profile.\nSkipped 1 invalid row")
    [shown] = (await stack.run("profile", "show", "p-1", "--json")).is_done().objects
    assert (shown["profile_id"], shown["fields"]) == ("p-1", {"email": "ann@example.com", "name": "=Ann"})
    assert "ann@example.com" in (await stack.run("profile", "show", "p-1")).is_done().out

    words = ("code", "export", "SPRING", "--state", "attached", "--field", "name", "--field", "email")
    found = {row["profile_id"]: row for row in rows((await stack.run(*words)).is_done().out)}
    assert (found["p-1"]["profile.name"], found["p-1"]["profile.email"]) == ("'=Ann", "ann@example.com")
    assert found["p-2"]["profile.email"] == ""
    raw = rows((await stack.run(*words, "--raw")).is_done().out)
    assert {row["profile.name"] for row in raw} == {"=Ann", "Bo"}

    assert (await stack.run("profile", "forget", "p-1", "--json")).is_done().objects == [{"answers": 1}]
    (await stack.run("profile", "show", "p-1")).is_refused("No fields are stored")
    assert "Forgot the profile" in (await stack.run("profile", "forget", "p-3")).is_done().out
    left = {row["profile_id"] for row in rows((await stack.run(*words)).is_done().out)}
    assert "p-2" in left
    assert "p-1" not in left
    assert len(left) == 2


async def test_a_file_of_profiles_that_is_none(stack: Services) -> None:
    for text, says in (("a,b\n", "profile_id"), ("profile_id,a b\n", "'a b'"), ("", "first line")):
        (await stack.run("profile", "import", "-", stdin=text)).is_refused(says)
    (await stack.run("profile", "import", "nowhere.csv")).is_wrong_usage("nowhere.csv")
    (await stack.run("profile", "forget", "a\nb")).is_refused("profile id")
