"""An export has what the list of codes has, whatever became of them."""

import asyncio
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from codewell.audit.promises import audit
from codewell.codes import activation, export, lifecycle, listing
from codewell.codes.export import ExportOptions
from codewell.codes.lookup import START, CodeFacts
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import StackUnavailable
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.profiles import profiles
from schemas.program import Program, State
from tests.support.factories import OFF, message, program
from tests.support.stock import list_block, until

FIELDS = ({"name": "discount"}, {"name": "note"}, {"name": "secret", "save": False})
ALL = ExportOptions()
HEAD = [*export.COLUMNS, "fields.discount", "fields.note"]


async def exported(
    connection: Connection, minters: Minters, of: Program, wanted: ExportOptions = ALL
) -> list[dict[str, str]]:
    """The rows of an export, by its header; its lines end as they should, and are as many as it says."""
    written: list[bytes] = []

    async def write(some: bytes) -> None:
        assert some
        written.append(some)

    count = await export.export(connection, minters, of, wanted, write)
    text = b"".join(written).decode()
    assert text.endswith("\r\n")
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert len(rows) == count
    assert all(None not in row and None not in row.values() for row in rows)
    return rows


async def listed(connection: Connection, minters: Minters, of: Program, state: State | None = None) -> list[CodeFacts]:
    found, place = [], START
    while True:
        page = await listing.page(ProgramCodes(connection, minters, of.id), place, 1_000, state)
        found += page.codes
        if page.next is None:
            return found
        place = page.next


def as_row(one: CodeFacts, deleted_at: str) -> dict[str, str]:
    """What an export says of a code, by what the list says."""
    fields = json.loads(one.fields or "{}")
    moments = {name: getattr(one, name) for name in ("attached_at", "activated_at", "expires_at")}
    written = {name: at.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if at else "" for name, at in moments.items()}
    known = {"code": one.code, "state": one.state, "profile_id": one.profile_id or "", **written}
    return (
        known | {"deleted_at": deleted_at} | {f"fields.{name}": fields.get(name, "") for name in ("discount", "note")}
    )


async def all_kinds(connection: Connection, claims: Claims, minters: Minters) -> Program:
    """A program that has a code in every state, taken in turn and out of turn, in ranges and in lists."""
    spring = await program(connection, minters, ttl="P1D", fields=FIELDS, **OFF)
    await generate(connection, minters, spring.id, 30, '{"discount": "10", "note": "of the block"}')
    await claims.attach([message("SPRING", profile_id=f"p-{n}") for n in range(8)])
    await generate(connection, minters, spring.id, 3, None)
    texts = [one.code for one in await listed(connection, minters, spring)]
    for step, places in (
        (activation.activate, (0, 1)), (lifecycle.delete, (1, 2, 12, 13, 25)), (lifecycle.detach, (3,)),
    ):  # fmt: skip
        for place in places:
            if (step, place) != (lifecycle.delete, 1):
                await step(ProgramCodes(connection, minters, spring.id), texts[place])
    for place, who in ((20, "p-named"), (29, "p-named-too")):
        await manual.attach_named(connection, minters, "SPRING", texts[place], who, uuid7())
    await manual.attach_named(connection, minters, "SPRING", "FROM-OUTSIDE", "p-outside", uuid7())
    await lifecycle.delete(ProgramCodes(connection, minters, spring.id), texts[29])
    for place in (4, 15):
        await lifecycle.change(
            ProgramCodes(connection, minters, spring.id),
            texts[place],
            lambda _: lifecycle.CodeChange(datetime(2050, 1, 1, tzinfo=UTC), '{"note": "changed"}'),
        )
    await lifecycle.change(ProgramCodes(connection, minters, spring.id), texts[5],
                      lambda one: lifecycle.CodeChange(datetime.now(UTC) - timedelta(days=1), one.fields))  # fmt: skip
    await list_block(connection, spring.id, ["LISTED-1", "LISTED-2"], fields='{"note": "listed"}')
    await list_block(connection, spring.id, ["OVER-1", "OVER-2"], lives=timedelta(seconds=-1))
    await connection.execute("UPDATE block SET open = false WHERE expires_at <= now()")
    return spring


@pytest.mark.parametrize("run", [1, 7, 8_000])
async def test_an_export_says_what_the_list_says(
    connection: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch, run: int
) -> None:
    monkeypatch.setattr(export, "_RUN_MAX", run)
    monkeypatch.setattr(export, "_BLOCKS_AT_ONCE", 2)
    spring = await all_kinds(connection, claims, minters)
    await generate(connection, minters, (await program(connection, minters, "OTHER")).id, 5, None)
    facts = await listed(connection, minters, spring)
    assert {one.state for one in facts} == set(get_args(State))

    rows = await exported(connection, minters, spring)
    assert list(rows[0]) == HEAD
    deleted_at = {row["code"]: row["deleted_at"] for row in rows}
    expected = {one.code: as_row(one, deleted_at.get(one.code, "")) for one in facts}
    assert {row["code"]: row for row in rows} == expected
    assert len(rows) == len(facts)
    assert {code for code, at in deleted_at.items() if at} == {one.code for one in facts if one.state == "deleted"}

    for state in get_args(State):
        some = await exported(connection, minters, spring, ExportOptions(state))
        assert sorted(some, key=str) == sorted((row for row in rows if row["state"] == state), key=str), state
    assert await audit(connection) == []


async def test_codes_of_an_expired_pool_are_expired(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, ttl="P1D", **OFF)
    await generate(connection, minters, spring.id, 5, None)
    await claims.attach([message("SPRING")])
    await connection.execute("UPDATE block SET expires_at = now() - interval '1 second', open = false")

    rows = await exported(connection, minters, spring)

    assert [row["state"] for row in rows] == ["attached", *["expired"] * 4]
    assert len(await exported(connection, minters, spring, ExportOptions("expired"))) == 4
    assert await exported(connection, minters, spring, ExportOptions("pooled")) == []
    assert await audit(connection) == []


async def test_a_shared_code_is_one_line(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, shared=True, **OFF)
    await generate(connection, minters, spring.id, 2, None)
    await claims.attach([message("SPRING", profile_id=f"p-{n}") for n in range(3)])

    assert [row["state"] for row in await exported(connection, minters, spring)] == ["attached", "pooled"]


async def test_chosen_fields_of_profiles_stand_beside_their_codes(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 4, None)
    await claims.attach([message("SPRING", profile_id=f"p-{n}") for n in range(3)])
    await profiles.put(
        connection, {"p-0": {"email": "a@example.com", "name": 'Ann "A", Lee\r\nx'}, "p-1": {"age": "1"}}
    )

    rows = await exported(connection, minters, spring, ExportOptions(profile_fields=("name", "email")))

    assert list(rows[0]) == [*export.COLUMNS, "profile.name", "profile.email"]
    found = {row["profile_id"]: (row["profile.name"], row["profile.email"]) for row in rows}
    assert found == {"p-0": ('Ann "A", Lee\r\nx', "a@example.com"), "p-1": ("", ""), "p-2": ("", ""), "": ("", "")}


@pytest.mark.parametrize("raw", [False, True])
async def test_cells_that_a_spreadsheet_would_run(
    connection: Connection, claims: Claims, minters: Minters, raw: bool
) -> None:
    bad = ["=1+1", "+1", "-1", "@SUM(A1)", "\uff1d1", " =1", 'a","=1']
    spring = await program(connection, minters, fields=({"name": "note"},), **OFF)
    await list_block(connection, spring.id, ["a", *bad[:4]], fields=json.dumps({"note": "\t=2"}))
    dice = await program(
        connection, minters, "DICE", codes_max=100, source={"kind": "template", "template": "{[=+a,] 6}"}
    )
    await generate(connection, minters, dice.id, 100, None)
    await claims.attach([message("SPRING", profile_id=who) for who in bad[-4:]])
    await profiles.put(connection, {who: {"name": "@x\n=y"} for who in bad})

    rows = await exported(connection, minters, spring, ExportOptions(raw=raw, profile_fields=("name",)))
    minted = await exported(connection, minters, dice, ExportOptions(raw=raw))

    sign = "" if raw else "'"
    assert {row["code"] for row in rows} == {"a", *(sign + code for code in bad[:4])}
    who = {sign + one if one != bad[-1] else one for one in bad[-4:]} | {""}
    assert {row["profile_id"] for row in rows} == who
    assert {row["fields.note"] for row in rows} == {sign + "\t=2"}
    assert {row["profile.name"] for row in rows} == {sign + "@x\n=y", ""}
    texts = (await minters.get(connection, dice.id, 1)).mint(0, 100)
    assert any(text[0] == "," for text in texts)
    assert [row["code"] for row in minted] == [text if text[0] in "a," else sign + text for text in texts]


async def test_an_export_is_of_one_moment(connections: Pool, claims: Claims, minters: Minters) -> None:
    async with connections.acquire() as connection, connections.acquire() as other:
        spring = await program(connection, minters, **OFF)
        for _ in range(3):
            await generate(connection, minters, spring.id, 10, None)
        written: list[bytes] = []

        async def write(some: bytes) -> None:
            written.append(some)
            if len(written) == 2:
                # Nothing that is locked here is in the way of a claim.
                await claims.attach([message("SPRING", profile_id=f"p-{n}") for n in range(25)])
                await generate(other, minters, spring.id, 10, None)

        count = await export.export(connection, minters, spring, ExportOptions(), write)
        assert count == 30
        assert b"".join(written).count(b"pooled") == 30
        assert len(await exported(connection, minters, spring, ExportOptions("attached"))) == 25
        assert await audit(connection) == []


async def test_everybody_else_goes_on_while_codes_are_minted(
    connection: Connection, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_RUN_MAX", 10)
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 100, None)
    turns, seen = 0, []

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def write(_: bytes) -> None:
        seen.append(turns)

    going = asyncio.ensure_future(others())
    await export.export(connection, minters, spring, ExportOptions("pooled"), write)
    going.cancel()
    assert len(seen) == 11
    assert len(set(seen[1:])) == 10


@pytest.mark.parametrize("rows", [1, 9_000])
async def test_one_that_takes_too_long_is_ended(
    connections: Pool, connection: Connection, minters: Minters, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(export, "TIMEOUT_S", 0.5)
    spring = await program(connection, minters, **OFF)
    await list_block(connection, spring.id, [f"A{n}" for n in range(rows)])
    written = []

    async def once(some: bytes) -> None:
        written.append(some)
        if len(written) == 2:
            await asyncio.Event().wait()

    with pytest.raises(StackUnavailable, match="was stopped after"):
        async with connections.acquire() as exporting:
            await export.export(exporting, minters, spring, ExportOptions(), once)
    assert len(written) == 2
    assert await connections.fetchval("SELECT 1") == 1

    async def ended() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%'"
        return bool(await connection.fetchval(query) == 0)

    await until(ended, "end of the export's session")
