"""Workbooks over HTTP: one at a time in a console; previews; the list of imports."""

import asyncio
import threading
from pathlib import Path

import httpx
import pytest
from starlette.exceptions import HTTPException

from codewell.imports import run
from codewell.infra.postgres.connection import Connection
from services.console.background.workbooks import WorkbookSlot
from tests.support.consoles import Consoles, importing_client, is_problem
from tests.support.workbooks import workbook

PATH = "/programs/SPRING/imports"


@pytest.fixture
async def client(consoles: Consoles) -> httpx.AsyncClient:
    return await importing_client(consoles)


@pytest.fixture
def book(tmp_path: Path) -> bytes:
    return workbook(tmp_path / "book", [["Code", "Name"], ["AB-1", "Ana"], ["CD-2", "Bob"]]).read_bytes()


@pytest.mark.parametrize("tail", ["", ":preview"])
async def test_while_a_workbook_is_read_others_are_told_to_come_later(
    consoles: Consoles, client: httpx.AsyncClient, book: bytes, tail: str
) -> None:
    slot = consoles.api.state.context.importer.workbooks
    async with slot.held():
        answer = await client.post(f"{PATH}{tail}", files={"file": ("book.xlsx", book)})
        is_problem(answer, 503, "Another workbook")
        assert answer.json()["reason"] == "workbooks_busy"
        assert int(answer.headers["retry-after"]) > 0
        # Text needs no child.
        assert (await client.post(f"{PATH}{tail}", files={"file": ("a.csv", b"AB-1\nAB-2\n")})).is_success
    assert (await client.post(f"{PATH}{tail}", files={"file": ("book.xlsx", book)})).is_success


async def test_an_import_of_a_workbook_holds_the_slot_of_its_console(
    consoles: Consoles, client: httpx.AsyncClient, book: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    importer = consoles.api.state.context.importer
    held = []
    real = run.import_file

    async def import_file(*given: object) -> object:
        held.append(importer.workbooks._lock.locked())
        return await real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "import_file", import_file)
    await client.post(PATH, files={"file": ("book.xlsx", book)})
    await client.post(PATH, files={"file": ("a.csv", b"EF-1\nEF-2\n")})
    await importer.process_pending()
    assert held == [True, False]


async def test_a_client_that_leaves_does_not_free_the_slot_of_its_child() -> None:
    slot, reading, go_on = WorkbookSlot(), threading.Event(), threading.Event()

    def read() -> None:
        reading.set()
        assert go_on.wait(10)

    first = asyncio.ensure_future(slot.run(read))
    await asyncio.to_thread(reading.wait, 10)
    first.cancel()
    await asyncio.sleep(0)
    with pytest.raises(HTTPException):
        await slot.run(lambda: None)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    await slot.run(lambda: None)


async def test_a_preview_shows_what_would_become_codes_and_changes_nothing(
    client: httpx.AsyncClient, connection: Connection
) -> None:
    content = "Name;Gutscheincode;Bis;Off\nAna;AB-1;2099-01-31;10\nBob;ab-1;;\nCid;;;\nDea;CD-2;31.01.2099;\n"
    form = {"expiry_column": "bis", "field_column": "discount=Off", "time_zone": "Europe/Berlin"}
    answer = await client.post(f"{PATH}:preview", files={"file": ("codes.csv", content.encode())}, data=form)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["reading"] == {
        "kind": "text", "encoding": "utf-8", "delimiter": ";", "sheet": None, "hidden_sheets": [], "header_row": 1,
        "skipped_rows": 1, "column": {"number": 2, "name": "Gutscheincode"}, "profile_column": None,
        "expiry_column": {"number": 3, "name": "Bis"}, "field_columns": {"discount": {"number": 4, "name": "Off"}},
        "time_zone": "Europe/Berlin",
    }  # fmt: skip
    assert found["columns"][0] == {"number": 1, "name": "Name", "samples": ["Ana", "Bob", "Cid"]}
    assert (found["checked_rows"], found["good"], found["bad"]) == (4, 2, {"empty": 1, "bad_expiry": 1})
    assert found["case_variants"] == 1
    assert found["codes"][0] == {
        "row": 2, "code": "AB-1", "profile_id": None, "expires_at": "2099-01-31T23:00:00Z",
        "fields": {"discount": "10"},
    }  # fmt: skip
    assert found["bad_rows"][1]["detail"].startswith("31.01.2099: must be a date such as 2027-01-31")
    assert await connection.fetchval("SELECT count(*) FROM import") == 0
    assert await connection.fetchval("SELECT count(*) FROM import_piece") == 0


async def test_what_is_not_certain_is_refused_with_its_columns(client: httpx.AsyncClient) -> None:
    content = b"Email,Country Code,Voucher\na@x.test,DE,V-1\nb@x.test,AT,V-2\n"
    for tail in ("", ":preview"):
        answer = await client.post(f"{PATH}{tail}", files={"file": ("codes.csv", content)})
        is_problem(answer, 422, "1 Email (a@x.test, b@x.test); 2 Country Code (DE, AT); 3 Voucher (V-1, V-2)")
        assert answer.json()["reason"] == "file_uncertain"


async def test_imports_are_listed_newest_first_and_to_their_group_alone(
    consoles: Consoles, client: httpx.AsyncClient
) -> None:
    ids = []
    for text in ("A-1", "B-1", "C-1"):
        begun = await client.post(PATH, files={"file": ("codes.csv", f"Code\n{text}\n".encode())})
        ids.append(begun.json()["id"])
    first = (await client.get(PATH, params={"limit": 2})).json()
    assert [one["id"] for one in first["items"]] == ids[:0:-1]
    second = (await client.get(PATH, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert ([one["id"] for one in second["items"]], second["next_cursor"]) == (ids[:1], None)
    assert second["items"][0] == (await client.get(f"/imports/{ids[0]}")).json()
    is_problem(await client.get(PATH, params={"cursor": "x"}), 422, "cursor")
    stranger = await consoles.client("admin", groups=["ours"])
    is_problem(await stranger.get(PATH), 404, "no program SPRING")


async def test_an_import_that_brings_in_nothing_is_refused_and_keeps_its_bad_rows(
    consoles: Consoles, client: httpx.AsyncClient
) -> None:
    content = b"Code,Until\nA-1,31.01.2099\nA-2,never\n"
    begun = await client.post(PATH, files={"file": ("codes.csv", content)}, data={"expiry_column": "Until"})
    await consoles.api.state.context.importer.process_pending()
    done = (await client.get(f"/imports/{begun.json()['id']}")).json()
    assert (done["state"], done["rows"], done["imported"], done["bad"]) == ("refused", 2, 0, {"bad_expiry": 2})
    assert "No row could be imported (bad expiry 2)" in done["error"]
    rows = (await client.get(f"/imports/{done['id']}/bad-rows.csv")).text
    assert '2,A-1,bad expiry,"31.01.2099: must be a date such as 2027-01-31' in rows
