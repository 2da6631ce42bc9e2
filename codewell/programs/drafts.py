"""Drafts of programs: what a person has typed into the console's form, kept until it becomes a program or a change.

A draft belongs to the person who began it, by what no other person ever has. It is deleted 30 days after its
last change.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection

LIFETIME: Final = timedelta(days=30)
DRAFTS_MAX: Final = 20
"""The most drafts of one person; the ones that were changed least recently are deleted beyond that."""
_CHARACTERS_MAX: Final = 200_000
_EXPIRED_DELETED_MAX: Final = 100

_COLUMNS: Final = "id, program, base, form, made, changed_at"
_FIND: Final = f"SELECT {_COLUMNS} FROM program_draft WHERE id = $1 AND kind = $2 AND name = $3"  # noqa: S608  a constant
_LIST: Final = f"""
    SELECT {_COLUMNS} FROM program_draft WHERE kind = $1 AND name = $2 AND made IS NULL ORDER BY changed_at DESC
    """  # noqa: S608  a constant
# A person's own draft alone is replaced, and none that has become a program.
_SAVE: Final = """
    INSERT INTO program_draft (id, kind, name, program, base, form) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (id) DO UPDATE SET form = $6, base = $5, changed_at = now()
    WHERE program_draft.kind = $2 AND program_draft.name = $3 AND program_draft.made IS NULL
    """
_FINISH: Final = "UPDATE program_draft SET made = $4 WHERE id = $1 AND kind = $2 AND name = $3"
_DISCARD: Final = "DELETE FROM program_draft WHERE id = $1 AND kind = $2 AND name = $3"
_DELETE_EXPIRED: Final = """
    DELETE FROM program_draft WHERE id IN (
        SELECT id FROM program_draft WHERE changed_at < now() - $1::interval ORDER BY changed_at LIMIT $2
        FOR UPDATE SKIP LOCKED)
    """
_DELETE_BEYOND: Final = """
    DELETE FROM program_draft WHERE id IN (
        SELECT id FROM program_draft WHERE kind = $1 AND name = $2 ORDER BY changed_at DESC OFFSET $3)
    """


class DraftOwner(NamedTuple):
    """How a person signed in, and what no other person ever has (`Session.person`), which is no name."""

    kind: str
    person: str


class Draft(NamedTuple):
    """A draft. `program`: the one that is edited, with its settings `base` at the start; `made`: what came of it."""

    id: UUID
    form: Mapping[str, str]
    program: str | None = None
    base: str | None = None
    made: str | None = None
    changed_at: datetime | None = None


async def find(connection: Connection, person: DraftOwner, draft_id: UUID) -> Draft | None:
    """The person's draft of this id, or None."""
    row = await connection.fetchrow(_FIND, draft_id, *person)
    return None if row is None else Draft(**{**row, "form": json.loads(row["form"])})


async def unfinished(connection: Connection, person: DraftOwner) -> list[Draft]:
    """The person's drafts that have become nothing yet, the last changed first."""
    return [Draft(**{**row, "form": json.loads(row["form"])}) for row in await connection.fetch(_LIST, *person)]


async def save(connection: Connection, person: DraftOwner, draft: Draft) -> None:
    """Store a draft, new or changed; another person's and a finished one stay as they are.

    Raises ProgramRefused for one that is too large.
    """
    form = json.dumps(draft.form, ensure_ascii=False)
    if len(form) > _CHARACTERS_MAX:
        raise ProgramRefused("The form is too large to be kept: shorten its texts.", reason="body_too_large")
    async with connection.transaction():
        await connection.execute(_DELETE_EXPIRED, LIFETIME, _EXPIRED_DELETED_MAX)
        await connection.execute(_SAVE, draft.id, *person, draft.program, draft.base, form)
        await connection.execute(_DELETE_BEYOND, *person, DRAFTS_MAX)


async def finish(connection: Connection, person: DraftOwner, draft_id: UUID, made: str) -> None:
    """Note what became of a draft."""
    await connection.execute(_FINISH, draft_id, *person, made)


async def discard(connection: Connection, person: DraftOwner, draft_id: UUID) -> None:
    """Delete a draft, if it is the person's."""
    await connection.execute(_DISCARD, draft_id, *person)
