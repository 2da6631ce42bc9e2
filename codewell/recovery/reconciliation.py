"""Finds answers that Kafka has and the database lacks, by comparing the two.

Answers that the database has as published are dropped at once: its constraints already hold for them. The others are
stored in temporary tables, so that memory does not grow with their number, and are assessed once all are read.
"""

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from codewell.infra.id_times import is_before
from codewell.infra.postgres.columns import columns_of
from codewell.infra.postgres.connection import Connection
from codewell.issuing import claim_queries
from codewell.issuing.model import AnswerRow

BATCH_ANSWERS: Final = 500
_TIMEOUT_S: Final = 3_600
# Prefix of the random id that replaces a forgotten profile's.
_FORGOTTEN: Final = "forgotten-"

_TABLES: Final = """
    CREATE TEMP TABLE strange (
        n          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        request_id uuid NOT NULL,
        profile_id text NOT NULL,
        place      text NOT NULL,
        written_at timestamptz NOT NULL,
        decided_at timestamptz,
        preview    boolean NOT NULL,
        refusals   text,
        codes      text NOT NULL
    );
    -- Copies of one answer are one.
    CREATE UNIQUE INDEX strange_once
        ON strange (request_id, md5(profile_id || chr(31) || coalesce(refusals, '') || codes));
    CREATE INDEX strange_order ON strange (written_at, n);
    CREATE TEMP TABLE strange_code (
        n          bigint NOT NULL,
        written_at timestamptz NOT NULL,
        program    text NOT NULL,
        code       text NOT NULL,
        profile_id text NOT NULL
    );
    CREATE TEMP TABLE strange_forgotten (
        profile_id text NOT NULL,
        random_id  text NOT NULL,
        PRIMARY KEY (profile_id, random_id)
    );
    """
_OLDEST: Final = "SELECT oldest FROM retention"
_STORE: Final = """
    INSERT INTO strange (request_id, profile_id, place, written_at, decided_at, preview, refusals, codes)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::boolean[],
                         $7::text[], $8::text[])
    ON CONFLICT DO NOTHING
    """
_STORE_FORGOTTEN: Final = """
    INSERT INTO strange_forgotten SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING
    """
_STORE_CODES: Final = """
    INSERT INTO strange_code
    SELECT n, written_at, c->>0, c->>1, profile_id FROM strange CROSS JOIN jsonb_array_elements(codes::jsonb) AS c
    WHERE NOT preview
    """
_INDEX_CODES: Final = """
    CREATE INDEX strange_code_order ON strange_code (md5(program || chr(31) || code), written_at, n);
    ANALYZE strange; ANALYZE strange_code;
    """
_NEXT: Final = """
    SELECT s.*, (
        SELECT o.place FROM strange o WHERE o.request_id = s.request_id AND (o.written_at, o.n) < (s.written_at, s.n)
        ORDER BY o.written_at, o.n LIMIT 1) AS other,
        ARRAY(SELECT f.random_id FROM strange_forgotten f WHERE f.profile_id = s.profile_id) AS random_ids
    FROM strange s WHERE (s.written_at, s.n) > ($1, $2) ORDER BY s.written_at, s.n LIMIT $3
    """
_FIRST_HOLDERS: Final = """
    SELECT c.n, c.program, c.code, f.profile_id FROM strange_code c CROSS JOIN LATERAL (
        SELECT o.profile_id FROM strange_code o
        WHERE md5(o.program || chr(31) || o.code) = md5(c.program || chr(31) || c.code)
          AND (o.program, o.code) = (c.program, c.code)
        ORDER BY o.written_at, o.n LIMIT 1) f
    WHERE c.n = ANY($1::bigint[])
    """


class PublishedCode(NamedTuple):
    """One code of an answer. `fields` is JSON text, or None for no fields."""

    program: str
    """The program that the code belongs to."""
    text: str
    expires_at: datetime | None
    fields: str | None
    asked: str | None = None
    """The program that was asked, where `program` is its fallback number `link`."""
    link: int | None = None


class PublishedAnswer(NamedTuple):
    """An answer as published in Kafka."""

    request_id: UUID
    profile_id: str
    place: str
    """Topic, partition and offset."""
    written_at: datetime
    """By the clock of the issuer that answered."""
    decided_at: datetime | None
    """By the database's clock, from the event's time; answers of older issuers have none."""
    preview: bool
    refusals: str | None
    """JSON text; None if codes were given."""
    codes: tuple[PublishedCode, ...]
    """In the order of the request; empty for a refusal."""


class MissingAnswer(NamedTuple):
    """An answer that the database does not have as published."""

    answer: PublishedAnswer
    other_place: str | None
    """Place of an earlier, different answer to the same request."""
    first_holders: Mapping[tuple[str, str], str]
    """For each of its codes, by program and text: the profile of the first missing answer that gives the code."""
    random_ids: Collection[str] = ()
    """Ids that replaced its profile's in other answers, as the profile was forgotten."""


class AnswerComparison:
    """Collects answers that the database does not have, and returns them in the order of their times."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._names: dict[int, str] = {}
        self._oldest: UUID | None = None

    async def open(self) -> None:
        """Create the temporary tables, which the connection's end drops."""
        await self._connection.execute(_TABLES)
        self._oldest = await self._connection.fetchval(_OLDEST)

    async def compare(self, answers: Sequence[PublishedAnswer]) -> None:
        """Store those of these answers that the database does not have as published.

        Those of requests that are too old are no cases: they may have left the database.
        """
        oldest = self._oldest
        if oldest is not None:
            answers = [one for one in answers if not is_before(one.request_id, oldest)]
        stored = await stored_by_request(self._connection, [answer.request_id for answer in answers])
        named = [id_ for rows in stored.values() for row in rows for id_ in (row.program_id, row.asked_program_id)]
        await self._learn({id_ for id_ in named if id_ is not None})
        missing: list[PublishedAnswer] = []
        forgotten: dict[tuple[str, str], None] = {}
        for one in answers:
            rows = stored.get(one.request_id, [])
            if not is_same(one, rows, self._names):
                missing.append(one)
            elif rows[0].profile_id != one.profile_id:
                forgotten[one.profile_id, rows[0].profile_id] = None
        if forgotten:
            await self._connection.execute(_STORE_FORGOTTEN, *columns_of(list(forgotten), 2))
        if missing:
            strange = [
                (
                    one.request_id,
                    one.profile_id,
                    one.place,
                    one.written_at,
                    one.decided_at,
                    one.preview,
                    one.refusals,
                    _codes_json(one),
                )
                for one in missing
            ]
            await self._connection.execute(_STORE, *columns_of(strange, 8))

    async def in_order(self) -> AsyncIterator[list[MissingAnswer]]:
        """Yield the stored answers, some hundreds at a time, once all answers are compared."""
        for statement in (_STORE_CODES, _INDEX_CODES):
            await self._connection.execute(statement, timeout=_TIMEOUT_S)
        last: tuple[datetime | None, int] = (None, 0)
        while True:
            since = last[0] or await self._connection.fetchval("SELECT '-infinity'::timestamptz")
            rows = await self._connection.fetch(_NEXT, since, last[1], BATCH_ANSWERS)
            if not rows:
                return
            holders: dict[int, dict[tuple[str, str], str]] = {}
            for n, program, code, profile_id in await self._connection.fetch(
                _FIRST_HOLDERS, [row["n"] for row in rows]
            ):
                holders.setdefault(n, {})[program, code] = profile_id
            yield [
                MissingAnswer(_answer(row), row["other"], holders.get(row["n"], {}), row["random_ids"]) for row in rows
            ]
            last = rows[-1]["written_at"], rows[-1]["n"]

    async def _learn(self, program_ids: set[int]) -> None:
        unnamed = list(program_ids - self._names.keys())
        if unnamed:
            rows = await self._connection.fetch("SELECT id, name FROM program WHERE id = ANY($1::bigint[])", unnamed)
            self._names.update((row["id"], row["name"]) for row in rows)


async def stored_by_request(connection: Connection, request_ids: Sequence[UUID]) -> dict[UUID, list[AnswerRow]]:
    """The rows of the requests that have an answer in the database, by ordinal."""
    stored: dict[UUID, list[AnswerRow]] = {}
    for row in await claim_queries.stored_answers(connection, request_ids):
        stored.setdefault(row.request_id, []).append(row)
    return stored


def is_same(answer: PublishedAnswer, rows: Sequence[AnswerRow], names: Mapping[int, str]) -> bool:
    """Whether the database has this answer. A profile that was forgotten since then has another id there."""
    if not rows or (rows[0].profile_id != answer.profile_id and not rows[0].profile_id.startswith(_FORGOTTEN)):
        return False
    if answer.refusals is not None or rows[0].refusals is not None:
        return (
            answer.refusals is not None
            and rows[0].refusals is not None
            and bool(json.loads(answer.refusals) == json.loads(rows[0].refusals))
        )
    given = [(names.get(row.program_id or 0), row.code, names.get(row.asked_program_id or 0), row.link) for row in rows]
    published = [(code.program, code.text, code.asked, code.link) for code in answer.codes]
    return rows[0].preview == answer.preview and given == published


def _answer(row: Mapping[str, Any]) -> PublishedAnswer:
    codes = tuple(
        PublishedCode(program, code, expires_at and datetime.fromisoformat(expires_at), *others)
        for program, code, expires_at, *others in json.loads(row["codes"])
    )
    kept = {name: row[name] for name in PublishedAnswer._fields if name != "codes"}
    return PublishedAnswer(**kept, codes=codes)


def _codes_json(answer: PublishedAnswer) -> str:
    return json.dumps(
        [
            [one.program, one.text, one.expires_at and one.expires_at.isoformat(), one.fields, one.asked, one.link]
            for one in answer.codes
        ]
    )
