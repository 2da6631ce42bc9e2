"""An export has what the list of codes has, whatever became of them."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from codewell.audit.promises import audit
from codewell.codes import export, export_pieces, lifecycle, listing
from codewell.codes.code_filter import CodeFilter
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
from codewell.redemption import till
from codewell.reservations import reservations
from schemas.program import Program, State
from schemas.reservations import ReservationRequest
from tests.support.factories import OFF, message, program
from tests.support.running import until
from tests.support.stock import after_billions, hold_code, list_block

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

    async with export.of_one_moment(connection) as connections:
        count = await export.export(connections, minters, of, wanted, write)
    text = b"".join(written).decode()
    assert text.endswith("\r\n")
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert len(rows) == count
    assert all(None not in row and None not in row.values() for row in rows)
    return rows


async def listed(connection: Connection, minters: Minters, of: Program, state: State | None = None) -> list[CodeFacts]:
    found, place = [], START
    while True:
        page = await listing.page(ProgramCodes(connection, minters, of.id), place, 1_000, CodeFilter(state))
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
        (till.activate, (0, 1)), (lifecycle.delete, (1, 2, 12, 13, 25)), (lifecycle.detach, (3,)),
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
    await hold_code(connection, spring.id, texts[6])
    await list_block(connection, spring.id, ["LISTED-1", "LISTED-2"], fields='{"note": "listed"}')
    await list_block(connection, spring.id, ["OVER-1", "OVER-2"], lives=timedelta(seconds=-1))
    await connection.execute("UPDATE block SET open = false WHERE expires_at <= now()")
    return spring


@pytest.mark.parametrize("run", [1, 7, 8_000])
async def test_an_export_says_what_the_list_says(
    connection: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch, run: int
) -> None:
    monkeypatch.setattr(export, "_RUN_MAX", run)
    monkeypatch.setattr(export_pieces, "_BLOCKS_AT_ONCE", 2)
    monkeypatch.setattr(export_pieces, "_POSITIONS_AT_FIRST", run)
    monkeypatch.setattr(export_pieces, "_POSITIONS_MAX", run)
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
    await connection.execute("UPDATE block SET expires_at = now(), open = false")

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
    # What follows a tab or a line end within a cell begins another cell, where a spreadsheet separates there.
    assert {row["fields.note"] for row in rows} == {f"{sign}\t{sign}=2"}
    assert {row["profile.name"] for row in rows} == {f"{sign}@x\n{sign}=y", ""}
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

        async with export.of_one_moment(connection) as moment:
            count = await export.export(moment, minters, spring, ExportOptions(), write)
        assert count == 30
        assert b"".join(written).count(b"pooled") == 30
        assert len(await exported(connection, minters, spring, ExportOptions("attached"))) == 25
        assert await audit(connection) == []


@pytest.mark.parametrize("positions", [1, 3, 50])
async def test_codes_that_move_between_two_pieces_are_not_lost(
    connections: Pool, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch, positions: int
) -> None:
    """A piece has its own connection and moment: what moves behind it is there again, what moves before it once."""
    monkeypatch.setattr(export_pieces, "_POSITIONS_AT_FIRST", positions)
    monkeypatch.setattr(export_pieces, "_POSITIONS_MAX", positions)
    async with connections.acquire() as other:
        spring = await program(other, minters, **OFF)
        await generate(other, minters, spring.id, 20, None)
        await list_block(other, spring.id, [f"LISTED-{n}" for n in range(20)])
        await claims.attach([message("SPRING", profile_id=f"p-{n}") for n in range(40)])
        texts = [one.code for one in await listed(other, minters, spring)]
        moving = [*texts[::4], *texts[1::4]]
        written: list[bytes] = []
        open_now = 0

        @asynccontextmanager
        async def one_for_each_piece() -> AsyncIterator[Connection]:
            nonlocal open_now
            async with connections.acquire() as connection:
                open_now += 1
                yield connection
                open_now -= 1

        async def write(some: bytes) -> None:
            assert open_now == 0
            written.append(some)
            if moving:
                await lifecycle.detach(ProgramCodes(other, minters, spring.id), moving.pop())
            if len(written) > 1:
                await generate(other, minters, spring.id, 1, None)

        count = await export.export(one_for_each_piece, minters, spring, ExportOptions(), write)

        rows = list(csv.DictReader(io.StringIO(b"".join(written).decode(), newline="")))
        assert len(rows) == count
        seen: dict[str, list[str]] = {}
        for row in rows:
            seen.setdefault(row["code"], []).append(row["state"])
        assert seen.keys() == set(texts)
        assert all(states in (["attached"], ["pooled"], ["attached", "pooled"]) for states in seen.values())
        assert await audit(other) == []


@pytest.mark.parametrize("positions", [1, 3, 50])
async def test_codes_that_are_reserved_between_two_pieces_are_there_once(
    connections: Pool, minters: Minters, monkeypatch: pytest.MonkeyPatch, positions: int
) -> None:
    """A reservation moves the last codes of a list to a block of their own, whether they were read or not."""
    monkeypatch.setattr(export_pieces, "_POSITIONS_AT_FIRST", positions)
    monkeypatch.setattr(export_pieces, "_POSITIONS_MAX", positions)
    async with connections.acquire() as other:
        spring = await program(other, minters, source={"kind": "import"}, **OFF)
        texts = [f"C-{number:02}" for number in range(24)]
        for start in (0, 12):
            await list_block(other, spring.id, texts[start : start + 12])
        written: list[bytes] = []

        async def reserve() -> None:
            asked = ReservationRequest(
                campaign_id=f"c-{len(written)}", count=2, until=datetime.now(UTC) + timedelta(days=1)
            )
            await reservations.reserve(other, minters, spring.id, asked)

        async def write(some: bytes) -> None:
            written.append(some)
            if len(written) <= 10:
                await reserve()

        await reserve()
        await export.export(connections.acquire, minters, spring, ExportOptions(), write)

        rows = csv.DictReader(io.StringIO(b"".join(written).decode(), newline=""))
        assert sorted(row["code"] for row in rows) == texts
        assert await audit(other) == []


async def test_a_piece_of_large_rows_is_read_in_smaller_ones(
    connection: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_pieces, "PIECE_BYTES", 50_000)
    monkeypatch.setattr(export_pieces, "_PIECE_BYTES_MAX", 100_000)
    spring = await program(connection, minters, **OFF)
    await generate(connection, minters, spring.id, 300, None)
    await claims.attach([message("SPRING", profile_id=f"p-{n}") for n in range(300)])
    await profiles.put(connection, {f"p-{n}": {"name": "x" * 2_000} for n in range(300)})
    largest = 0

    async def write(some: bytes) -> None:
        nonlocal largest
        largest = max(largest, len(some))

    async with export.of_one_moment(connection) as moment:
        options = ExportOptions(profile_fields=("name",))
        assert await export.export(moment, minters, spring, options, write) == 300
    assert largest <= 101_000


async def test_minted_codes_with_large_fields_are_written_in_small_runs(
    connection: Connection, minters: Minters
) -> None:
    """A run of thousands of codes whose other cells are large would need a gigabyte."""
    names = [f"f{n}" for n in range(64)]
    spring = await program(connection, minters, fields=[{"name": name} for name in names], **OFF)
    await generate(connection, minters, spring.id, 100, json.dumps(dict.fromkeys(names, "x" * 2_000)))
    largest = 0

    async def write(some: bytes) -> None:
        nonlocal largest
        largest = max(largest, len(some))

    async with export.of_one_moment(connection) as moment:
        assert await export.export(moment, minters, spring, ALL, write) == 100
    assert largest <= export_pieces.PIECE_BYTES + 140_000


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
    async with export.of_one_moment(connection) as moment:
        await export.export(moment, minters, spring, ExportOptions("pooled"), write)
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
        async with connections.acquire() as exporting, export.of_one_moment(exporting) as moment:
            await export.export(moment, minters, spring, ExportOptions(), once)
    assert len(written) == 2
    assert await connections.fetchval("SELECT 1") == 1

    async def ended() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%'"
        return bool(await connection.fetchval(query) == 0)

    await until(ended, "end of the export's session")


async def test_codes_after_billions_of_others_are_exported(connection: Connection, minters: Minters) -> None:
    assert len(await exported(connection, minters, await after_billions(connection, minters, 7))) == 7
