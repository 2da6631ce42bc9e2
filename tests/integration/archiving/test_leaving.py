"""Old answers leave the database with everything that depends on them intact; what may still matter stays."""

import asyncio
import csv
import gzip
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from codewell.archiving import horizon, leaving
from codewell.archiving.archive_folder import ArchiveFolder, FolderUnavailable
from codewell.audit.audit_log import Actor
from codewell.audit.promises import audit
from codewell.codes import lifecycle, listing, lookup
from codewell.codes.bulk_blocks import keep_blocks
from codewell.codes.code_filter import CodeFilter
from codewell.codes.lifecycle import CodeChange
from codewell.codes.lookup import START
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual, reissue
from codewell.issuing.claim import Claims
from codewell.issuing.model import AnswerRow, Request
from codewell.issuing.reissue import ReissueWanted
from codewell.minting.minter import Minter
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.profiles.deciding_lock import hold_deciding_lock
from codewell.profiles.forgetting import forget
from codewell.programs import overview, programs
from codewell.recovery.reconciliation import AnswerComparison, PublishedAnswer, PublishedCode
from codewell.redemption import till
from codewell.returns.settle import Receipt, Returns
from schemas.program import Program
from tests.support.factories import OFF, message, program
from tests.support.old_answers import DAYS, REPLAY_DAYS, RETENTION_DAYS, age, archive, old_id

LATER = datetime(2090, 1, 1, tzinfo=UTC)


async def stocked(
    connection: Connection, minters: Minters, count: int, name: str = "SPRING", **changed: object
) -> Program:
    """A program whose codes live for a day."""
    made = await program(connection, minters, name, **{**OFF, "ttl": timedelta(days=1), **changed})
    await generate(connection, minters, made.id, count, '{"discount": "5"}')
    return made


async def given(claims: Claims, requests: Sequence[Request]) -> dict[UUID, list[AnswerRow]]:
    claimed = await claims.attach(requests)
    assert len(claimed.rows) == len(requests)
    return claimed.rows


def old(count: int, *names: str) -> list[Request]:
    return [message(*(names or ("SPRING",)), request_id=old_id(), profile_id=f"p-{n}") for n in range(count)]


async def remaining(connection: Connection) -> list[UUID]:
    return [row["request_id"] for row in await connection.fetch("SELECT DISTINCT request_id FROM answer ORDER BY 1")]


def archived(path: Path) -> list[dict[str, str]]:
    """All rows of the files, in the order of their requests."""
    rows = []
    for file in path.glob("*/*.csv.gz"):
        with gzip.open(file, "rt") as lines:
            rows += list(csv.DictReader(lines))
    return sorted(rows, key=lambda row: (row["request_id"], row["ordinal"]))


async def test_old_answers_leave_and_all_promises_hold(
    connection: Connection, claims: Claims, minters: Minters, tmp_path: Path
) -> None:
    spring = await stocked(connection, minters, 30)
    requests = old(25)
    before = await given(claims, requests)
    refused = [*old(2, "NONE"), message("SPRING", request_id=old_id(), preview=True)]
    await given(claims, refused)
    await age(connection)
    stock = await overview.stock(connection, "SPRING")

    assert await archive(connection, tmp_path) == 28
    assert await remaining(connection) == []
    assert await audit(connection) == []
    assert await overview.stock(connection, "SPRING") == stock
    rows = archived(tmp_path)
    assert len(rows) == 28
    told = {row["request_id"]: (row["profile_id"], row["code"]) for row in rows if row["block_id"]}
    assert told == {str(id_): (row.profile_id, row.code) for id_, [row] in before.items()}
    assert await archive(connection, tmp_path) == 0
    assert len(archived(tmp_path)) == 28

    # A repeat gets no second code, and the same refusal each time; new requests are served.
    await generate(connection, minters, spring.id, 10, None)
    for _ in range(2):
        again = await given(claims, requests)
        assert all("request_too_old" in (row.refusals or "") for [row] in again.values())
    new = [message("SPRING", profile_id="p-1"), message("SPRING", request_id=uuid4(), profile_id="p-2")]
    codes = {row.code for [row] in (await given(claims, new)).values()}
    assert None not in codes
    assert not codes & {row.code for [row] in before.values()}
    assert await audit(connection) == []


async def test_a_request_that_is_too_old_and_kept_gets_its_answer(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    """Also in a batch with others, and by the request ids of any version."""
    await stocked(connection, minters, 30, ttl=None)
    kept = [*old(3), message("SPRING", request_id=UUID(int=5), profile_id="p-9")]
    await given(claims, kept)
    await age(connection)
    before = await given(claims, kept)
    assert await archive(connection) == 0

    unknown = [*old(2), message("SPRING", request_id=UUID(int=7), profile_id="p-8"), message("SPRING")]
    rows = await given(claims, [*kept, *unknown])
    assert [rows[one.id] for one in kept] == [before[one.id] for one in kept]
    assert [rows[one.id][0].code is None for one in unknown] == [True, True, False, False]
    with pytest.raises(ProgramRefused, match="time in the request's id") as refused:
        await manual.attach(claims, "SPRING", "p-7", old_id())
    assert refused.value.reason == "request_too_old"
    with pytest.raises(ProgramRefused, match="time in the request's id"):
        await manual.attach_named(connection, minters, "SPRING", "NEW-1", "p-7", old_id())
    assert await audit(connection) == []


async def test_what_may_still_matter_stays(
    connection: Connection, claims: Claims, minters: Minters, tmp_path: Path
) -> None:
    spring = await stocked(connection, minters, 40)
    await stocked(connection, minters, 40, "SUMMER")
    codes = ProgramCodes(connection, minters, spring.id)
    requests = old(12)
    rows = {request.id: row for request in requests for row in (await given(claims, [request]))[request.id]}
    ids = [request.id for request in requests]
    text = [rows[id_].code or "" for id_ in ids]

    await till.activate(codes, text[0])
    await till.hold(codes, text[1], "o-1", ttl=timedelta(minutes=5))
    await till.release(codes, text[1], "o-1")
    await lifecycle.delete(codes, text[2])
    await lifecycle.detach(codes, text[3])
    await lifecycle.change(codes, text[4], lambda _: CodeChange(LATER, None))
    returns = Returns(share_max=0.2)
    await returns.settle(connection, [Receipt(ids[5], "p-5", "permanent"), Receipt(ids[7], "p-7", "delivered")])
    async with connection.transaction():
        wanted = ReissueWanted(text[6], None, "lost", "fresh")
        new = await reissue.reissue(codes, wanted, old_id(), Actor("command", "test"), is_last=True)
    by_text = (await lookup.find(codes, last_text(await codes.minter(1), 40))) or new.code
    await manual.attach_named(connection, minters, "SPRING", by_text.code, "p-20", old_id())
    random, two = message("SPRING", request_id=uuid4()), message("SPRING", "SUMMER", request_id=old_id())
    await given(claims, [random])
    await given(claims, [two])
    await age(connection)
    # Used codes leave with their uses.
    untouched = {ids[0], ids[1], *ids[7:]}
    stock = await overview.stock(connection, "SPRING")

    assert await archive(connection, tmp_path) == len(untouched)
    assert await overview.stock(connection, "SPRING") == stock
    assert stock.activated == 1
    assert set(await remaining(connection)) & untouched == set()
    assert {random.id, two.id, *ids[2:7]} <= set(await remaining(connection))
    assert await connection.fetchval("SELECT count(*) FROM code_use") == 0
    assert await connection.fetchval("SELECT count(*) FROM answer WHERE code = $1", new.code.code) == 1
    assert await connection.fetchval("SELECT count(*) FROM answer WHERE code = $1", by_text.code) == 1
    rows_of = {row["request_id"]: row for row in archived(tmp_path)}
    assert rows_of.keys() == {str(id_) for id_ in untouched}
    assert [rows_of[str(id_)]["uses"] for id_ in (ids[0], ids[1], ids[7])] == ["1", "0", ""]
    assert '"order_id" : "o-1"' in rows_of[str(ids[1])]["orders"]
    assert await connection.fetchval("SELECT array_agg(request_id) FROM send_receipt") == [ids[5]]
    assert await audit(connection) == []


def last_text(minter: Minter, count: int) -> str:
    """The text of the last one of the program's codes."""
    return minter.mint(count - 1, 1)[0]


@pytest.mark.parametrize("why", ["lives", "recent", "open", "shared", "voided"])
async def test_a_block_waits_until_all_its_codes_may_leave(
    connection: Connection, claims: Claims, minters: Minters, why: str
) -> None:
    spring = await stocked(connection, minters, 20, shared=why == "shared")
    requests = old(9)
    await given(claims, requests)
    await age(connection)
    if why == "lives":
        await connection.execute("UPDATE answer SET expires_at = now() - interval '59 days' WHERE position = 3")
    elif why == "recent":
        recent = old_id(REPLAY_DAYS - 1)
        await connection.execute("UPDATE answer SET request_id = $1 WHERE position = 3", recent)
    elif why == "open":
        await connection.execute("UPDATE block SET open = true, expires_at = NULL")
    elif why == "voided":
        await connection.execute(
            "UPDATE block SET voided_at = now(), voided_from = next, voided = size - next, deleted = size - next, "
            "next = size"
        )
    assert spring.id
    assert await archive(connection) == 0
    assert len(await remaining(connection)) == 9


async def test_a_program_may_have_a_retention_of_its_own(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    """Shorter or longer than that of the generators, also for codes that are already given."""
    for name, retention in (("SPRING", timedelta(days=10)), ("SUMMER", None), ("AUTUMN", timedelta(days=400))):
        made = await stocked(connection, minters, 20, name)
        await given(claims, old(5, name))
        await programs.update(connection, minters, made.name, {"retention": retention}, 10)

    async def there() -> list[str]:
        rows = await connection.fetch(
            "SELECT DISTINCT p.name FROM answer a JOIN program p ON p.id = a.program_id ORDER BY 1"
        )
        return [row["name"] for row in rows]

    await age(connection, 20)
    assert await archive(connection) == 5
    assert await there() == ["AUTUMN", "SUMMER"]
    await age(connection, 80)
    assert await archive(connection) == 5
    assert await there() == ["AUTUMN"]
    assert await audit(connection) == []


async def test_nothing_more_happens_to_a_code_whose_record_was_archived(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await stocked(connection, minters, 20)
    codes = ProgramCodes(connection, minters, spring.id)
    [[row]] = (await given(claims, old(1))).values()
    pooled = last_text(await codes.minter(1), 20)
    await age(connection)
    assert await archive(connection) == 1

    steps: list[Callable[[str], Awaitable[object]]] = [
        lambda code: lifecycle.change(codes, code, lambda _: CodeChange(LATER, None)),
        lambda code: lifecycle.delete(codes, code),
        lambda code: lifecycle.detach(codes, code),
        lambda code: manual.attach_named(connection, minters, "SPRING", code, "p-2", uuid7()),
    ]
    for code in (row.code or "", pooled):
        found = await lookup.find(codes, code)
        assert found is not None
        assert (found.state, found.profile_id) == ("expired", None)
        for step in steps:
            with pytest.raises(ProgramRefused, match="archived") as refused:
                await step(code)
            assert refused.value.reason == "code_archived"
        with pytest.raises(ProgramRefused, match="is expired"):
            await till.activate(codes, code)
    assert await audit(connection) == []


async def test_codes_whose_records_left_are_listed_as_expired(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await stocked(connection, minters, 5, ttl_from="attachment")
    await given(claims, old(5))
    await age(connection)
    assert await archive(connection) == 5
    codes = ProgramCodes(connection, minters, spring.id)
    assert not await connection.fetchval("SELECT bool_or(expires_at <= now()) FROM block")
    [found, end] = await listing.page(codes, START, 100, CodeFilter("expired"))
    assert (len(found), end) == (5, None)


class _Broken(ArchiveFolder):
    """A folder whose process dies once a file is on the disk."""

    def store(self, name: str, lines: bytes) -> Path:
        super().store(name, lines)
        raise FolderUnavailable("The process dies.")


async def test_a_crash_after_the_file_gives_its_rows_twice(
    connection: Connection, claims: Claims, minters: Minters, tmp_path: Path
) -> None:
    await stocked(connection, minters, 10)
    requests = old(10)
    await given(claims, requests)
    await age(connection)
    limits = await horizon.move(connection, RETENTION_DAYS, REPLAY_DAYS)
    [found] = await leaving.blocks(connection, 0, limits)
    block = await leaving.begin(connection, found, limits)
    assert block is not None
    with pytest.raises(FolderUnavailable, match="dies"):
        await leaving.remove(connection, block, limits, _Broken(tmp_path))

    assert len(await remaining(connection)) == 10
    assert await audit(connection) == []
    assert await archive(connection, tmp_path) == 10
    assert len(archived(tmp_path)) == 20
    assert {row["request_id"] for row in archived(tmp_path)} == {str(one.id) for one in requests}
    assert await audit(connection) == []


async def test_requests_become_too_old_while_none_is_being_decided(
    connection: Connection, bystander: Connection
) -> None:
    """A claim that began before would give a second code to a request whose answer has left since."""
    claim = bystander.transaction()
    await claim.start()
    await hold_deciding_lock(bystander)
    moving = asyncio.create_task(horizon.move(connection, RETENTION_DAYS, REPLAY_DAYS))
    done, _ = await asyncio.wait([moving], timeout=0.3)
    assert not done
    assert await bystander.fetchval("SELECT count(*) FROM retention") == 0
    await claim.rollback()
    limits = await moving
    assert await bystander.fetchval("SELECT oldest FROM retention") == limits.oldest

    # It never goes back, whatever the settings say.
    assert (await horizon.move(connection, RETENTION_DAYS, REPLAY_DAYS + 10)).oldest == limits.oldest
    assert (await horizon.move(connection, RETENTION_DAYS, REPLAY_DAYS - 10)).oldest > limits.oldest


async def test_where_requests_may_come_again_for_ever_none_is_too_old(
    connection: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The most that the setting takes, which is before the first time that an id can say.
    monkeypatch.setattr("tests.support.old_answers.REPLAY_DAYS", 36_500)
    await stocked(connection, minters, 10)
    await given(claims, old(10))
    await age(connection)
    assert await archive(connection) == 0
    assert len(await remaining(connection)) == 10


async def test_answers_stay_while_a_change_of_many_codes_is_at_them(
    connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    await stocked(connection, minters, 10)
    await given(claims, old(10))
    await age(connection)
    limits = await horizon.move(connection, RETENTION_DAYS, REPLAY_DAYS)
    [found] = await leaving.blocks(connection, 0, limits)
    async with bystander.transaction():
        await keep_blocks(bystander, [found.id])
        with pytest.raises(asyncpg.LockNotAvailableError):
            await leaving.begin(connection, found, limits)
    assert await leaving.begin(connection, found, limits) is not None


async def test_answers_that_have_left_are_not_taken_for_lost(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    await stocked(connection, minters, 10)
    rows = [row for [row] in (await given(claims, old(5))).values()]
    await age(connection)
    assert await archive(connection) == 5
    lost = rows[0]._replace(request_id=uuid7())
    comparison = AnswerComparison(connection)
    await comparison.open()
    await comparison.compare([_published(row) for row in [*rows, lost]])
    found = [one.answer.request_id async for some in comparison.in_order() for one in some]
    assert found == [lost.request_id]


def _published(row: AnswerRow) -> PublishedAnswer:
    code = PublishedCode("SPRING", row.code or "", row.expires_at, row.fields)
    return PublishedAnswer(row.request_id, row.profile_id, "0:0", row.answered_at, None, False, None, (code,))


async def test_what_was_archived_names_a_forgotten_profile_by_its_new_id(
    connection: Connection, claims: Claims, minters: Minters, tmp_path: Path
) -> None:
    await stocked(connection, minters, 3)
    await given(claims, old(3))
    await forget(connection, "p-1")
    await age(connection)
    assert await archive(connection, tmp_path) == 3
    profiles = sorted(row["profile_id"].split("-")[0] for row in archived(tmp_path))
    assert profiles == ["forgotten", "p", "p"]
    assert DAYS > RETENTION_DAYS
