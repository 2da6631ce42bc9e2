"""Exports over HTTP: what comes, who may ask, and what a reader sees of one that breaks off."""

import csv
import io
from collections.abc import Awaitable, Callable

import httpx
import pytest

from codewell.codes import export
from tests.integration.console.test_api import console
from tests.support.consoles import Consoles, is_problem, settings
from tests.support.running import until
from tests.support.site import Site

PATH = "/api/v1/programs/SPRING/codes.csv"


def rows(answer: httpx.Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_codes_come_as_a_file(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings(fields=[{"name": "discount"}]))
    await client.post("/programs/SPRING/codes:generate", json={"count": 5, "fields": {"discount": "=1"}})
    attached = (await client.post("/programs/SPRING/codes:attach", json={"profile_id": "p/1"})).json()
    reader = await consoles.client("read")
    await client.put("/profiles/p-9", json={"fields": {"email": "a@x.test", "name": "Ana"}})

    answer = await reader.get("/programs/SPRING/codes.csv", params={"fields": "email,name,email"})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == 'attachment; filename="SPRING-codes.csv"'
    assert "content-length" not in answer.headers
    head = [*export.COLUMNS, "fields.discount", "profile.email", "profile.name"]
    assert answer.text.partition("\r\n")[0] == ",".join(head)
    found = rows(answer)
    assert [row["state"] for row in found] == ["attached", *["pooled"] * 4]
    assert (found[0]["code"], found[0]["profile_id"]) == (attached["code"], "p/1")
    assert {row["fields.discount"] for row in found} == {"'=1"}

    some = await reader.get("/programs/SPRING/codes.csv", params={"state": "attached", "raw": "true"})
    assert [row["fields.discount"] for row in rows(some)] == ["=1"]
    for wrong in ({"fields": "two words"}, {"fields": "a,,b"}, {"fields": ""}, {"state": "lost"}, {"raw": "maybe"}):
        is_problem(await reader.get("/programs/SPRING/codes.csv", params=wrong), 422, next(iter(wrong)))


async def test_a_field_that_no_profile_has_is_refused_with_those_there_are(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    is_problem(await client.get("/programs/SPRING/codes.csv", params={"fields": "email"}), 422, "The fields are none")
    await client.put("/profiles/p-1", json={"fields": {"email": "a@x.test", "name": "Ana"}})
    wrong = await client.get("/programs/SPRING/codes.csv", params={"fields": "name,emial"})
    is_problem(wrong, 422, "No profile has a field emial: check its spelling. The fields are email, name.")
    assert (await client.get("/programs/SPRING/codes.csv", params={"fields": "name,email"})).is_success


async def test_a_file_for_excel_begins_with_a_byte_order_mark(consoles: Consoles) -> None:
    client = await consoles.client("admin")
    await client.post("/programs", json=settings())
    plain = await client.get("/programs/SPRING/codes.csv")
    marked = await client.get("/programs/SPRING/codes.csv", params={"excel": "true"})
    assert marked.content == b"\xef\xbb\xbf" + plain.content


async def no_export_left(site: Site) -> None:
    async def ended() -> bool:
        query = """SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'codewell-console%'
                   AND datname = current_database() AND xact_start IS NOT NULL"""
        return bool(await site.database.fetchval(query) == 0)

    await until(ended, "end of the export's transaction")


async def begin_and(client: httpx.AsyncClient, then: Callable[[], Awaitable[object]]) -> None:
    """Begin to read an export, do something, and read the rest."""
    async with client.stream("GET", PATH) as answer:
        assert answer.status_code == 200
        pieces = answer.aiter_bytes()
        await anext(pieces)
        await then()
        async for _ in pieces:
            pass


async def test_a_reader_who_leaves_frees_the_connection(site: Site) -> None:
    await site.program("SPRING", 1_000_000)
    async with console(site) as client:
        for _ in range(3):
            async with client.stream("GET", PATH) as answer:
                async for _ in answer.aiter_bytes():
                    break
            await no_export_left(site)
        assert (await client.get(PATH, params={"state": "attached"})).status_code == 200


async def test_a_file_that_breaks_off_does_not_look_whole(site: Site) -> None:
    await site.program("SPRING", 1_000_000)
    async with console(site) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await begin_and(client, lambda: site.database.execute("ALTER TABLE code_state RENAME TO gone"))
        await site.database.execute("ALTER TABLE gone RENAME TO code_state")
        assert (await client.get(PATH, params={"state": "attached"})).status_code == 200
