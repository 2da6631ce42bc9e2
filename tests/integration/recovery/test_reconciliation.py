"""Answers that a database forgot, as after a fail-over to a standby that lagged: found, and put back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import ConsumerRecord

from codewell.audit.promises import audit
from codewell.codes import lifecycle, listing
from codewell.codes.code_filter import CodeFilter
from codewell.codes.lookup import START
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection, Pool, pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import assigned
from codewell.issuing.claim import Claims
from codewell.issuing.model import AnswerRow, Request
from codewell.issuing.reply import answer_event, utc_text
from codewell.pool import fill
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.profiles.forgetting import forget
from codewell.programs import overview
from codewell.recovery import published_answers, reconciliation
from codewell.recovery.reconciliation import AnswerComparison, MissingAnswer, PublishedAnswer, PublishedCode
from codewell.recovery.repair import Repair
from codewell.recovery.repair_plan import RepairCase
from codewell.reservations import reservations
from schemas.reservations import ReservationRequest
from tests.integration.codes import test_bulk as of_many
from tests.support.factories import OFF, message, program
from tests.support.servers import with_database
from tests.support.stream_fold import comparable, events_of, folded, truth
from tests.support.stream_log import StreamLog

Prepare = Callable[[Connection], Awaitable[object]]


class World:
    """A database, and what was answered from it."""

    def __init__(self, connections: Pool, answers: list[PublishedAnswer]) -> None:
        self.connections = connections
        self.answers = answers
        self.claims = Claims(connections, Minters(None))

    async def ask(self, *requests: Request) -> list[list[AnswerRow]]:
        """Decide these as one batch and publish the answers."""
        claimed = await self.claims.attach(requests)
        for request in requests:
            rows = claimed.rows[request.id]
            kind, data = answer_event(request, rows, self.claims.names)
            time = utc_text(rows[0].answered_at)
            headers = (("ce_type", kind.encode()), ("ce_time", time.encode()), ("content-type", b"application/json"))
            moment = int(rows[0].answered_at.timestamp() * 1000)
            value = data.encode()
            record = ConsumerRecord("reply", 0, len(self.answers), moment, 0, b"", value, None, 0, len(value), headers)
            answer = published_answers.parse_answer(record)
            assert answer is not None
            self.answers.append(answer)
        return [claimed.rows[request.id] for request in requests]

    async def reconcile(self, *, repair: bool) -> list[RepairCase]:
        """Compare in small batches, so that cases lie in different ones."""
        async with self.connections.acquire() as connection:
            await connection.execute("DROP TABLE IF EXISTS strange, strange_code, strange_forgotten")
            strangers = AnswerComparison(connection)
            await strangers.open()
            for start in range(0, len(self.answers), 7):
                await strangers.compare(self.answers[start : start + 7])
            restoring = Repair(connection, Minters(None))
            work = restoring.repair if repair else restoring.plan
            return [case async for strange in strangers.in_order() for case in await work(strange)]

    async def fetch(self, sql: str, *given: object) -> Any:
        async with self.connections.acquire() as connection:
            return await connection.fetchval(sql, *given)

    async def is_sound(self) -> None:
        """Fail unless the audit finds nothing."""
        async with self.connections.acquire() as connection:
            assert await audit(connection) == []


@asynccontextmanager
async def failed_over(
    database_url: str, prepare: Prepare, lost: Callable[[World], Awaitable[object]]
) -> AsyncIterator[World]:
    """The database as it was before `lost` happened; everything that was answered is published all the same."""
    name = database_url.rpartition("/")[2]
    connection = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"})
    await prepare(connection)
    await connection.close()
    server = await asyncpg.connect(with_database(database_url, "postgres"))
    # Somebody who has just left may be there still for a moment.
    while await server.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name):
        await asyncio.sleep(0.01)
    await server.execute(f"CREATE DATABASE {name}_lagged TEMPLATE {name}")
    try:
        answers: list[PublishedAnswer] = []
        async with pool(database_url, "codewell-test", 4) as primary:
            await lost(World(primary, answers))
        async with pool(with_database(database_url, f"{name}_lagged"), "codewell-test", 8) as standby:
            yield World(standby, answers)
    finally:
        await server.execute(f"DROP DATABASE {name}_lagged WITH (FORCE)")
        await server.close()


def spring(codes: int, **given: Any) -> Prepare:
    async def prepare(connection: Connection) -> None:
        minters = Minters(None)
        made = await program(connection, minters, **{**OFF, **given})
        if codes:
            await generate(connection, minters, made.id, codes, '{"discount": "10"}')

    return prepare


def holders(answers: Iterable[PublishedAnswer]) -> dict[str, set[str]]:
    """Which profiles were told each code."""
    told: dict[str, set[str]] = {}
    for answer in answers:
        for code in answer.codes:
            told.setdefault(code.text, set()).add(answer.profile_id)
    return told


def kinds(cases: Sequence[RepairCase]) -> Counter[tuple[str, bool]]:
    return Counter((case.kind, case.can_repair) for case in cases)


def requests(first: int, count: int) -> list[Request]:
    return [message("SPRING", profile_id=f"p-{number}") for number in range(first, first + count)]


async def test_what_was_lost_is_put_back_and_given_to_nobody_else(database_url: str) -> None:
    preview = message("SPRING", profile_id="p-shown", preview=True)
    refused = message("NOBODY", profile_id="p-refused")

    async def lost(primary: World) -> None:
        await primary.ask(*requests(0, 30))
        await primary.ask(preview, refused)

    async with failed_over(database_url, spring(100), lost) as world:
        listed = await world.reconcile(repair=False)
        assert kinds(listed) == {("lost_answer", True): 32}
        assert await world.fetch("SELECT count(*) FROM answer") == 0
        assert await world.reconcile(repair=True) == listed
        # Claims have no holes to look through.
        assert await world.fetch("SELECT sum(holes) FROM block") == 0
        await world.is_sound()
        assert await world.reconcile(repair=False) == []
        # Each request has its answer again, word for word.
        before = list(world.answers)
        again = [message("SPRING", profile_id=one.profile_id, request_id=one.request_id) for one in before[:30]]
        await world.ask(*again, preview, refused)
        for answer, copy in zip(before, world.answers[32:], strict=True):
            assert copy._replace(place=answer.place, written_at=answer.written_at) == answer
        # The others get what is left, and the pool is empty when it should be.
        await world.ask(*requests(100, 71))
        assert world.answers[-1].refusals is not None
        told = holders(one for one in world.answers if not one.preview)
        assert (len(told), max(map(len, told.values()))) == (100, 1)
        await world.is_sound()


async def test_codes_of_a_reservation_are_put_back(database_url: str) -> None:
    async def prepare(connection: Connection) -> None:
        minters = Minters(None)
        made = await program(connection, minters, **OFF)
        await generate(connection, minters, made.id, 30, None)
        until = await connection.fetchval("SELECT now() + interval '1 h'")
        wanted = ReservationRequest(campaign_id="spring", count=4, until=until)
        await reservations.reserve(connection, minters, made.id, wanted)

    async def lost(primary: World) -> None:
        await primary.ask(*[message("SPRING", profile_id=f"p-{n}", campaign_id="spring") for n in range(3)])
        await primary.ask(*[message("SPRING", profile_id=f"q-{n}", campaign_id="other") for n in range(3)])

    async with failed_over(database_url, prepare, lost) as world:
        assert kinds(await world.reconcile(repair=True)) == {("lost_answer", True): 6}
        await world.is_sound()
        # One is left of the reservation.
        await world.ask(*[message("SPRING", profile_id=f"r-{n}", campaign_id="spring") for n in range(2)])
        assert await world.fetch("SELECT sum(reserved_used) FROM block") == 4
        assert {len(profiles) for profiles in holders(world.answers).values()} == {1}
        await world.is_sound()


async def test_lost_codes_that_were_reserved_since_count_as_given_of_the_reservation(database_url: str) -> None:
    async def lost(primary: World) -> None:
        await primary.ask(*requests(0, 3))

    async with failed_over(database_url, spring(10, codes_max=10, pool_max=10), lost) as world:
        async with world.connections.acquire() as connection:
            until = await connection.fetchval("SELECT now() + interval '1 h'")
            wanted = ReservationRequest(campaign_id="spring", count=10, until=until)
            await reservations.reserve(connection, Minters(None), 1, wanted)
        assert kinds(await world.reconcile(repair=True)) == {("lost_answer", True): 3}
        assert await world.fetch("SELECT reserved_used FROM block") == 3
        await world.is_sound()


async def test_codes_that_were_made_after_what_the_database_knows_are_made_for_nobody_else(database_url: str) -> None:
    async def lost(primary: World) -> None:
        await primary.ask(*requests(0, 30))

    # The block is made in place, and lost with what was given of it.
    prepare = spring(0, campaign_can_create=True, codes_max=100, pool_max=100)
    async with failed_over(database_url, prepare, lost) as world:
        assert kinds(await world.reconcile(repair=True)) == {("lost_answer", True): 30}
        await world.is_sound()
        await world.ask(*requests(30, 71))
        assert '"maximum_reached"' in (world.answers[-1].refusals or "")
        told = holders(world.answers)
        assert (len(told), max(map(len, told.values()))) == (100, 1)
        await world.is_sound()


async def test_a_program_that_is_full_says_what_to_do(database_url: str) -> None:
    async def lost(primary: World) -> None:
        await primary.ask(*requests(0, 5))

    async with failed_over(database_url, spring(0, campaign_can_create=True), lost) as world:
        await world.fetch("UPDATE program SET codes_max = 3, pool_max = 3")
        cases = await world.reconcile(repair=True)
        assert kinds(cases) == {("lost_answer", True): 3, ("lost_answer", False): 2}
        assert "raise its maximum" in cases[-1].detail
        await world.fetch("UPDATE program SET codes_max = 5")
        assert kinds(await world.reconcile(repair=True)) == {("lost_answer", True): 2}
        await world.is_sound()


async def test_a_program_that_was_lost_is_named(database_url: str) -> None:
    async def lost(primary: World) -> None:
        async with primary.connections.acquire() as connection:
            made = await program(connection, Minters(None), "AUTUMN", **OFF)
            await generate(connection, Minters(None), made.id, 5, None)
        await primary.ask(message("SPRING", "AUTUMN"), message("AUTUMN", preview=True, profile_id="p-2"))

    async with failed_over(database_url, spring(5), lost) as world:
        cases = await world.reconcile(repair=True)
        # The code of the other program is free, and is nobody else's from now on.
        assert kinds(cases) == {("lost_answer", False): 2, ("lost_code", True): 1}
        assert all("AUTUMN" in case.detail for case in cases if not case.can_repair)
        await world.ask(*requests(10, 4))
        assert max(map(len, holders(world.answers).values())) == 1
        await world.is_sound()


async def test_issuers_that_went_on_are_found_out(database_url: str) -> None:
    asked = requests(0, 10)

    async def lost(primary: World) -> None:
        await primary.ask(*asked)

    async with failed_over(database_url, spring(100), lost) as world:
        # Five other profiles got the first codes once more; then two of the old requests came again.
        await world.ask(*requests(50, 5))
        await world.ask(*asked[8:])
        expected = {("two_profiles", False): 7, ("lost_answer", True): 1, ("lost_code", True): 2,
                    ("two_answers", False): 2}  # fmt: skip
        cases = await world.reconcile(repair=True)
        assert kinds(cases) == expected
        assert {case.code for case in cases if case.kind == "two_profiles"} == {
            text for text, told in holders(world.answers).items() if len(told) > 1
        }
        await world.is_sound()
        # What can't be mended stays listed, and what was kept is not kept twice.
        assert kinds(await world.reconcile(repair=True)) == {("two_profiles", False): 7, ("two_answers", False): 2}
        before = {text for text, told in holders(world.answers).items() if len(told) > 1}
        await world.ask(*requests(200, 50))
        assert {text for text, told in holders(world.answers).items() if len(told) > 1} == before
        await world.is_sound()


async def test_a_refusal_and_codes_for_one_request_are_two_answers(database_url: str) -> None:
    asked = message("SPRING")

    async def lost(primary: World) -> None:
        await primary.ask(asked)

    async with failed_over(database_url, spring(0), lost) as world:
        async with world.connections.acquire() as connection:
            await generate(connection, Minters(None), 1, 5, None)
        await world.ask(asked)
        [case] = await world.reconcile(repair=True)
        assert (case.kind, case.request_id, case.code) == ("two_answers", asked.id, None)


@pytest.mark.parametrize("at_once", [1, 500])
async def test_two_lost_answers_that_contradict_each_other(
    database_url: str, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(reconciliation, "BATCH_ANSWERS", at_once)
    asked = message("SPRING", profile_id="p-0")

    async def lost(primary: World) -> None:
        [[row]] = await primary.ask(asked)
        async with primary.connections.acquire() as connection:
            await lifecycle.detach(ProgramCodes(connection, Minters(None), 1), row.code or "")
        [[other]] = await primary.ask(message("SPRING", profile_id="p-1"))
        assert other.code == row.code
        first = primary.answers[0]
        primary.answers.append(first._replace(refusals="[]", codes=(), place="elsewhere", written_at=datetime.now(UTC)))

    async with failed_over(database_url, spring(1), lost) as world:
        for repair in (False, True):
            cases = await world.reconcile(repair=repair)
            assert kinds(cases) == {("lost_answer", True): 1, ("two_profiles", False): 1, ("two_answers", False): 1}
        await world.is_sound()


@pytest.mark.parametrize("given", [{"shared": True}, {"reuse": "profile"}])
async def test_codes_that_are_given_again_are_no_clash(database_url: str, given: dict[str, Any]) -> None:
    profiles = ["p-1", "p-1", "p-2"] if given.get("shared") else ["p-1", "p-1"]

    async def lost(primary: World) -> None:
        for profile_id in profiles:
            await primary.ask(message("SPRING", profile_id=profile_id))

    async with failed_over(database_url, spring(5, **given), lost) as world:
        assert kinds(await world.reconcile(repair=True)) == {("lost_answer", True): len(profiles)}
        await world.is_sound()
        await world.ask(*(message("SPRING", profile_id=profile_id) for profile_id in profiles))
        assert len(holders(world.answers)) == 1
        assert await world.reconcile(repair=False) == []
        await world.is_sound()


async def test_a_shared_code_that_the_database_knows_is_everybodys(database_url: str) -> None:
    async def lost(primary: World) -> None:
        await primary.ask(message("SPRING", profile_id="p-2"))

    async def prepare(connection: Connection) -> None:
        await spring(5, shared=True)(connection)
        async with pool(database_url, "codewell-test", 1) as connections:
            await World(connections, []).ask(message("SPRING", profile_id="p-1"))

    async with failed_over(database_url, prepare, lost) as world:
        assert kinds(await world.reconcile(repair=True)) == {("lost_answer", True): 1}
        await world.is_sound()


async def test_what_the_database_knows_is_no_case(database_url: str) -> None:
    async def nothing(_: World) -> None:
        return None

    async with failed_over(database_url, spring(3), nothing) as world:
        [[row], _] = await world.ask(*requests(0, 2))
        async with world.connections.acquire() as connection:
            minters = Minters(None)
            await lifecycle.detach(ProgramCodes(connection, minters, 1), row.code or "")
            # The returned code is the last, and goes to the second who asks now.
            await world.ask(*requests(10, 2))
            await lifecycle.delete(ProgramCodes(connection, minters, 1), world.answers[1].codes[0].text)
            await forget(connection, "p-10")
        world.answers *= 2
        assert await world.reconcile(repair=False) == []
        await world.is_sound()


async def test_a_code_that_is_deleted_or_over_by_now_is_put_back_too(database_url: str) -> None:
    async def lost(primary: World) -> None:
        await primary.ask(*requests(0, 2))

    async with failed_over(database_url, spring(5, ttl="P1D"), lost) as world:
        async with world.connections.acquire() as connection:
            await lifecycle.delete(ProgramCodes(connection, Minters(None), 1), world.answers[0].codes[0].text)
        await world.fetch("UPDATE block SET expires_at = now(), open = false")
        # The second was answered by somebody whose clock is ahead, just before the code's end.
        second = world.answers[1]
        [code] = second.codes
        code = code._replace(expires_at=second.written_at + timedelta(milliseconds=1))
        world.answers[1] = second._replace(written_at=second.written_at + timedelta(minutes=1), codes=(code,))
        assert kinds(await world.reconcile(repair=True)) == {("lost_answer", True): 2}
        await world.is_sound()
        async with world.connections.acquire() as connection:
            stock = await overview.stock(connection, "SPRING")
        assert (stock.attached, stock.deleted) == (1, 1)


async def test_lost_codes_that_were_deleted_with_the_whole_pool_are_given_to_nobody_by_its_undo(
    database_url: str,
) -> None:
    async def lost(primary: World) -> None:
        await primary.ask(*requests(0, 3))

    async with failed_over(database_url, spring(10), lost) as world:
        async with world.connections.acquire() as connection:
            codes = ProgramCodes(connection, Minters(None), 1)
            await lifecycle.delete(codes, world.answers[0].codes[0].text)
            change = await of_many.done(codes, of_many.VOID)
            assert kinds(await world.reconcile(repair=True)) == {("lost_answer", True): 3}
            await world.is_sound()
            assert await of_many.stock(connection) == (0, 0, 10)
            assert (await of_many.undone(codes, change)).restored == 7
            await world.is_sound()
            assert await of_many.stock(connection) == (7, 0, 3)
        await world.ask(*requests(100, 8))
        assert world.answers[-1].refusals is not None
        assert {len(profiles) for profiles in holders(world.answers).values()} == {1}
        await world.is_sound()


async def test_i11_lost_codes_that_were_deleted_meanwhile(
    connection: Connection, claims: Claims, minters: Minters, tmp_path: Path
) -> None:
    log = await StreamLog.begin(connection)
    codes = await of_many.stocked(connection, minters, 10)
    texts = [one.code for one in (await listing.page(codes, START, 10, CodeFilter())).codes]
    await lifecycle.delete(codes, texts[0])
    change = await of_many.done(codes, of_many.VOID)
    now = datetime.now(UTC)
    for n, text in enumerate(texts[:3]):
        code = PublishedCode("SPRING", text, None, None)
        answer = PublishedAnswer(uuid7(), f"p-{n}", f"reply:0:{n}", now, now, False, None, (code,))
        await Repair(connection, minters).repair([MissingAnswer(answer, None, {})])
    await of_many.undone(codes, change)

    assert await log.differences(connection, tmp_path) == []
    assert comparable(folded(await events_of(log, connection))) == comparable(await truth(connection))


async def test_issuers_that_work_meanwhile_wait_or_are_waited_for(database_url: str) -> None:
    async def lost(primary: World) -> None:
        for start in range(0, 600, 50):
            await primary.ask(*requests(start, 50))

    async with failed_over(database_url, spring(2_000), lost) as world:
        others = World(world.connections, world.answers)
        started = list(world.answers)

        async def work() -> None:
            for start in range(1_000, 1_400, 20):
                await others.ask(*requests(start, 20))

        repairing = World(world.connections, started)
        cases, _ = await asyncio.gather(repairing.reconcile(repair=True), work())
        clashes = {case.code for case in cases if case.kind == "two_profiles"}
        assert {text for text, told in holders(world.answers).items() if len(told) > 1} == clashes
        await world.is_sound()
        assert await repairing.reconcile(repair=True) == [case for case in cases if not case.can_repair]


async def test_what_was_made_for_profiles_is_not_in_the_way(database_url: str) -> None:
    async def lost(primary: World) -> None:
        async with primary.connections.acquire() as connection:
            ids = iter([one.id for one in requests(0, 3)])
            await assigned.generate_for(connection, Minters(None), 1, ["a", "b", "c"], ids, None)
            await fill.generate(connection, Minters(None), 1, 5, None)
        await primary.ask(*requests(0, 3))

    async with failed_over(database_url, spring(2), lost) as world:
        assert kinds(await world.reconcile(repair=True)) == {("lost_answer", True): 3}
        await world.is_sound()


async def test_a_lost_code_of_a_fallback_is_put_back_as_one(database_url: str) -> None:
    """The second try to decide the request finds the answer that was published, with its fallback."""

    async def prepare(connection: Connection) -> None:
        other = await program(connection, Minters(None), "OTHER", **OFF)
        await generate(connection, Minters(None), other.id, 2, None)
        await program(connection, Minters(None), **OFF, fallback=[{"program": "OTHER"}])

    asked = requests(0, 2)
    told: list[list[AnswerRow]] = []

    async def lost(primary: World) -> None:
        told.extend(await primary.ask(*asked))

    async with failed_over(database_url, prepare, lost) as world:
        assert kinds(await world.reconcile(repair=True)) == {("lost_answer", True): 2}
        again = await world.ask(*asked)
        assert [row.link for rows in again for row in rows] == [1, 1]
        assert [
            answer_event(request, rows, world.claims.names) for request, rows in zip(asked, again, strict=True)
        ] == [answer_event(request, rows, world.claims.names) for request, rows in zip(asked, told, strict=True)]
        assert await world.reconcile(repair=True) == []
        await world.is_sound()


async def test_what_a_profile_got_again_before_it_was_forgotten_is_no_clash(database_url: str) -> None:
    known: list[PublishedAnswer] = []
    first, again, other = (message("SPRING", profile_id=one) for one in ("p-1", "p-1", "p-2"))

    async def ask_first(connection: Connection) -> None:
        await spring(3, reuse="profile")(connection)
        async with pool(database_url, "codewell-test", 2) as primary:
            await World(primary, known).ask(first)

    async with failed_over(database_url, ask_first, lambda was: was.ask(again)) as now:
        now.answers[:0] = known
        async with now.connections.acquire() as connection:
            await forget(connection, "p-1")
        assert kinds(await now.reconcile(repair=True)) == {("lost_answer", True): 1}
        assert await now.reconcile(repair=True) == []
        rows = [row for [row] in await now.ask(again, first)]
        assert rows[0].code == rows[1].code
        assert rows[0].profile_id == rows[1].profile_id != "p-1"
        [[row]] = await now.ask(other)
        assert row.code != rows[0].code
        await now.is_sound()
