"""Codes that a remote service has brought become codes of the program: all of an answer, once, or none."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

from schemas.remote import RemoteCode
from services.attaching.decide import sooner, standing
from services.attaching.model import Program, Source
from services.errors import RemoteFailed
from services.filling.plan import block_sizes
from services.postgres.connection import Connection
from services.store.deliveries import BACKOFF_MAX_S, REST_S, Order, note_failure
from services.store.filling import count_workers, level, locked

_REQUEST: Final = """
    SELECT r.state, r.origin, r.count, r.fields, p.fields AS known
    FROM remote_request r JOIN program p ON p.id = r.program_id WHERE r.id = $1 FOR UPDATE OF r
    """

_PUT_BACK: Final = """
    UPDATE remote_request SET leased_until = NULL,
        next_attempt_at = statement_timestamp() + make_interval(secs => $2) WHERE id = $1
    """

_HAD: Final = """
    SELECT t.n - 1 FROM unnest($2::text[]) WITH ORDINALITY AS t (text, n)
    JOIN code c ON c.program_id = $1 AND c.text = t.text ORDER BY t.n LIMIT 1
    """

_BLOCK_IDS: Final = "SELECT nextval(pg_get_serial_sequence('block', 'id')) FROM generate_series(1, $1::bigint)"

_ADD_BLOCKS: Final = """
    INSERT INTO block (id, program_id, kind, size, expires_at, fields, origin, remote_request_id, created_at)
    OVERRIDING SYSTEM VALUE
    SELECT b.id, $1, 'list', b.size, b.expires_at, b.fields, $2, $3, $4
    FROM unnest($5::bigint[], $6::bigint[], $7::timestamptz[], $8::jsonb[]) AS b (id, size, expires_at, fields)
    """

_MADE: Final = "UPDATE program SET made = made + $2, on_order = on_order - $3 WHERE id = $1"

_DONE: Final = """
    UPDATE remote_request SET state = 'done', received = $2, leased_until = NULL, finished_at = statement_timestamp()
    WHERE id = $1
    """

_WELL: Final = "UPDATE remote_service SET failures = 0, rest_until = NULL WHERE program_id = $1"

# When codes end and which fields they have, as JSON text: codes that have both in common share blocks.
_Kind = tuple[datetime | None, str | None]


async def store(connection: Connection, order: Order, codes: Sequence[RemoteCode]) -> int | None:
    """Put an answer's codes into the pool, all of them and once, and give their number.

    None where that was done before or may not be now: then the request is tried again when it may. Raises RemoteFailed
    when one of the codes can't be used; then nothing is stored.
    """
    async with connection.transaction():
        program = await locked(connection, order.program_id)
        request = await connection.fetchrow(_REQUEST, order.id)
        if program is None or request["state"] != "open":
            return None
        now, _, blocks = await level(connection, program.id)
        by_hand = request["origin"] == "generate"
        may = by_hand or any(program.can_create(source) for source in Source)
        if not may or standing(program, now) is not None:
            await connection.execute(_PUT_BACK, order.id, BACKOFF_MAX_S)
            return None
        await _check_new(connection, program, [one.code for one in codes])
        kinds = _kinds(program, now, json.loads(request["known"]), json.loads(request["fields"]), codes)
        workers = await count_workers(connection)
        cut = [(kind, texts) for kind, all_ in kinds.items() for texts in _cut(all_, blocks, workers)]
        await _add(connection, order, "generate" if by_hand else "remote", now, cut)
        await connection.execute(_MADE, program.id, len(codes), request["count"])
        await connection.execute(_DONE, order.id, len(codes))
        if codes:
            await connection.execute(_WELL, program.id)
        else:
            # All is well and yet nothing came: to ask again at once would bring as much.
            nothing = RemoteFailed("The service answered with no codes at all.", wait_s=REST_S)
            await note_failure(connection, program.id, nothing)
    return len(codes)


async def _check_new(connection: Connection, program: Program, texts: Sequence[str]) -> None:
    place = await connection.fetchval(_HAD, program.id, texts)
    if place is not None:
        raise RemoteFailed(f"codes.{place}.code: {program.name} has this code already.", answered=True)


def _kinds(
    program: Program,
    now: datetime,
    known: Sequence[Mapping[str, Any]],
    given: Mapping[str, str],
    codes: Sequence[RemoteCode],
) -> dict[_Kind, list[str]]:
    """The codes' texts by when they end and which fields they have. Raises RemoteFailed."""
    saved = {field["name"]: field["save"] for field in known}
    ends = now + program.ttl if program.ttl is not None and program.ttl_from == "creation" else None
    kinds: dict[_Kind, list[str]] = {}
    for place, one in enumerate(codes):
        if one.expires_at is not None and one.expires_at <= now:
            raise RemoteFailed(f"codes.{place}.expires_at: must be in the future.", answered=True)
        for name in one.fields:
            if name not in saved:
                raise RemoteFailed(f"codes.{place}.fields.{name}: {program.name} has no such field.", answered=True)
        # The program may have lost a field since the codes were ordered.
        fields = {name: value for name, value in {**given, **one.fields}.items() if saved.get(name)}
        expires_at = one.expires_at if ends is None else sooner(ends, one.expires_at)
        kind = (expires_at, json.dumps(fields, sort_keys=True) if fields else None)
        kinds.setdefault(kind, []).append(one.code)
    return kinds


def _cut(texts: Sequence[str], blocks: int, workers: int) -> list[list[str]]:
    """Texts in blocks of the size that the pool's workers need."""
    rest = iter(texts)
    return [list(islice(rest, size)) for size in block_sizes(len(texts), blocks, workers)]


async def _add(
    connection: Connection, order: Order, origin: str, now: datetime, blocks: Sequence[tuple[_Kind, list[str]]]
) -> None:
    ids = [row[0] for row in await connection.fetch(_BLOCK_IDS, len(blocks))]
    sizes = [len(texts) for _, texts in blocks]
    ends = [kind[0] for kind, _ in blocks]
    fields = [kind[1] for kind, _ in blocks]
    await connection.execute(_ADD_BLOCKS, order.program_id, origin, order.id, now, ids, sizes, ends, fields)
    rows = [
        (block_id, position, order.program_id, text)
        for block_id, (_, texts) in zip(ids, blocks, strict=True)
        for position, text in enumerate(texts)
    ]
    await connection.copy_records_to_table("code", records=rows, columns=("block_id", "position", "program_id", "text"))
