"""Stores the codes that remote services deliver: all codes of an answer, exactly once, or none."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from codewell.errors import RemoteFailed
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.constraints import violates
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.pool import copy_codes, folded_texts
from codewell.pool.block_sizes import BLOCK_SIZE_MIN, block_sizes
from codewell.pool.expiry import expiry_in_pool
from codewell.pool.fill import count_workers, level, locked
from codewell.pool.orders import OPEN_MAX
from codewell.pool.program_rules import ProgramRules, Source, closed_reason
from codewell.remote.order_leases import BACKOFF_MAX_S, CIRCUIT_OPEN_S, Order, record_service_failure
from codewell.reservations.pending import fill_pending
from schemas.remote import RemoteCode

# For all answers in one query. `open` is the program's number of open requests, these included.
_REQUESTS: Final = """
    SELECT r.id, r.state, r.origin, r.count, r.fields, p.fields AS known, p.match = 'fold' AS folds,
           statement_timestamp() AS now,
           (SELECT count(*) FROM remote_request WHERE program_id = $1 AND state = 'open') AS open
    FROM remote_request r JOIN program p ON p.id = r.program_id
    WHERE r.program_id = $1 AND r.id = ANY($2::uuid[]) ORDER BY r.id FOR UPDATE OF r
    """

_RELEASE: Final = """
    UPDATE remote_request SET leased_until = NULL,
        next_attempt_at = statement_timestamp() + make_interval(secs => $2) WHERE id = ANY($1::uuid[])
    """

_EXISTING_TEXTS: Final = "SELECT text FROM code WHERE program_id = $1 AND text = ANY($2::text[])"

# Returns the ids of the blocks, in order. Updates the service's row only if that changes it: leasing skips programs
# whose row is locked.
_WRITE: Final = f"""
    WITH done AS (
        UPDATE remote_request q SET state = 'done', received = d.received, leased_until = NULL,
            finished_at = statement_timestamp()
        FROM unnest($2::uuid[], $3::bigint[]) AS d (id, received) WHERE q.id = d.id
    ), made AS (
        UPDATE program SET made = made + $4, on_order = on_order - $5,
            {folded_texts.COUNT_FOLDED.format(number="$4")}
        WHERE id = $1
    ), well AS (
        UPDATE remote_service SET failures = 0, rest_until = NULL
        WHERE program_id = $1 AND $4 > 0 AND (failures > 0 OR rest_until IS NOT NULL)
    ), new AS MATERIALIZED (
        SELECT nextval(pg_get_serial_sequence('block', 'id')) AS id, b.*
        FROM unnest($6::bigint[], $7::timestamptz[], $8::jsonb[], $9::text[], $10::uuid[])
            WITH ORDINALITY AS b (size, expires_at, fields, origin, request_id, number)
    ), blocks AS (
        INSERT INTO block (id, program_id, kind, size, expires_at, fields, origin, remote_request_id, created_at)
        OVERRIDING SYSTEM VALUE SELECT id, $1, 'list', size, expires_at, fields, origin, request_id, $11 FROM new
    )
    SELECT id FROM new ORDER BY number
    """  # noqa: S608  a constant

# Expiry, and fields as JSON text: codes with the same values share blocks.
_Kind = tuple[datetime | None, str | None]


class ServiceAnswer(NamedTuple):
    """The codes of a service's answer to one request."""

    order: Order
    codes: Sequence[RemoteCode]


class StoreResult(NamedTuple):
    """The outcome of each answer, in order, and whether the pool may need more codes than are on order now.

    An outcome is one of:
    - the number of codes added to the pool;
    - None if the answer was stored before, or may not be stored now: then the request is retried later;
    - RemoteFailed if one of the codes is invalid: then nothing of the answer is stored.
    """

    outcomes: list[int | RemoteFailed | None]
    needs_orders: bool


class _AcceptedAnswer(NamedTuple):
    """An answer that can be stored."""

    order: Order
    origin: str
    asked: int
    kinds: Mapping[_Kind, Sequence[str]]
    code_count: int


async def store(connection: Connection, program_id: int, answers: Sequence[ServiceAnswer]) -> StoreResult:
    """Add the codes of a program's answers to its pool in one transaction: all of an answer's, exactly once, or none.

    An invalid answer does not affect the others. Raises what asyncpg raises; then nothing is stored.
    """
    try:
        return await _store(connection, program_id, answers, look_first=False)
    except asyncpg.UniqueViolationError as error:
        if not violates(error, "code_once"):
            raise
        # Rare: existing texts are looked up only after the unique constraint has failed.
        return await _store(connection, program_id, answers, look_first=True)


async def _store(
    connection: Connection, program_id: int, answers: Sequence[ServiceAnswer], *, look_first: bool
) -> StoreResult:
    async with connection.transaction():
        program = await locked(connection, program_id)
        rows = await connection.fetch(_REQUESTS, program_id, [order.id for order, _ in answers])
        if program is None or not rows:
            return StoreResult([None] * len(answers), needs_orders=False)
        now = rows[0]["now"]
        had: set[str] = set()
        if look_first:
            texts = [one.code for _, codes in answers for one in codes]
            had = {row["text"] for row in await connection.fetch(_EXISTING_TEXTS, program_id, texts)}
        clashes = await _clashes(connection, program_id, answers) if rows[0]["folds"] else {}
        requests = {row["id"]: row for row in rows if row["state"] == "open"}
        taken: list[_AcceptedAnswer] = []
        outcomes: list[int | RemoteFailed | None] = []
        released: list[UUID] = []
        for answer in answers:
            # A request leased twice, since the first lease ended, is stored once.
            request = requests.pop(answer.order.id, None)
            if request is None:
                outcomes.append(None)
            elif not _may_store(program, request["origin"], now):
                released.append(answer.order.id)
                outcomes.append(None)
            else:
                outcome = _assess(program, now, request, answer, had if look_first else None, clashes)
                outcomes.append(outcome if isinstance(outcome, RemoteFailed) else outcome.code_count)
                taken += [] if isinstance(outcome, RemoteFailed) else [outcome]
        if released:
            await connection.execute(_RELEASE, released, BACKOFF_MAX_S)
        if taken:
            await _write(connection, program_id, now, taken, folds=rows[0]["folds"])
            if program.has_reservations:
                await fill_pending(connection, program, now, sum(one.code_count for one in taken))
            reach(Failpoint.STORED)
    return StoreResult(outcomes, _needs_orders(rows[0]["open"], taken))


def _may_store(program: ProgramRules, origin: str, now: datetime) -> bool:
    """Whether the program may create codes now, given the origin of the order."""
    may = origin == "generate" or any(program.can_create(source) for source in Source)
    return may and closed_reason(program, now) is None


def _needs_orders(open_before: int, taken: Sequence[_AcceptedAnswer]) -> bool:
    """Whether more orders may be needed, for codes that did not arrive or exceeded the limit of open requests.

    For the latter, only answers that leave few requests open return True; any generator may store these.
    """
    left = open_before - len(taken)
    few = OPEN_MAX // 2
    return bool(taken) and (any(one.code_count < one.asked for one in taken) or left == 0 or left <= few < open_before)


def _assess(
    program: ProgramRules,
    now: datetime,
    request: Mapping[str, Any],
    answer: ServiceAnswer,
    had: set[str] | None,
    clashes: Mapping[str, str],
) -> _AcceptedAnswer | RemoteFailed:
    """Return an answer ready to be stored, and add its texts to `had`; or return its error."""
    order, codes = answer
    try:
        _check_alike(codes, clashes)
        if had is not None:
            _check_new(program, codes, had)
        kinds = _group_by_kind(program, now, json.loads(request["known"]), json.loads(request["fields"]), codes)
    except RemoteFailed as error:
        return error
    if had is not None:
        had.update(one.code for one in codes)
    origin = "generate" if request["origin"] == "generate" else "remote"
    return _AcceptedAnswer(order, origin, request["count"], kinds, len(codes))


def _check_new(program: ProgramRules, codes: Sequence[RemoteCode], had: set[str]) -> None:
    for place, one in enumerate(codes):
        if one.code in had:
            raise RemoteFailed(f"codes.{place}.code: {program.name} has this code already.", answered=True)


async def _clashes(connection: Connection, program_id: int, answers: Sequence[ServiceAnswer]) -> dict[str, str]:
    return await folded_texts.clashes(connection, program_id, [one.code for _, codes in answers for one in codes])


def _check_alike(codes: Sequence[RemoteCode], clashes: Mapping[str, str]) -> None:
    for place, one in enumerate(codes if clashes else ()):
        if one.code in clashes:
            raise RemoteFailed(f"codes.{place}.code: folds onto {clashes[one.code]}.", answered=True)


def _group_by_kind(
    program: ProgramRules,
    now: datetime,
    known: Sequence[Mapping[str, Any]],
    given: Mapping[str, str],
    codes: Sequence[RemoteCode],
) -> dict[_Kind, list[str]]:
    """Group the codes' texts by expiry and fields. Raises RemoteFailed."""
    saved = {field["name"]: field["save"] for field in known}
    plain = (expiry_in_pool(program, now), _saved(saved, given))
    kinds: dict[_Kind, list[str]] = {}
    for place, one in enumerate(codes):
        if one.expires_at is None and not one.fields:
            kinds.setdefault(plain, []).append(one.code)
            continue
        if one.expires_at is not None and one.expires_at <= now:
            raise RemoteFailed(f"codes.{place}.expires_at: must be in the future.", answered=True)
        if not program.lives_long_enough(one.expires_at, now):
            raise RemoteFailed(
                f"codes.{place}.expires_at: must leave the life that the program's min_life_at_attach asks for.",
                answered=True,
            )
        fields = one.fields or {}
        for name in fields:
            if name not in saved:
                raise RemoteFailed(f"codes.{place}.fields.{name}: {program.name} has no such field.", answered=True)
        expires_at = expiry_in_pool(program, now, one.expires_at)
        kinds.setdefault((expires_at, _saved(saved, {**given, **fields})), []).append(one.code)
    return kinds


def _saved(saved: Mapping[str, bool], fields: Mapping[str, str]) -> str | None:
    # The program may have dropped a field since the codes were ordered.
    kept = {name: value for name, value in fields.items() if saved.get(name)}
    return json.dumps(kept, sort_keys=True) if kept else None


def _cut(texts: Sequence[str], blocks: int, workers: int) -> list[list[str]]:
    """Split texts into blocks of the size that the pool's workers need."""
    rest = iter(texts)
    return [list(islice(rest, size)) for size in block_sizes(len(texts), blocks, workers)]


async def _write(
    connection: Connection, program_id: int, now: datetime, taken: Sequence[_AcceptedAnswer], *, folds: bool
) -> None:
    blocks = workers = 0
    # So few codes make one block, whatever the pool's level.
    if any(len(texts) > BLOCK_SIZE_MIN for one in taken for texts in one.kinds.values()):
        _, _, blocks = await level(connection, program_id)
        workers = await count_workers(connection)
    cut = [
        (one, kind, texts) for one in taken for kind, all_ in one.kinds.items() for texts in _cut(all_, blocks, workers)
    ]
    rows = await connection.fetch(
        _WRITE, program_id, [one.order.id for one in taken], [one.code_count for one in taken],
        sum(one.code_count for one in taken), sum(one.asked for one in taken),
        [len(texts) for *_, texts in cut], [kind[0] for _, kind, _ in cut], [kind[1] for _, kind, _ in cut],
        [one.origin for one, *_ in cut], [one.order.id for one, *_ in cut], now,
    )  # fmt: skip
    runs = [(row["id"], 0, texts) for row, (*_, texts) in zip(rows, cut, strict=True)]
    source = memoryview(copy_codes.encode(program_id, runs))
    await connection.copy_to_table("code", source=source, columns=copy_codes.COLUMNS, format="binary")
    if folds:
        await folded_texts.add(connection, program_id, [text for _, _, texts in runs for text in texts])
    for _ in [one for one in taken if not one.code_count]:
        # A valid answer without codes: an immediate retry would bring the same.
        nothing = RemoteFailed("The service delivered no codes.", wait_s=CIRCUIT_OPEN_S)
        await record_service_failure(connection, program_id, nothing)
