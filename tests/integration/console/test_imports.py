"""Files over HTTP: sent, brought in in the background, looked at, taken back."""

import errno
import shutil
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from codewell.audit.promises import audit
from codewell.imports import uploads
from codewell.imports.candidates import Chunk
from codewell.imports.chunk_writer import ChunkWriter
from codewell.infra.postgres.connection import Connection
from codewell.profiles.deciding_lock import DECIDING_LOCK
from tests.support.consoles import Consoles, create_console, importing_client, is_problem

PATH = "/programs/SPRING/imports"


def sent(content: bytes | str, name: str = "codes.csv") -> dict[str, tuple[str, bytes]]:
    return {"file": (name, content.encode() if isinstance(content, str) else content)}


@pytest.fixture
async def client(consoles: Consoles) -> httpx.AsyncClient:
    return await importing_client(consoles)


async def test_a_file_is_sent_brought_in_and_taken_back(
    consoles: Consoles, client: httpx.AsyncClient, connection: Connection
) -> None:
    content = "Code,Who,Off\nA-1,p-1,10\nA-2,,20\nA-2,,20\n=A,,5\n\x07,,5\n"
    form = {"profile_column": "who", "field_column": "discount=Off"}
    answer = await client.post(PATH, files=sent(content), data=form)
    assert answer.status_code == 202, answer.text
    begun = answer.json()
    assert (begun["state"], begun["rows"], begun["file"]) == ("running", 0, "codes.csv")
    path = f"/imports/{begun['id']}"
    assert (await client.get(path)).json() == begun

    # Another console than the one that took the file.
    await create_console(consoles.pool).state.context.importer.process_pending()

    done = (await client.get(path)).json()
    assert (done["state"], done["rows"], done["imported"], done["attached"]) == ("done", 5, 3, 1)
    assert done["bad"] == {"twice_in_file": 1, "unprintable": 1}
    rows = await client.get(f"{path}/bad-rows.csv")
    assert rows.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert rows.text == (
        "row,code,reason,detail\r\n4,A-2,twice in file,\r\n6,\x07,unprintable,it has the character U+0007\r\n"
    )
    assert (await client.get("/programs/SPRING/codes/A-2")).json()["fields"] == {"discount": "20"}
    assert await connection.fetchval("SELECT count(*) FROM import_piece") == 0
    undone = (await client.post(f"{path}:undo")).json()
    assert (undone["state"], undone["taken_back"]) == ("undone", 2)
    assert await audit(connection) == []


async def imported(consoles: Consoles, client: httpx.AsyncClient, content: str, **form: str) -> str:
    """The id of an import of this file, which has ended."""
    begun = (await client.post(PATH, files=sent(content), data=form)).json()
    await create_console(consoles.pool).state.context.importer.process_pending()
    return str(begun["id"])


@pytest.mark.parametrize("more", [{}, {"profile_id": "p-1"}, {"prefix": "C"}, {"prefix": "C", "profile_id": "p-1"}])
async def test_codes_of_an_import_are_its_own_beside_any_other_filter(
    consoles: Consoles, client: httpx.AsyncClient, more: dict[str, str]
) -> None:
    first = await imported(consoles, client, "Code,Who\nC-1,p-1\n", profile_column="Who")
    await imported(consoles, client, "Code,Who\nC-2,p-1\n", profile_column="Who")
    for further in ({}, {"state": "attached"}, {"order": "newest"}):
        found = await client.get("/programs/SPRING/codes", params={"import_id": first, **more, **further})
        assert [one["code"] for one in found.json()["items"]] == ["C-1"]
    change = await client.post(
        "/programs/SPRING/codes:change",
        json={"filter": {"import_id": first, "profile_id": more.get("profile_id")}, "void": True},
    )
    assert change.status_code == 202, change.text
    await consoles.api.state.context.bulk_changer.process_pending()
    codes = (await client.get("/programs/SPRING/codes")).json()["items"]
    assert {one["code"]: one["state"] for one in codes} == {"C-1": "deleted", "C-2": "attached"}


async def test_a_spreadsheet_runs_nothing_of_the_bad_rows(consoles: Consoles, client: httpx.AsyncClient) -> None:
    cells = ["=A1", "+1", "-1", "@x", "\uff1dA"]
    begun = (await client.post(PATH, files=sent("".join(f"{cell}\n" for cell in cells * 2)))).json()
    await consoles.api.state.context.importer.process_pending()
    rows = (await client.get(f"/imports/{begun['id']}/bad-rows.csv")).text
    assert [line.split(",")[1] for line in rows.splitlines()[1:]] == [f"'{cell}" for cell in cells]


async def test_one_key_one_import(consoles: Consoles, client: httpx.AsyncClient, connection: Connection) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = await client.post(PATH, files=sent("A\nB\n"), headers=key)
    await consoles.api.state.context.importer.process_pending()
    again = await client.post(PATH, files=sent("A\nB\n"), headers=key)
    assert (again.status_code, again.content) == (202, first.content)
    for other in ({"files": sent("A\nC\n")}, {"files": sent("A\nB\n"), "data": {"header": "true"}}):
        is_problem(await client.post(PATH, headers=key, **other), 422, "another request")
    assert await connection.fetchval("SELECT count(*) FROM import") == 1


async def test_a_large_upload_under_a_key_keeps_nobody_waiting_who_forgets_a_profile(
    client: httpx.AsyncClient, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = []

    async def store(*_: object) -> None:
        free.append(await connection.fetchval("SELECT pg_try_advisory_xact_lock($1, $2)", *DECIDING_LOCK))

    monkeypatch.setattr(uploads, "store", store)
    await client.post(PATH, files=sent("A\nB\n"), headers={"Idempotency-Key": "k-1"})
    assert free == [True]


async def test_the_same_file_twice_at_once_is_one_import(client: httpx.AsyncClient, connection: Connection) -> None:
    first, second = [(await client.post(PATH, files=sent("A\nB\n"))).json() for _ in range(2)]
    assert first["id"] == second["id"]
    assert await connection.fetchval("SELECT count(*) FROM import_piece") == 1


@pytest.mark.parametrize(
    ("content", "form", "status", "says"),
    [
        (b"", {}, 422, "empty"),
        (bytes(range(256)) * 40, {}, 422, "neither text nor a workbook"),
        (b"PK\x03\x04" + b"x" * 1_000, {}, 422, "truncated or corrupt"),
        (b"a,b\n1,2\n", {"column": "c"}, 422, "no column c"),
        (b"a\n", {"encoding": "klingon"}, 422, "no encoding klingon"),
        (b"a\n", {"delimiter": "::"}, 422, "delimiter"),
        (b"a\n", {"field_column": "nothing"}, 422, "field_columns"),
        (b"a\n", {"field_column": "other=1"}, 409, "no field other"),
        (b"x" * 100_001, {}, 422, "more than 100,000 bytes"),
        (b"x" * 1_200_000, {}, 413, "A body may have 1,148,576 bytes"),
    ],
)  # fmt: skip
async def test_what_can_not_be_imported_is_refused_at_once(
    client: httpx.AsyncClient, connection: Connection, content: bytes, form: dict[str, str], status: int, says: str
) -> None:
    is_problem(await client.post(PATH, files=sent(content), data=form), status, says)
    assert await connection.fetchval("SELECT count(*) FROM import") == 0
    assert await connection.fetchval("SELECT count(*) FROM import_piece") == 0


async def test_an_import_of_another_group_is_as_if_it_were_not_there(
    consoles: Consoles, client: httpx.AsyncClient
) -> None:
    begun = (await client.post(PATH, files=sent("A\n"))).json()
    stranger = await consoles.client("admin", groups=["ours"])
    for method, tail in (("GET", ""), ("GET", "/bad-rows.csv"), ("POST", ":undo")):
        answer = await stranger.request(method, f"/imports/{begun['id']}{tail}")
        is_problem(answer, 404, f"no import {begun['id']}")
    assert (await client.get(f"/imports/{begun['id']}")).json() == begun


async def test_a_file_that_breaks_in_the_middle_says_so(
    consoles: Consoles, client: httpx.AsyncClient, connection: Connection
) -> None:
    content = "".join(f"C-{n}\n" for n in range(500)) + '"' + "x" * 40_000
    begun = (await client.post(PATH, files=sent(content))).json()
    await consoles.api.state.context.importer.process_pending()
    refused = (await client.get(f"/imports/{begun['id']}")).json()
    assert refused["state"] == "refused"
    assert "unclosed quote" in refused["error"]
    assert await connection.fetchval("SELECT count(*) FROM code") == 0
    assert await connection.fetchval("SELECT count(*) FROM import_piece") == 0


async def test_one_file_and_small_fields_are_all_that_is_taken(
    client: httpx.AsyncClient, connection: Connection
) -> None:
    """Each field is held in memory as a whole, and so is the beginning of each file."""
    two = [("file", ("a.csv", b"A\n")), ("file", ("b.csv", b"B\n"))]
    is_problem(await client.post(PATH, files=two), 400, "one file")
    many = {f"f{n}": "x" for n in range(101)}
    is_problem(await client.post(PATH, files=sent("A\n"), data=many), 400, "one file")
    large = {"column": "x" * 20_000}
    is_problem(await client.post(PATH, files=sent("A\n"), data=large), 400, "one file")
    assert await connection.fetchval("SELECT count(*) FROM import") == 0


async def test_the_file_of_who_may_not_write_is_not_taken(consoles: Consoles, client: httpx.AsyncClient) -> None:
    reader = await consoles.client("read", groups=["theirs"])
    is_problem(await reader.post(PATH, files=sent("A\n")), 403, "scope write")
    is_problem(await reader.post(PATH, files=sent(b"x" * 1_050_000)), 413, "A body may have 1,048,576 bytes")
    is_problem(await client.post(PATH, files=sent(b"x" * 1_050_000)), 422, "more than 100,000 bytes")


async def test_a_waiting_file_above_a_lowered_limit_is_refused(
    consoles: Consoles, client: httpx.AsyncClient, connection: Connection
) -> None:
    begun = (await client.post(PATH, files=sent("A\nB\n"))).json()
    importer = consoles.api.state.context.importer
    importer.limits = importer.limits._replace(bytes_max=3)
    await importer.process_pending()
    refused = (await client.get(f"/imports/{begun['id']}")).json()
    assert (refused["state"], refused["imported"]) == ("refused", 0)
    assert "more than 3 bytes" in refused["error"]
    assert await connection.fetchval("SELECT count(*) FROM import_piece") == 0


async def test_a_file_that_the_database_refuses_holds_up_no_other(
    consoles: Consoles, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = [(await client.post(PATH, files=sent(content))).json()["id"] for content in ("A\n", "B\n")]
    real = ChunkWriter.take

    async def take(self: ChunkWriter, chunk: Chunk) -> None:
        if chunk.candidates[0].text == "A":
            await self._connection.execute("""SELECT '"\\ud800"'::jsonb""")
        await real(self, chunk)

    monkeypatch.setattr(ChunkWriter, "take", take)
    await consoles.api.state.context.importer.process_pending()
    assert [(await client.get(f"/imports/{one}")).json()["state"] for one in (first, second)] == ["running", "done"]


async def test_an_upload_that_the_disk_has_no_room_for(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    refused = await client.post(PATH, files=sent("A\n"))
    assert (refused.status_code, refused.json()["reason"]) == (503, "unavailable")
    assert "disk space" in refused.json()["detail"]


async def test_a_file_that_the_disk_has_no_room_for_holds_up_no_other(
    consoles: Consoles, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, small = [(await client.post(PATH, files=sent(f"{name}\n"))).json()["id"] for name in ("A", "B")]
    real = uploads.fetch

    async def fetch(connection: Connection, import_id: UUID, path: Path) -> None:
        if str(import_id) == large:
            raise OSError(errno.ENOSPC, "No space left on device")
        await real(connection, import_id, path)

    monkeypatch.setattr(uploads, "fetch", fetch)
    await consoles.api.state.context.importer.process_pending()
    states = [(await client.get(f"/imports/{one}")).json()["state"] for one in (large, small)]
    assert states == ["running", "done"]
    monkeypatch.undo()
    await consoles.api.state.context.importer.process_pending()
    assert (await client.get(f"/imports/{large}")).json()["state"] == "done"
