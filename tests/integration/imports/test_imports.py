"""Files become codes: which rows enter a program, which do not and why, and what a crash leaves."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.codes.lookup import find
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import FileRefused, ProgramRefused
from codewell.files import table
from codewell.files.limits import FileLimits
from codewell.files.scan import scan
from codewell.files.table import open_table
from codewell.imports import chunk_writer, run, uploads
from codewell.imports.candidates import NO_ATTRIBUTES, Candidate, Chunk
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual
from codewell.issuing.claim import Claims
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.programs import overview, programs
from tests.support.factories import OFF, message, program
from tests.support.import_runs import Files, before_chunks, lines, no_progress
from tests.support.running import until

IMPORT: dict[str, Any] = {**OFF, "source": {"kind": "import"}}


@pytest.fixture
def files(connection: Connection, minters: Minters, tmp_path: Path, database_url: str) -> Files:
    return Files(connection, minters, tmp_path, database_url)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rows that are taken many at once, but for those of the first chunk."""
    monkeypatch.setattr(run, "CHUNK_ROWS", 10)
    monkeypatch.setattr(table, "_FIRST_ROWS", 5)


async def stock(connection: Connection) -> tuple[int, int, int]:
    found = await overview.stock(connection, "SPRING")
    assert found.made + found.imported == found.pooled + found.attached + found.expired + found.deleted
    return found.imported, found.pooled, found.attached


async def test_codes_come_in_in_the_order_of_the_file_and_are_given(files: Files, claims: Claims) -> None:
    await program(files.connection, files.minters, **IMPORT)
    texts = [f"C-{n}" for n in range(35)]

    done = await files.bring_in(lines(["Code", *texts]))

    assert (done.state, done.rows, done.imported, done.attached, done.bad) == ("done", 35, 35, 0, {})
    assert await files.texts() == texts
    # One block grows, whatever the number of chunks.
    assert await files.connection.fetchval("SELECT count(*) FROM block") == 1
    request = message("SPRING")
    claimed = await claims.attach([request])
    assert claimed.rows[request.id][0].code == "C-0"
    assert await stock(files.connection) == (35, 34, 1)
    # Chunks alone are not waited for.
    assert await files.connection.fetchval("SHOW synchronous_commit") == "on"
    assert await audit(files.connection) == []


async def test_each_bad_row_is_told_with_its_number_and_reason(files: Files) -> None:
    spring = await program(files.connection, files.minters, codes_max=1_000, **OFF)
    await fill.generate(files.connection, files.minters, spring.id, 5, None)
    [minted] = (await files.minters.get(files.connection, spring.id, 1)).mint(3, 1)
    [later] = (await files.minters.get(files.connection, spring.id, 1)).mint(5, 1)
    await files.bring_in(lines(["OLD-1"]))

    done = await files.bring_in(lines(
        ["NEW-1", "", "X" * 1_001, "A\x07B", "NEW-1", "OLD-1", minted, later, *[f"F-{n}" for n in range(20)], "NEW-1"]
    ))  # fmt: skip

    assert await files.bad(done) == [
        (2, "", "empty"),
        (3, "X" * 200, "too_long"),
        (4, "A\x07B", "unprintable"),
        (5, "NEW-1", "twice_in_file"),
        (6, "OLD-1", "already_in_program"),
        (7, minted, "already_in_program"),
        # In a later chunk than the first.
        (29, "NEW-1", "twice_in_file"),
    ]
    assert done.bad == {"empty": 1, "too_long": 1, "unprintable": 1, "twice_in_file": 2, "already_in_program": 2}
    assert done.imported == 22
    # The number whose text came in is left out when its turn comes.
    await fill.generate(files.connection, files.minters, spring.id, 5, None)
    assert await files.connection.fetchval("SELECT skipped FROM template_version") == 1
    assert await audit(files.connection) == []


async def test_i5_no_row_comes_in_over_the_maximum(files: Files) -> None:
    await program(files.connection, files.minters, codes_max=15, pool_max=1, **IMPORT)
    done = await files.bring_in(lines([f"C-{n}" for n in range(30)]))
    assert (done.imported, done.bad) == (15, {"over_maximum": 15})
    assert (await files.bad(done))[0] == (16, "C-15", "over_maximum")
    assert await audit(files.connection) == []


async def test_expiry_fields_and_profile_of_a_row(files: Files) -> None:
    fields = [{"name": "discount", "required": True}, {"name": "note", "save": False}]
    await program(files.connection, files.minters, ttl="P1D", fields=fields, **IMPORT)
    done = await files.bring_in(
        "code,until,who,discount,note\n"
        "A,2099-01-31,p-1,10,x\n"
        "B,2099-01-31T12:00:00+02:00,,10,\n"
        "C,,,20,\n"
        "D,2099-13-01,,10,\n"
        "E,31.01.2099,,10,\n"
        "F,2001-01-01,,10,\n"
        "G,,,,\n"
        "H,,p\x01,10,\n"
        f"I,,,{'y' * 2_001},\n",
        profile_column="who", expiry_column="until", field_columns={"discount": "discount", "note": "note"},
    )  # fmt: skip
    assert [(row, reason) for row, _, reason in await files.bad(done)] == [
        (5, "bad_expiry"), (6, "bad_expiry"), (7, "bad_expiry"), (8, "missing_field"), (9, "bad_profile"),
        (10, "bad_field"),
    ]  # fmt: skip
    assert (done.imported, done.attached) == (3, 1)
    facts = {text: await find(ProgramCodes(files.connection, files.minters, 1), text) for text in "ABC"}
    a, b, c = facts["A"], facts["B"], facts["C"]
    assert a
    assert b
    assert c
    assert (a.state, a.profile_id, a.expires_at, a.fields) == (
        "attached", "p-1", datetime(2099, 2, 1, tzinfo=UTC), '{"discount": "10"}',
    )  # fmt: skip
    assert (b.state, b.expires_at) == ("pooled", datetime(2099, 1, 31, 10, tzinfo=UTC))
    assert c.expires_at is not None
    assert c.expires_at - done.started_at < timedelta(days=1, minutes=1)
    assert await audit(files.connection) == []


async def test_i1_a_profile_that_has_its_code_gets_no_second_one(files: Files, claims: Claims) -> None:
    await program(files.connection, files.minters, reuse="profile", **IMPORT)
    await files.bring_in(lines(["P-1"]))
    await claims.attach([message("SPRING", profile_id="p-1")])
    done = await files.bring_in("code,who\nA,p-1\nB,p-2\nC,p-2\nD,p-3\n", profile_column="who")
    assert [(row, reason) for row, _, reason in await files.bad(done)] == [
        (2, "profile_has_code"), (4, "profile_has_code"),
    ]  # fmt: skip
    request = message("SPRING", profile_id="p-2")
    assert (await claims.attach([request])).rows[request.id][0].code == "B"
    assert await audit(files.connection) == []


async def test_a_code_of_a_file_lives_from_its_attachment_where_the_program_says_so(files: Files) -> None:
    await program(files.connection, files.minters, ttl="P1D", ttl_from="attachment", **IMPORT)
    await files.bring_in("code,who\nA,p-1\nB,\n", profile_column="who")
    a, b = [await find(ProgramCodes(files.connection, files.minters, 1), text) for text in "AB"]
    assert a
    assert b
    assert a.attached_at
    assert a.expires_at == a.attached_at + timedelta(days=1)
    assert b.expires_at is None
    assert await audit(files.connection) == []


async def test_a_code_of_a_file_lives_no_longer_than_the_file_says(files: Files) -> None:
    """Whoever gets it at its import is no better off than who gets it from the pool."""
    await program(files.connection, files.minters, ttl="P3650D", ttl_from="attachment", **IMPORT)
    await files.bring_in("code,who,until\nA,p-1,2028-01-31\n", profile_column="who", expiry_column="until")
    a = await find(ProgramCodes(files.connection, files.minters, 1), "A")
    assert a
    assert (a.state, a.expires_at) == ("attached", datetime(2028, 2, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("settings", "options", "says"),
    [
        ({"auto_link": True}, {}, "column of the profile ids"),
        ({"shared": True}, {"profile_column": "1"}, "share one code"),
        ({}, {"field_columns": {"discount": "1"}}, "no field discount"),
        ({"fields": [{"name": "discount", "required": True}]}, {}, "requires the field discount"),
        ({"active": False}, {}, "switched off"),
        ({"valid_until": "2020-01-01T00:00:00Z"}, {}, "has ended"),
        ({"valid_from": "2090-01-01T00:00:00Z"}, {}, "has not begun"),
    ],
)
async def test_what_the_program_forbids_begins_nothing(
    files: Files, settings: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    await program(files.connection, files.minters, **{**IMPORT, **settings})
    with pytest.raises(ProgramRefused, match=says):
        await files.bring_in(lines(["A"]), **options)
    assert await files.connection.fetchval("SELECT count(*) FROM import") == 0


async def test_with_automatic_linking_each_row_needs_a_profile(files: Files) -> None:
    await program(files.connection, files.minters, auto_link=True, **IMPORT)
    done = await files.bring_in("code,who\nA,p-1\nB,\n", profile_column="who")
    assert (done.attached, done.bad) == (1, {"bad_profile": 1})


async def test_i6_an_import_stops_when_the_program_is_switched_off_and_goes_on_later(
    files: Files, bystander: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await program(files.connection, files.minters, **IMPORT)
    texts = [f"C-{n}" for n in range(30)]
    begun = await files.begin(lines(texts))
    before_chunks(monkeypatch)[20] = lambda _: programs.set_active(bystander, "SPRING", False)

    await uploads.store(files.connection, begun.id, files.path)

    with pytest.raises(ProgramRefused, match="after row 20"):
        await files.go_on(begun)
    assert not await uploads.is_stored(files.connection, begun.id)
    assert await stock(files.connection) == (20, 20, 0)
    await programs.set_active(files.connection, "SPRING", True)
    again = await files.begin(lines(texts))
    assert again.id == begun.id
    done = await files.go_on(again)
    assert (done.state, done.imported, done.bad) == ("done", 30, {})
    assert await files.texts() == texts
    assert await audit(files.connection) == []


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("number", range(4))
async def test_after_a_crash_it_goes_on_without_doubling(
    files: Files, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    await program(files.connection, files.minters, **IMPORT)
    content = lines([f"C-{n % 27}" for n in range(35)])
    begun = await files.begin(content)
    real, calls = chunk_writer.ChunkWriter._write_bad_rows, iter(range(10))

    async def crash(self: chunk_writer.ChunkWriter, *given: Any) -> None:
        if next(calls) == number:
            raise Crash
        await real(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(chunk_writer.ChunkWriter, "_write_bad_rows", crash)
        with pytest.raises(Crash):
            await files.go_on(begun)
    assert (await stock(files.connection))[0] == min(27, 10 * number)
    done = await files.go_on(await files.begin(content))
    assert (done.id, done.imported, done.bad) == (begun.id, 27, {"twice_in_file": 8})
    assert [row for row, *_ in await files.bad(done)] == list(range(28, 36))
    assert await audit(files.connection) == []


@pytest.mark.parametrize("is_read_alike", [True, False])
async def test_a_file_is_opened_again_only_if_the_import_began_with_another_reading(
    files: Files, is_read_alike: bool
) -> None:
    await program(files.connection, files.minters, **IMPORT)
    begun = await files.begin("code,until\nC-1,2030-01-01\n", expiry_column="until", time_zone="Asia/Tokyo")
    options = begun.options.model_copy(update={"time_zone": "Asia/Tokyo" if is_read_alike else "America/New_York"})
    scanned = scan(files.path, FileLimits())
    with open_table(files.path, scanned, options, FileLimits()) as table:
        await run.import_file(
            files.connection, files.minters, begun.id, files.path, scanned, FileLimits(), no_progress, table
        )
        assert (next(table.rows, None) is None) == is_read_alike
    expires_at = await files.connection.fetchval("SELECT expires_at FROM block")
    assert expires_at == datetime(2030, 1, 1, 15, tzinfo=UTC)


async def test_other_columns_are_another_import(files: Files) -> None:
    await program(files.connection, files.minters, **IMPORT)
    one, other = await files.begin("code,b\nA,B\n"), await files.begin("code,b\nA,B\n", column="b")
    assert one.id != other.id


async def test_one_import_is_worked_on_by_one(
    files: Files, bystander: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await program(files.connection, files.minters, **IMPORT)
    begun = await files.begin(lines(["A"]))
    await files.connection.execute("SET lock_timeout = 50")
    async with run.import_lock(bystander, begun.id):
        with pytest.raises(ProgramRefused, match="Another process"):
            await files.go_on(begun)
        async with run.import_lock(files.connection, begun.id, wait=False) as has:
            assert not has
    assert (await files.go_on(begun)).imported == 1


async def test_who_was_overtaken_stores_nothing_more(files: Files) -> None:
    """A process that lost its lock with its session, and does not know it yet."""
    its = await program(files.connection, files.minters, **IMPORT)
    begun = await files.begin(lines([f"C-{n}" for n in range(30)]))
    slow = chunk_writer.ChunkWriter(files.connection, files.minters, its.id, begun.id)

    chunks = [Chunk(n, 10, [Candidate(n + 1, f"C-{n}", NO_ATTRIBUTES, "")], []) for n in (0, 10)]
    await slow.take(chunks[0])
    await files.connection.execute("UPDATE import SET rows_read = 20")
    with pytest.raises(chunk_writer.ImportEnded):
        await slow.take(chunks[1])
    assert await files.texts() == ["C-0"]


async def test_a_block_that_claims_have_emptied_is_left_closed(
    files: Files, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    await program(files.connection, files.minters, **IMPORT)
    real = chunk_writer.ChunkWriter._take

    async def take(self: chunk_writer.ChunkWriter, *given: Any) -> Any:
        # All codes that were stored before.
        await claims.attach([message("SPRING") for _ in range(10)])
        return await real(self, *given)

    monkeypatch.setattr(chunk_writer.ChunkWriter, "_take", take)
    done = await files.bring_in(lines([f"C-{n}" for n in range(30)]))
    assert done.imported == 30
    assert await stock(files.connection) == (30, 10, 20)
    assert await files.connection.fetchval("SELECT count(*) FROM block") == 3
    assert await audit(files.connection) == []


async def test_a_file_that_breaks_in_the_middle_leaves_nothing(files: Files) -> None:
    await program(files.connection, files.minters, **IMPORT)
    broken = lines([f"C-{n}" for n in range(500)]) + '"' + "x" * 40_000 + "\n"
    with pytest.raises(FileRefused, match="unclosed quote"):
        await files.bring_in(broken)
    assert await files.texts() == []
    assert await stock(files.connection) == (0, 0, 0)
    [(state, error)] = await files.connection.fetch("SELECT state, error FROM import")
    assert state == "refused"
    assert "quote" in error
    assert await audit(files.connection) == []


async def test_more_rows_than_the_limit_leave_nothing(files: Files) -> None:
    await program(files.connection, files.minters, **IMPORT)
    with pytest.raises(FileRefused, match="more than 15 rows"):
        await files.bring_in(lines([f"C-{n}" for n in range(16)]), limits=FileLimits(rows_max=15))
    assert await files.texts() == []
    assert (await files.bring_in(lines([f"C-{n}" for n in range(15)]), limits=FileLimits(rows_max=15))).imported == 15


async def test_i4_is_true_at_every_commit_while_others_work(
    files: Files,
    claims: Claims,
    bystander: Connection,
    minters: Minters,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spring = await program(files.connection, files.minters, codes_max=5_000, pool_max=50, campaign_can_create=True)
    # The first text from outside waits until nobody remembers that there was none.
    await manual.attach_named(bystander, minters, "SPRING", "H-0", "p-9", uuid7())
    begun = await files.begin(lines([f"C-{n % 400}" for n in range(600)]))
    looks = []
    # A quick import would be over before the others have worked.
    others_worked = asyncio.Event()
    actions = before_chunks(monkeypatch)
    actions[0] = lambda _: others_worked.wait()
    async with postgres.connection(database_url, "test") as worker:
        running = asyncio.ensure_future(files.go_on(begun, worker))
        while not running.done():
            looks.append(await stock(bystander))
            if len(looks) > 2:
                others_worked.set()
            assert await audit(bystander) == []
            await claims.attach([message("SPRING") for _ in range(7)])
            await manual.attach_named(bystander, minters, "SPRING", f"H-{len(looks)}", "p-9", uuid7())
            await fill.top_up(files.connection, minters, spring.id)
        done = await running
    assert (done.imported, done.bad) == (400, {"twice_in_file": 200})
    assert actions == {}
    assert len(looks) > 2
    assert await audit(bystander) == []


async def test_i6_codes_whose_expiry_passes_while_they_wait_are_bad_rows(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    await program(files.connection, files.minters, **IMPORT)
    ends = datetime.now(UTC) + timedelta(seconds=1)

    async def has_passed() -> bool:
        passed: bool = await files.connection.fetchval("SELECT clock_timestamp() > $1", ends)
        return passed

    before_chunks(monkeypatch)[11] = lambda _: until(has_passed, "moment at which the codes end")
    content = lines(["code,profile,ends", *(f"AA-{n},p-{n},{'' if n < 10 else ends.isoformat()}" for n in range(20))])

    done = await files.bring_in(content, column="code", profile_column="profile", expiry_column="ends", header=True)

    assert (done.attached, done.bad) == (10, {"bad_expiry": 10})
    assert await audit(files.connection) == []
