"""A forgotten profile is nowhere any more, its codes stay used, and every promise holds."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from codewell.access import stored_responses, tokens
from codewell.access.stored_responses import StoredResponse
from codewell.audit.audit_log import Actor
from codewell.audit.promises import audit
from codewell.codes import listing
from codewell.codes.code_filter import CodeFilter
from codewell.codes.lookup import START
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused, StackUnavailable
from codewell.imports.candidates import NO_ATTRIBUTES, Candidate, Chunk
from codewell.imports.chunk_writer import ChunkWriter
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import assigned, claim_queries, manual, reissue
from codewell.issuing.claim import Claims
from codewell.issuing.reissue import ReissueWanted
from codewell.issuing.reply import answer_event
from codewell.lifecycle.pseudonyms import pseudonyms
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.profiles import deciding_lock, forgetting, profiles
from codewell.profiles.forgetting import forget
from codewell.redemption import orders, till
from codewell.redemption.model import TillRequest
from codewell.redemption.orders import OrderEvent
from schemas.changes import ChangeFilter
from services.console.http.problems import refusal
from tests.integration.codes.test_bulk import VOID, begin, done, undone
from tests.support.factories import OFF, message, program, step
from tests.support.import_runs import Files
from tests.support.running import until
from tests.support.stock import stop_in_the_middle, until_waiting

WHO = 'p-"secret"\\é'


async def places_of(connection: Connection, text: str) -> list[str]:
    """Every table that holds the text anywhere, in whatever form."""
    found = []
    forms = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    for (table,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        for row in await connection.fetch(f'SELECT * FROM "{table}"'):
            cells = " ".join(cell.decode("latin-1") if isinstance(cell, bytes) else str(cell) for cell in row)
            as_bytes = " ".join(form.encode().decode("latin-1") for form in forms)
            if any(form in cells for form in (*forms, *as_bytes.split(" "))):
                found.append(table)
    return found


async def attached(connection: Connection, claims: Claims, minters: Minters) -> tuple[ProgramCodes, str]:
    """A program, and a code of it that the profile has got."""
    spring = await program(connection, minters)
    asked = message("SPRING", profile_id=WHO)
    [row] = (await claims.attach([asked])).rows[asked.id]
    return ProgramCodes(connection, minters, spring.id), row.code or ""


@asynccontextmanager
async def in_the_second_step(connections: Pool, connection: Connection, bystander: Connection) -> AsyncIterator[None]:
    """Run the with-block after the profile's answers were renamed, and before that is committed."""
    await connection.execute(
        """
        INSERT INTO bulk_change (id, program_id, state, void, profile_id, total, actor)
        SELECT $1, id, 'done', true, $2, 0, 'a' FROM program
        """,
        uuid7(),
        WHO,
    )
    async with connections.acquire() as forgetter:
        await bystander.execute("BEGIN")
        await bystander.execute("SELECT FROM bulk_change WHERE profile_id = $1 FOR UPDATE", WHO)
        forgetting_it = asyncio.ensure_future(forget(forgetter, WHO))
        await until_waiting(connection)
        yield
        await bystander.execute("ROLLBACK")
        await forgetting_it


async def test_no_table_holds_the_id_and_the_codes_stay_used(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    for name, changed in (("SPRING", {}), ("AGAIN", {"reuse": "profile"}), ("SHARED", {"shared": True})):
        made = await program(connection, minters, name, **OFF, **changed)
        await generate(connection, minters, made.id, 6, None)
    requests = [
        message("SPRING", "AGAIN", profile_id=WHO), message("AGAIN", profile_id=WHO), step("SPRING", profile_id=WHO),
        message("SHARED", profile_id=WHO), message("NOBODY", profile_id=WHO), message("SPRING", profile_id="p-2"),
        message("SPRING", profile_id=WHO, preview=True),
    ]  # fmt: skip
    before = (await claims.attach(requests)).rows
    named = await manual.attach_named(connection, minters, "AGAIN", "OUTSIDE", "p-3", uuid7())
    await till.activate(
        ProgramCodes(connection, minters, before[requests[0].id][0].program_id or 0),
        before[requests[0].id][0].code or "",
    )
    await profiles.put(connection, {WHO: {"email": "a"}, "p-2": {}})
    token, _ = await tokens.create(connection, "t", ["write"], [])
    body = json.dumps({"code": "A", "profile_id": WHO}, ensure_ascii=False, separators=(",", ":")).encode()
    for key, kept in (("k", body), ("other", b'{"profile_id":"p-2"}')):
        await stored_responses.store_response(
            connection, token.id, key, StoredResponse(bytes(32), 200, "application/json", kept)
        )
    assert set(await places_of(connection, WHO)) == {"answer", "holding", "profile", "idempotency"}

    assert await forget(connection, WHO) == 7

    assert await places_of(connection, WHO) == []
    rows = await connection.fetch("SELECT DISTINCT profile_id FROM answer WHERE profile_id LIKE 'forgotten-%'")
    [[stranger]] = rows
    kept_answer = json.loads(await connection.fetchval("SELECT body FROM idempotency WHERE key = 'k'"))
    assert kept_answer == {"code": "A", "profile_id": stranger}
    assert await connection.fetchval("SELECT body FROM idempotency WHERE key = 'other'") == b'{"profile_id":"p-2"}'
    assert (await profiles.get(connection, "p-2")).fields == {}
    assert named.profile_id == "p-3"
    after = [
        (one.code, one.state) for one in (await listing.page(ProgramCodes(connection, minters, 1), START, 10)).codes
    ]
    assert [state for _, state in after] == ["activated", "attached", "attached", "pooled", "pooled", "pooled"]
    assert await audit(connection) == []

    # Who comes again is new, and gets another code.
    again = message("AGAIN", profile_id=WHO)
    [row] = (await claims.attach([again])).rows[again.id]
    assert row.code not in {one.code for rows in before.values() for one in rows}
    assert await audit(connection) == []
    # Forgotten once more, it becomes somebody else.
    assert await forget(connection, WHO) == 1
    assert await connection.fetchval("SELECT count(DISTINCT profile_id) FROM answer WHERE profile_id LIKE 'forg%'") == 2
    assert await forget(connection, WHO) == 0
    assert await audit(connection) == []


async def test_a_refusal_that_is_kept_does_not_name_it(connection: Connection, minters: Minters) -> None:
    await program(connection, minters, **OFF, reuse="profile")
    await manual.attach_named(connection, minters, "SPRING", "FIRST", WHO, uuid7())
    with pytest.raises(ProgramRefused) as refused:
        await manual.attach_named(connection, minters, "SPRING", "SECOND", WHO, uuid7())
    token, _ = await tokens.create(connection, "t", ["write"], [])
    response = StoredResponse(bytes(32), 409, "application/problem+json", bytes(refusal(refused.value).body))
    await stored_responses.store_response(connection, token.id, "k", response)
    await forget(connection, WHO)
    assert await places_of(connection, WHO) == []


async def test_an_answer_that_is_kept_while_it_is_forgotten_does_not_name_it(
    connections: Pool, connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes, code = await attached(connection, claims, minters)
    token, _ = await tokens.create(connection, "t", ["write"], [])
    async with connections.acquire() as one, connections.acquire() as other:
        step = one.transaction()
        await step.start()
        assert await stored_responses.get_response(one, token.id, "k") is None
        used = await till.activate(codes._replace(connection=one), code)
        forgetting_it = asyncio.ensure_future(forget(other, WHO))
        await until_waiting(connection)
        body = json.dumps({"profile_id": used.profile_id}, ensure_ascii=False, separators=(",", ":")).encode()
        await stored_responses.store_response(
            one, token.id, "k", StoredResponse(bytes(32), 200, "application/json", body)
        )
        await step.commit()
        assert await forgetting_it == 1
    assert await places_of(connection, WHO) == []


async def test_i2_a_request_that_is_replayed_gets_the_same_code(
    connection: Connection, claims: Claims, others: Claims, minters: Minters
) -> None:
    await generate(connection, minters, (await program(connection, minters, **OFF)).id, 5, None)
    request = message("SPRING", profile_id=WHO)
    [first] = (await claims.attach([request])).rows[request.id]
    await forget(connection, WHO)

    [row] = (await others.attach([request])).rows[request.id]

    assert row._replace(profile_id=WHO) == first
    assert WHO not in answer_event(request, [row], {row.program_id or 0: "SPRING"})[1]
    assert await audit(connection) == []


async def test_i1_it_waits_for_requests_that_are_being_decided(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    """One that gives a code again is committed before, or gives none of the codes from before."""
    spring = await program(connection, minters, reuse="profile", **OFF)
    await generate(connection, minters, spring.id, 5, None)
    await claims.attach([message("SPRING", profile_id=WHO)])
    late = message("SPRING", profile_id=WHO)
    stopped = await stop_in_the_middle(bystander, late)
    deciding = asyncio.ensure_future(claims.attach([late]))
    await until_waiting(connection)

    async with connections.acquire() as forgetter:
        forgetting_it = asyncio.ensure_future(forget(forgetter, WHO))
        await until_waiting(connection, 2)
        assert await connection.fetchval("SELECT count(*) FROM holding") == 1
        await stopped.rollback()
        assert await forgetting_it == 2
    await deciding
    assert await places_of(connection, WHO) == []
    assert await connection.fetchval("SELECT count(DISTINCT profile_id) FROM answer") == 1
    assert await audit(connection) == []


@pytest.mark.parametrize("way", ["made for profiles", "from a file"])
async def test_it_waits_for_codes_that_are_attached_as_they_come(
    connections: Pool, connection: Connection, bystander: Connection, minters: Minters, tmp_path: Path, way: str
) -> None:
    """Else the codes of a transaction that began before would be noted under the old id behind it."""
    spring = await program(connection, minters, reuse="profile", **OFF)
    async with connections.acquire() as worker, connections.acquire() as forgetter:
        files = Files(worker, minters, tmp_path)
        begun = await files.begin(f"A,{WHO}\n", column="1", profile_column="2")
        made = (
            assigned.generate_for(worker, minters, spring.id, [WHO], iter([uuid7()]), None)
            if way == "made for profiles"
            else ChunkWriter(worker, minters, spring.id, begun.id).take(
                Chunk(0, 1, [Candidate(1, "A", NO_ATTRIBUTES, WHO)], [])
            )
        )
        # The first text from outside waits until nobody remembers that there was none.
        await manual.attach_named(connection, minters, "SPRING", "FIRST", "p-1", uuid7())
        await bystander.execute("BEGIN")
        await bystander.execute("SELECT FROM program FOR NO KEY UPDATE")
        making = asyncio.ensure_future(made)
        await until_waiting(connection)
        forgetting_it = asyncio.ensure_future(forget(forgetter, WHO))
        await until_waiting(connection, 2)
        await bystander.execute("ROLLBACK")
        await making
        assert await forgetting_it == 1
    assert await places_of(connection, WHO) == []
    assert await audit(connection) == []


async def test_requests_are_not_kept_waiting_by_one_that_waits(
    connections: Pool, connection: Connection, claims: Claims, minters: Minters
) -> None:
    await generate(connection, minters, (await program(connection, minters, **OFF)).id, 5, None)
    async with connections.acquire() as stuck, connections.acquire() as forgetter:
        transaction = stuck.transaction()
        await transaction.start()
        await claim_queries.lock(stuck, {"SPRING": 0})
        forgetting_it = asyncio.ensure_future(forget(forgetter, WHO))
        await until_waiting(connection)
        request = message("SPRING", profile_id=WHO)
        assert request.id in (await claims.attach([request])).rows
        await transaction.rollback()
        assert await forgetting_it == 1


async def test_it_gives_up_where_one_is_decided_without_end(
    connections: Pool, connection: Connection, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding_lock, "_ATTEMPTS_MAX", 2)
    async with connections.acquire() as stuck, stuck.transaction():
        await claim_queries.lock(stuck, {"SPRING": 0})
        with pytest.raises(StackUnavailable, match="in a moment"):
            await forget(connection, WHO)


async def test_i1_while_its_requests_come_and_go(connections: Pool, minters: Minters) -> None:
    async with connections.acquire() as connection:
        for name, reuse in (("AGAIN", "profile"), ("ONCE", "request"), ("STEP", "campaign")):
            made = await program(connection, minters, name, reuse=reuse, **OFF)
            await generate(connection, minters, made.id, 400, None)
        going = True

        async def ask() -> None:
            worker = Claims(connections, Minters(None))
            while going:
                await worker.attach(
                    [message("AGAIN", "ONCE", "STEP", profile_id=WHO), message("AGAIN", profile_id=WHO)]
                )

        asking = [asyncio.ensure_future(ask()) for _ in range(3)]
        for _ in range(15):
            async with connections.acquire() as forgetter:
                await forget(forgetter, WHO)
            assert await audit(connection) == []
        going = False
        await asyncio.gather(*asking)
        await forget(connection, WHO)
        assert await places_of(connection, WHO) == []
        assert await audit(connection) == []


async def test_answers_are_found_by_their_index_in_full_and_in_unfinished_runs(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    await generate(connection, minters, (await program(connection, minters, codes_max=100_000, **OFF)).id, 40_000, None)
    for part in range(4):
        await claims.attach([message("SPRING", profile_id=f"p-{part}-{n}") for n in range(8_000)])
        await claims.attach([message("SPRING", profile_id=WHO)])
        if part == 1:
            await connection.execute("VACUUM answer")
    await connection.execute("ANALYZE; SET enable_seqscan = off")
    plan = await connection.fetch("EXPLAIN UPDATE answer SET profile_id = 'x' WHERE profile_id = 'y'")
    assert any("answer_profile" in line[0] for line in plan)

    assert await forget(connection, WHO) == 4
    assert await places_of(connection, WHO) == []
    other = await connection.fetchval("SELECT profile_id FROM answer WHERE profile_id LIKE 'forgotten-%' LIMIT 1")
    page = await listing.page(ProgramCodes(connection, minters, 1), START, 10, CodeFilter(profile_id=other))
    assert len(page.codes) == 4


async def test_a_use_that_changes_while_its_profile_is_forgotten_does_not_get_the_id_back(
    connections: Pool, connection: Connection, claims: Claims, minters: Minters
) -> None:
    codes, code = await attached(connection, claims, minters)
    await till.hold(codes, code, "o-1", profile_id=WHO)
    async with connections.acquire() as one:
        codes = codes._replace(connection=one)
        async with one.transaction():
            decided = await till.decide_all(codes, [TillRequest("activate", code, order_id="o-1")])
            await forget(connection, WHO)
            await till.write(codes, decided)
    assert await places_of(connection, WHO) == []
    [used] = await connection.fetch("SELECT profile_id, used_at FROM code_use")
    assert used["profile_id"].startswith("forgotten-")
    assert used["used_at"] is not None
    assert await audit(connection) == []


async def test_a_use_that_is_copied_from_an_ended_one_while_its_profile_is_forgotten_does_not_keep_the_id(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    """An order that is paid after a refund uses its codes again, for the same profile."""
    codes, code = await attached(connection, claims, minters)
    await till.hold(codes, code, "o-1", profile_id=WHO)
    for state in (OrderEvent("o-1", "paid", None), OrderEvent("o-1", "refunded", None)):
        await orders.settle(connection, minters, [state])
    await profiles.put(connection, {WHO: {}})
    await connection.execute(
        "INSERT INTO lifecycle_progress (epoch, reason, timeline, done) VALUES (1, 'switched_on', 1, '0/0')"
    )

    async def is_renamed() -> bool:
        return not await connection.fetchval("SELECT count(*) FROM code_use WHERE profile_id = $1", WHO)

    async with connections.acquire() as forgetter, connections.acquire() as one:
        await bystander.execute("BEGIN")
        await bystander.execute("SELECT FROM profile FOR UPDATE")
        forgetting_it = asyncio.ensure_future(forget(forgetter, WHO))
        await until_waiting(connection)
        codes = codes._replace(connection=one)
        async with deciding_lock.deciding(one):
            decided = await till.decide_all(codes, [TillRequest("pay", code, order_id="o-1")])
            await bystander.execute("ROLLBACK")
            await until(is_renamed, "use with the random id")
            await till.write(codes, decided)
            lsn: int = await connection.fetchval("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        await forgetting_it
    # Which says that events from before get no key.
    assert await places_of(connection, WHO) == ["lifecycle_profile"]
    assert (await pseudonyms(connection, {WHO: lsn})).of(WHO, lsn) is None
    assert await connection.fetchval("SELECT count(*) FROM code_use WHERE profile_id LIKE 'forgotten-%'") == 2
    assert await audit(connection) == []


async def test_a_code_that_is_reissued_while_its_profile_is_forgotten_does_not_keep_the_id(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    codes, code = await attached(connection, claims, minters)
    await generate(connection, minters, codes.program_id, 5, None)
    await connection.execute(
        "INSERT INTO lifecycle_progress (epoch, reason, timeline, done) VALUES (1, 'switched_on', 1, '0/0')"
    )
    async with in_the_second_step(connections, connection, bystander):
        wanted = ReissueWanted(code, None, "lost", "same")
        await reissue.reissue(codes, wanted, uuid7(), Actor("token", "support"), is_last=True)
        lsn: int = await connection.fetchval("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    # Which says that events from before get no key.
    assert await places_of(connection, WHO) == ["lifecycle_profile"]
    assert (await pseudonyms(connection, {WHO: lsn})).of(WHO, lsn) is None
    assert await connection.fetchval("SELECT count(DISTINCT profile_id) FROM answer") == 1
    assert await audit(connection) == []


async def test_a_reissue_meanwhile_breaks_no_promise_when_the_process_dies_before_the_second_round(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    codes, code = await attached(connection, claims, minters)
    await generate(connection, minters, codes.program_id, 5, None)

    async def reissue_meanwhile() -> None:
        async with in_the_second_step(connections, connection, bystander):
            wanted = ReissueWanted(code, None, "lost", "same")
            await reissue.reissue(codes, wanted, uuid7(), Actor("token", "support"), is_last=True)

    with monkeypatch.context() as patched:
        patched.setattr(forgetting, "_ROUNDS_MAX", 1)
        with pytest.raises(StackUnavailable):
            await reissue_meanwhile()
    assert await audit(connection) == []

    await forget(connection, WHO)

    assert await places_of(connection, WHO) == []
    assert await connection.fetchval("SELECT count(DISTINCT profile_id) FROM answer") == 2
    assert await audit(connection) == []


@pytest.mark.parametrize("way", ["a reissue", "an undo"])
async def test_what_copies_the_id_reads_entirely_before_or_after_it(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters, way: str
) -> None:
    spring = await program(connection, minters, reuse="profile", **OFF)
    await generate(connection, minters, spring.id, 5, None)
    asked = message("SPRING", profile_id=WHO)
    [given] = (await claims.attach([asked])).rows[asked.id]
    async with connections.acquire() as one:
        codes = ProgramCodes(one, minters, spring.id)
        copying: Awaitable[object]
        if way == "a reissue":
            wanted = ReissueWanted(given.code, None, "lost", "same")
            copying = reissue.reissue(codes, wanted, uuid7(), Actor("token", "support"), is_last=True)
        else:
            change = await done(codes, VOID, ChangeFilter(state="attached"))
            copying = undone(codes, change)
        await bystander.execute("BEGIN")
        await bystander.execute("SELECT pg_advisory_xact_lock($1, $2)", *deciding_lock.DECIDING_LOCK)
        going = asyncio.ensure_future(copying)
        await until_waiting(connection)
        await bystander.execute("UPDATE answer SET profile_id = 'forgotten-1'")
        await bystander.execute("UPDATE holding SET profile_id = 'forgotten-1'")
        await bystander.execute("COMMIT")
        await going
    assert await places_of(connection, WHO) == []


async def test_a_code_that_an_undo_restores_while_its_profile_is_forgotten_is_not_given_to_the_next_one_of_the_id(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile", **OFF)
    await generate(connection, minters, spring.id, 5, None)
    first, meanwhile, later = (message("SPRING", profile_id=WHO) for _ in range(3))
    [given] = (await claims.attach([first])).rows[first.id]
    codes = ProgramCodes(connection, minters, spring.id)
    change = await done(codes, VOID, ChangeFilter(state="attached"))
    async with in_the_second_step(connections, connection, bystander):
        await undone(codes, change)
        [again] = (await claims.attach([meanwhile])).rows[meanwhile.id]
    assert again.code == given.code
    assert await places_of(connection, WHO) == []
    assert await audit(connection) == []

    [new] = (await claims.attach([later])).rows[later.id]

    assert new.code != given.code
    assert await audit(connection) == []


async def test_a_change_of_a_profile_s_codes_begins_entirely_before_or_after_it(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    codes, _ = await attached(connection, claims, minters)
    await bystander.execute("BEGIN")
    await bystander.execute(
        "INSERT INTO bulk_change (id, program_id, void, total, actor) VALUES ($1, $2, true, 0, 'a')",
        uuid7(),
        codes.program_id,
    )
    async with connections.acquire() as one, connections.acquire() as forgetter:
        beginning = asyncio.ensure_future(begin(codes._replace(connection=one), VOID, ChangeFilter(profile_id=WHO)))
        await until_waiting(connection)
        forgetting_it = asyncio.ensure_future(forget(forgetter, WHO))
        await until_waiting(connection, 2)
        await bystander.execute("ROLLBACK")
        await beginning
        await forgetting_it
    assert await places_of(connection, WHO) == []


@pytest.mark.parametrize("way", ["an order's event", "a till"])
async def test_uses_are_decided_entirely_before_or_after_it(
    connections: Pool, connection: Connection, bystander: Connection, claims: Claims, minters: Minters, way: str
) -> None:
    codes, code = await attached(connection, claims, minters)
    await till.hold(codes, code, "o-1", profile_id=WHO)
    await bystander.execute("BEGIN")
    await bystander.execute("SELECT pg_advisory_xact_lock($1, $2)", *deciding_lock.DECIDING_LOCK)
    async with connections.acquire() as one:
        using = asyncio.ensure_future(
            orders.settle(one, minters, [OrderEvent("o-1", "paid", None)])
            if way == "an order's event"
            else till.activate(codes._replace(connection=one), code, order_id="o-1")
        )
        await until_waiting(connection)
        await bystander.execute("UPDATE code_use SET profile_id = 'forgotten-1'")
        await bystander.execute("COMMIT")
        await using
    [used] = await connection.fetch("SELECT profile_id, used_at FROM code_use")
    assert used["profile_id"] == "forgotten-1"
    assert used["used_at"] is not None
