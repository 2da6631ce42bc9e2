"""The screens that import a file: upload, choice of columns, progress, undo."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from codewell.files import beginning
from codewell.imports import staging
from tests.support.consoles import Consoles, create_console, importing_client
from tests.support.pages import Form, form, submit, words
from tests.support.workbooks import workbook

URL = "/programs/SPRING/import"
CORPUS = Path(__file__).parents[3] / "unit" / "files" / "corpus"
FILE = "Name;Code;Off\nAna;A-1;10\nBob;A-2;\nCid;A-1;5\n"


@pytest.fixture
async def browser(consoles: Consoles) -> httpx.AsyncClient:
    """A browser that may write, and a program that takes codes from files."""
    await importing_client(consoles)
    return await consoles.browser("read", "write")


async def sent(browser: httpx.AsyncClient, content: str | bytes, name: str = "codes.csv") -> httpx.Response:
    raw = content.encode() if isinstance(content, str) else content
    return await browser.post(URL, files={"file": (name, raw)})


async def uploaded(browser: httpx.AsyncClient, content: str | bytes = FILE) -> str:
    """The address of the page on which the columns are chosen."""
    answer = await sent(browser, content)
    assert answer.status_code == 303, words(answer)
    return answer.headers["location"]


async def test_a_file_is_uploaded_its_columns_chosen_and_its_codes_imported(
    consoles: Consoles, browser: httpx.AsyncClient
) -> None:
    assert "No imports yet" in words(await browser.get(URL))
    page = await browser.get(await uploaded(browser))
    said = words(page)
    for one in ("Read as: semicolon", "Read as: utf-8", "Row 1 names the columns", "1 · Name", "2 · Code", "Bob"):
        assert one in said, one
    assert "twice in the file" in said
    assert "its first row is 2" in said
    chosen = form(page, page.url.path)
    assert chosen.fields["column"] == "2"
    chosen.fields["field.discount"] = "3"
    checked = await browser.get(page.url.path, params=chosen.fields)
    again = form(checked, page.url.path)
    assert again.fields["field.discount"] == "3"
    answers = await asyncio.gather(*(browser.post(page.url.path, data=again.fields) for _ in range(2)))
    assert {one.headers.get("location") for one in answers} == {answers[0].headers["location"]}
    running = await browser.get(answers[0].headers["location"])
    assert "You may leave this page" in words(running)
    # Another console than the one that took the file; the first one may be gone.
    await create_console(consoles.pool).state.context.importer.process_pending()
    done = await browser.get(answers[0].headers["location"])
    assert "2 codes stand in the program" in words(done)
    assert "codes.csv" in words(await browser.get(URL))
    api = await consoles.client("read")
    items = (await api.get("/programs/SPRING/codes")).json()["items"]
    assert [(one["code"], one["fields"]) for one in items] == [("A-1", {"discount": "10"}), ("A-2", {})]
    async with consoles.owners.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM upload_piece") == 0


async def test_the_choice_of_columns_reads_the_beginning_alone(
    consoles: Consoles, browser: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginning, "BYTES_MAX", 20_001)
    rows = "".join(f"N\u00e4me {n};A-{n}\n" for n in range(3_000))
    page = await uploaded(browser, "Name;Code\n" + rows)
    shown = words(await browser.get(page))
    assert "1,000" in shown
    # A sheet, of which the console keeps the rows.
    book = workbook(tmp_path / "book", [["Code", "Name"], *([f"B-{n}", f"{n}"] for n in range(1_500))])
    sheet = await uploaded(browser, book.read_bytes())
    of_sheet = words(await browser.get(sheet))
    assert "1,000" in of_sheet

    async with consoles.owners.acquire() as connection:
        await connection.execute("UPDATE upload_piece SET bytes = 'no table'")
    assert words(await browser.get(page)) == shown
    assert words(await browser.get(sheet)) == of_sheet
    # Longer rows than those of the beginning: the file is read, which here is another one by now.
    async with consoles.owners.acquire() as connection:
        await connection.execute("UPDATE upload SET beginning = substring(beginning FOR 1000)")
    assert "1,000" not in words(await browser.get(page))
    # One that an earlier console took.
    small = await uploaded(browser)
    told = words(await browser.get(small))
    async with consoles.owners.acquire() as connection:
        await connection.execute("UPDATE upload SET beginning = NULL, scanned = NULL")
    assert words(await browser.get(small)) == told


@pytest.mark.parametrize(
    ("content", "option", "wrong", "shown", "refusal"),
    [
        ("Name;Code\n\u00c4na;A-1\n".encode("cp1252"), "encoding", "utf-8", "Read as: cp1252", "not valid utf-8"),
        ("Name;Code\n\u00c4na;A-1\n".encode(), "encoding", "utf-16", "Read as: utf-8", "not valid utf-16"),
        (b'"Name";"Code"\n"Ana";"A-1"\n', "delimiter", "comma", "Read as: semicolon", "unclosed quote"),
        (b"A-1\n", "header", "yes", "No row names the columns", "no rows"),
    ],
)  # fmt: skip
async def test_an_option_that_does_not_fit_leaves_the_choice_open(
    browser: httpx.AsyncClient, content: bytes, option: str, wrong: str, shown: str, refusal: str
) -> None:
    page = await browser.get(await uploaded(browser, content), params={option: wrong})
    assert refusal in words(page)
    assert shown in words(page)
    assert form(page, page.url.path).fields[option] == wrong


async def test_the_sheet_of_a_workbook_with_several_is_chosen(consoles: Consoles, browser: httpx.AsyncClient) -> None:
    page = await browser.get(await uploaded(browser, (CORPUS / "openpyxl-two-sheets.xlsx").read_bytes()))
    assert "Cannot tell which sheet holds the codes: name one of North, South" in words(page)
    assert "Read: North" in words(page)
    wrong = await browser.get(page.url.path, params={"sheet": "West"})
    assert "There is no sheet West" in words(wrong)
    chosen = await browser.get(page.url.path, params={"sheet": "South"})
    assert "SOUTH-1" in words(chosen)
    answer = await submit(browser, _posted(form(chosen, chosen.url.path)))
    await create_console(consoles.pool).state.context.importer.process_pending()
    assert "1 code stands in the program" in words(await browser.get(answer.headers["location"]))


async def test_a_running_import_tells_its_share_of_the_file(
    consoles: Consoles, browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    api = await consoles.client("admin")
    book = workbook(tmp_path / "book", [["Code"], *([f"B-{n}"] for n in range(400))])
    for content in (b"Code\n" + b"".join(b"A-%d\n" % n for n in range(400)), book.read_bytes()):
        url = "/programs/SPRING/imports"
        begun = (await api.post(url, files={"file": ("codes", content)}, data={"column": "1"})).json()
        assert begun["share_read"] is None
        page = f"{url}/{begun['id']}"
        assert "of the file is read" not in words(await browser.get(page))
        await consoles.api.state.context.importer.process_pending()
        assert (await api.get(f"/imports/{begun['id']}")).json()["share_read"] == 1.0
        async with consoles.owners.acquire() as connection:
            await connection.execute("UPDATE import SET state = 'running', ended_at = NULL, share_read = 0.426")
        shown = await browser.get(page)
        assert "42 % of the file is read." in words(shown)
        assert '<progress aria-label="Import" value="42" max="100">' in shown.text
        async with consoles.owners.acquire() as connection:
            await connection.execute("UPDATE import SET state = 'done', ended_at = now()")


async def test_bad_rows_are_downloaded_and_the_import_is_undone(consoles: Consoles, browser: httpx.AsyncClient) -> None:
    page = await browser.get(await uploaded(browser))
    answer = await submit(browser, _posted(form(page, page.url.path)))
    await create_console(consoles.pool).state.context.importer.process_pending()
    url = answer.headers["location"]
    done = await browser.get(url)
    assert "Download bad rows" in words(done)
    rows = await browser.get(f"{url}/bad-rows.csv")
    assert rows.headers["content-type"].startswith("text/csv")
    assert "4,A-1,twice in file," in rows.text
    undone = await submit(browser, form(done, f"{url}/undo"))
    assert undone.headers["location"] == url
    assert "2 codes were taken back" in words(await browser.get(url))
    reader = await consoles.browser("read")
    assert (await reader.get(f"{url}/bad-rows.csv")).status_code == 403


async def test_a_code_that_the_program_has_is_told_before_the_import(
    consoles: Consoles, browser: httpx.AsyncClient
) -> None:
    page = await browser.get(await uploaded(browser))
    await submit(browser, _posted(form(page, page.url.path)))
    await create_console(consoles.pool).state.context.importer.process_pending()
    assert "already in the program" in words(await browser.get(await uploaded(browser, FILE + "Dan;A-9;1\n")))


@pytest.mark.parametrize(
    ("content", "chosen"),
    [
        ("A-1,x-9\nA-2,x-8\nA-3,x-7\n", {"column": "1"}),
        ("a,b;c\nd,e;f\n", {"delimiter": "comma", "header": "no", "column": "2"}),
        ("Caf\xe9\nTh\xe9\n".encode("latin-1"), {"encoding": "windows-1252", "header": "no"}),
    ],
)
async def test_what_is_not_certain_is_shown_and_chosen(
    browser: httpx.AsyncClient, content: str | bytes, chosen: dict[str, str]
) -> None:
    page = await browser.get(await uploaded(browser, content))
    said = words(page)
    assert page.status_code == 200
    assert "One thing is still to be chosen" in said
    assert "--" not in said
    assert "First rows of the file" in said
    again = await browser.get(page.url.path, params=chosen)
    assert "One thing is still to be chosen" not in words(again), words(again)
    assert (await submit(browser, _posted(form(again, page.url.path)))).status_code == 303


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "CSV, XLS or XLSX"),
        (b"%PDF-1.7\n" + bytes(range(256)), "PDF"),
        (b"x" * 120_000, "100,000 bytes"),
    ],
)
async def test_a_file_that_is_no_table_says_so(browser: httpx.AsyncClient, content: bytes, sentence: str) -> None:
    answer = await sent(browser, content)
    assert answer.status_code == 422
    assert sentence in words(answer), words(answer)
    assert 'id="file-error"' in answer.text


async def test_a_form_without_a_file_asks_for_one(browser: httpx.AsyncClient) -> None:
    answer = await browser.post(URL, files={"file": ("", b"")})
    assert answer.status_code == 422
    assert "Choose a file first" in words(answer)


async def test_a_file_is_kept_for_an_hour(consoles: Consoles, browser: httpx.AsyncClient) -> None:
    url = await uploaded(browser)
    other = await consoles.browser("read", "write")
    assert (await other.get(url)).status_code == 200
    async with consoles.owners.acquire() as connection:
        await connection.execute("UPDATE upload SET uploaded_at = now() - $1::interval", staging.KEPT_FOR)
    gone = await browser.get(url)
    assert gone.status_code == 404
    assert "choose it again" in words(gone)
    await sent(other, FILE)
    async with consoles.owners.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM upload") == 1


async def test_a_sender_keeps_some_files_alone(consoles: Consoles, browser: httpx.AsyncClient) -> None:
    urls = [await uploaded(browser) for _ in range(staging.FILES_MAX + 1)]
    assert [(await browser.get(url)).status_code for url in urls] == [404, *[200] * staging.FILES_MAX]


async def test_an_upload_without_a_session_leads_to_the_sign_in(consoles: Consoles, browser: httpx.AsyncClient) -> None:
    await browser.post("/sign-out")
    answer = await sent(browser, FILE)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in")
    async with consoles.owners.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM upload") == 0


async def test_another_groups_program_is_not_there_and_a_reader_may_not_upload(
    consoles: Consoles, browser: httpx.AsyncClient
) -> None:
    url = await uploaded(browser)
    other = await consoles.browser("read", "write", groups=["mine"])
    reader = await consoles.browser("read")
    for path in (URL, url):
        assert (await other.get(path)).status_code == 404
    assert (await sent(other, FILE)).status_code == 404
    assert (await sent(reader, FILE)).status_code == 403
    assert (await reader.get(url)).status_code == 403
    page = await reader.get(URL)
    assert page.status_code == 200
    assert not re.search(r'type="file"', page.text)


async def test_hostile_texts_are_only_texts(browser: httpx.AsyncClient) -> None:
    evil = "<img src=x onerror=alert(1)>\u202e"
    content = f"Code,{evil}\n{evil}{'x' * 300},1\n{evil},2\n"
    answer = await sent(browser, content, f"{evil}.csv")
    page = await browser.get(answer.headers["location"])
    assert page.status_code == 200
    assert "<img" not in page.text
    begun = await submit(browser, _posted(form(page, page.url.path)))
    assert "<img" not in (await browser.get(begun.headers["location"])).text
    assert "<img" not in (await browser.get(URL)).text


@pytest.mark.parametrize(
    "query", ["column=999", "column=0", "delimiter=%00", "header_row=x", "expiry_column=2&column=2"]
)
async def test_an_address_that_does_not_fit_says_so(browser: httpx.AsyncClient, query: str) -> None:
    page = await browser.get(f"{await uploaded(browser)}?{query}")
    assert page.status_code in {200, 422}
    assert "First rows of the file" in words(page)


def _posted(chosen: Form) -> Form:
    """The same, by the button that begins the import."""
    chosen.method = "post"
    return chosen
