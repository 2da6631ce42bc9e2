"""What there is when an epoch begins, as events: all programs, blocks and codes, in constant memory."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from codewell.infra.postgres.connection import Connection
from codewell.lifecycle.drafts import EventDraft, moment, of_code, of_range, text
from codewell.lifecycle.facts import KnownFacts, facts_of
from schemas import lifecycle
from schemas.events import PROGRAM_CHANGED

_EPOCH_OF_POSTGRES: Final = datetime(2000, 1, 1, tzinfo=UTC)
_PAGE_ROWS: Final = 1_000
# Until the first page, Postgres may read and sort all answers.
_TIMEOUT_S: Final = 3_600

_PROGRAMS: Final = "SELECT id, name FROM program ORDER BY id"
_BLOCKS: Final = """
    SELECT id, program_id, kind, version, first, size, origin, expires_at, fields::text, import_id::text,
           CASE WHEN voided_at IS NOT NULL OR archived_until IS NOT NULL THEN 'deleted' WHEN undone > 0 THEN 'withdrawn'
                ELSE 'pooled' END AS state
    FROM block ORDER BY id
    """
# Named columns: the user of this service may not read all of them.
_CODES: Final = """
    SELECT block_id, position, a.profile_id, a.request_id::text, a.ordinal, s.moved_to, s.moved_position,
           CASE WHEN s.returned_at IS NOT NULL THEN 'moved' WHEN s.deleted_at IS NOT NULL THEN 'deleted'
                ELSE 'attached' END AS state,
           CASE WHEN s.changed THEN s.expires_at ELSE a.expires_at END AS expires_at,
           CASE WHEN s.changed THEN s.fields ELSE a.fields END::text AS fields,
           coalesce(s.uses, 0) AS uses, s.activated_at, s.held_until
    FROM (SELECT block_id, position, profile_id, request_id, ordinal, expires_at, fields
          FROM answer WHERE block_id IS NOT NULL AND NOT again) a
    FULL JOIN code_state s USING (block_id, position)
    WHERE a.block_id IS NOT NULL OR s.returned_at IS NOT NULL OR s.deleted_at IS NOT NULL
    """
_AGAIN: Final = """
    SELECT a.block_id, a.position, a.profile_id, a.request_id::text, a.ordinal, a.expires_at, a.fields::text,
           a.asked_program_id, a.link
    FROM answer a LEFT JOIN code_state s USING (block_id, position)
    WHERE a.again AND s.returned_at IS NULL AND s.deleted_at IS NULL ORDER BY a.answered_at
    """


async def drafts(connection: Connection, facts: KnownFacts) -> AsyncIterator[list[EventDraft]]:
    """Its events, by pages. The caller's transaction is the moment that they are about."""
    async for page in _pages(connection, _PROGRAMS):
        facts.names.update({row["id"]: row["name"] for row in page})
        yield [
            EventDraft(
                PROGRAM_CHANGED, row["id"], str(row["id"]), f'{{"program_id":{row["id"]},"name":"{row["name"]}"}}'
            )
            for row in page
        ]
    async for page in _pages(connection, _BLOCKS):
        yield [_block(row, facts) for row in page]
    async for page in _pages(connection, _CODES):
        await facts.read(connection, {row["block_id"] for row in page})
        yield [_code(row, facts) for row in page]
    async for page in _pages(connection, _AGAIN):
        await facts.read(connection, {row["block_id"] for row in page})
        yield [_again(row, facts) for row in page]


async def _pages(connection: Connection, query: str) -> AsyncIterator[list[Any]]:
    cursor = await connection.cursor(query)
    while page := await cursor.fetch(_PAGE_ROWS, timeout=_TIMEOUT_S):
        yield page


def _block(row: Any, facts: KnownFacts) -> EventDraft:
    block = facts_of(row)
    head = of_range(block.program_id, facts.names[block.program_id], block.run, block.first, row["size"])
    data = (
        f'{head},"origin":"{row["origin"]}","state":"{row["state"]}","import_id":{text(row["import_id"])},'
        f'"expires_at":{_moment(row["expires_at"])},"fields":{row["fields"] or "null"}}}'
    )
    return EventDraft(lifecycle.CODES_SNAPSHOT, block.program_id, f"{block.program_id}:{block.place(0)}", data)


def _code(row: Any, facts: KnownFacts) -> EventDraft:
    block = facts.blocks[row["block_id"]]
    place = block.place(row["position"])
    is_given = row["profile_id"] is not None and row["state"] != "moved"
    head = of_code(block.program_id, facts.names[block.program_id], place)
    new_place = None if row["moved_to"] is None else f"1:{row['moved_to']}:{row['moved_position']}"
    tail = (
        f',"request_id":{text(row["request_id"] if is_given else None)},'
        f'"ordinal":{row["ordinal"] if is_given else "null"},'
        f'"expires_at":{_moment(row["expires_at"])},"fields":{row["fields"] or "null"},"uses":{row["uses"]},'
        f'"activated_at":{_moment(row["activated_at"])},"held_until":{_moment(row["held_until"])},'
        f'"new_place":{text(new_place)}}}'
    )
    head = f'{head},"state":"{row["state"]}","profile":'
    profile_id = row["profile_id"] if is_given else None
    return EventDraft(lifecycle.CODE_SNAPSHOT, block.program_id, f"{block.program_id}:{place}", head, profile_id, tail)


def _again(row: Any, facts: KnownFacts) -> EventDraft:
    block = facts.blocks[row["block_id"]]
    place = block.place(row["position"])
    head = of_code(block.program_id, facts.names[block.program_id], place)
    asked = None if row["asked_program_id"] is None else facts.names[row["asked_program_id"]]
    tail = (
        f',"request_id":"{row["request_id"]}","ordinal":{row["ordinal"]},"again":true,'
        f'"expires_at":{_moment(row["expires_at"])},"fields":{row["fields"] or "null"},'
        f'"asked_program":{text(asked)},"fallback":{"null" if row["link"] is None else row["link"]}}}'
    )
    key = f"{block.program_id}:{place}"
    return EventDraft(lifecycle.CODE_ATTACHED, block.program_id, key, f'{head},"profile":', row["profile_id"], tail)


def _moment(at: datetime | None) -> str:
    return moment(None if at is None else (at - _EPOCH_OF_POSTGRES) // timedelta(microseconds=1))
