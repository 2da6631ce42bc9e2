"""Audit log of people's actions as a hash chain: writes, reads and verifies it.

An entry is written in the transaction of its action. Each hash covers the previous entry's hash, so verification
detects every change, removal or insertion except at the end of the chain. A head (`ChainHead`) that was saved earlier
covers the end too.
"""

import getpass
import hashlib
import json
import socket
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeVar

from codewell.infra.postgres.connection import Connection

T = TypeVar("T")

_ACTOR_MAX: Final = 300
_AT_ONCE: Final = 5_000
# Of one page of a list with filters.
_SCANNED_MAX: Final = 20_000
# Hashed in this order, after the place, the id and the time. Migration 0012 repeats this order.
_HASHED: Final = ("via", "actor", "database_user", "verb", "program", "details")
_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_NOTE: Final = "INSERT INTO audit_entry (via, actor, verb, program, details) VALUES ($1, $2, $3, $4, $5::json)"
_LIST: Final = """
    SELECT c.place, e.at, e.via, e.actor, e.database_user, e.verb, e.program, e.details
    FROM audit_chain c JOIN audit_entry e ON e.id = c.entry_id
    WHERE c.place < $1 AND c.place >= $7
      AND ($2::text IS NULL OR e.actor = $2) AND ($3::text IS NULL OR e.program = $3)
      AND ($4::text IS NULL OR e.verb = $4 OR starts_with(e.verb, $4 || '.'))
      AND ($5::timestamptz IS NULL OR e.at >= $5)
      AND ($8::text[] = '{}' OR e.program IN (SELECT name FROM program WHERE groups && $8::text[]))
    ORDER BY c.place DESC LIMIT $6
    """
_CHAIN: Final = """
    SELECT c.place, c.entry_id, c.hash, e.id, e.at, e.via, e.actor, e.database_user, e.verb,
           coalesce(e.program, '') AS program, e.details::text AS details
    FROM audit_chain c LEFT JOIN audit_entry e ON e.id = c.entry_id
    WHERE c.place > $1 ORDER BY c.place LIMIT $2
    """
_UNCHAINED: Final = """
    SELECT min(id) FROM audit_entry e WHERE NOT EXISTS (SELECT FROM audit_chain c WHERE c.entry_id = e.id)
    """


class Actor(NamedTuple):
    """Author of an action: a token's name, the person of a session of the web console, or the user of a command."""

    via: Literal["token", "session", "command"]
    actor: str


class AuditEntry(NamedTuple):
    """One entry of the audit log. Places follow the order of commits."""

    place: int
    at: datetime
    via: str
    actor: str
    database_user: str
    verb: str
    program: str | None
    details: dict[str, Any]


class AuditPage(NamedTuple):
    """Entries, newest first, and the place before which the next page starts; None after the oldest entry.

    A page that is not the last may be short or empty.
    """

    entries: list[AuditEntry]
    next: int | None


class ChainHead(NamedTuple):
    """Place and hash (hex) of the last entry, which cover all entries up to it; (0, "") for an empty log."""

    place: int
    hash: str

    def __str__(self) -> str:
        """PLACE:HASH, the form that is printed and accepted for verification."""
        return f"{self.place}:{self.hash}"


class ChainVerdict(NamedTuple):
    """Number of intact entries, the head of the last one, and the first fault found; None if there is none."""

    entries: int
    head: ChainHead
    wrong: str | None


def command_actor() -> Actor:
    """The user of this process as an actor, USER@HOST."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        # In a container a user may have only a number, which does not identify a person.
        user = "unknown"
    name = f"{user}@{socket.gethostname()}"
    return Actor("command", "".join(one for one in name if one.isprintable())[:_ACTOR_MAX])


async def record(
    connection: Connection, actor: Actor, verb: str, program: str | None = None, **details: object
) -> None:
    """Log the action of the current transaction. `details` hold counts and names, never codes or profile ids.

    Call it as the last statement of the transaction, or near it: commits with entries serialize on a lock.
    """
    await connection.execute(_NOTE, *actor, verb, program, json.dumps(details))


async def recorded(
    connection: Connection, actor: Actor, work: Callable[[], Awaitable[T]], verb: str, program: str | None = None,
    **details: object,
) -> T:  # fmt: skip
    """Run `work` and log it in one transaction, and return its result. `work` must be able to run in a transaction."""
    async with connection.transaction():
        result = await work()
        await record(connection, actor, verb, program, **details)
    return result


async def page(
    connection: Connection,
    limit: int,
    before: int | None = None,
    *,
    actor: str | None = None,
    program: str | None = None,
    verb: str | None = None,
    since: datetime | None = None,
    first: int = 0,
    groups: Sequence[str] = (),
) -> list[AuditEntry]:
    """Up to `limit` entries before the place `before` and not before `first`, newest first.

    `verb` matches a whole verb, or all verbs with this first part: `program` matches `program.` and what follows.
    With `groups`, only entries about programs that are in one of these access groups now.
    """
    rows = await connection.fetch(_LIST, before or 2**63 - 1, actor, program, verb, since, limit, first, list(groups))
    return [AuditEntry(**{**row, "details": json.loads(row["details"])}) for row in rows]


async def scan(
    connection: Connection,
    limit: int,
    before: int | None = None,
    *,
    actor: str | None = None,
    program: str | None = None,
    verb: str | None = None,
    since: datetime | None = None,
    groups: Sequence[str] = (),
) -> AuditPage:
    """Do what `page` does, but examine a limited number of entries."""
    if before is None:
        before = int(await connection.fetchval("SELECT coalesce(max(place), 0) + 1 FROM audit_chain"))
    first = max(1, before - _SCANNED_MAX)
    entries = await page(
        connection, limit, before, actor=actor, program=program, verb=verb, since=since, first=first, groups=groups
    )
    after = entries[-1].place if len(entries) == limit else first
    return AuditPage(entries, after if after > 1 else None)


async def verify(connection: Connection, anchor: ChainHead | None = None) -> ChainVerdict:
    """Verify the whole chain in one snapshot, up to the first entry with a fault.

    `anchor` is a head that was saved earlier, in a place that writers of this database can't change. The chain must
    still contain it.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        verdict = ChainVerdict(0, ChainHead(0, ""), None)
        while True:
            step = await verify_step(connection, verdict.head, anchor)
            if step is None:
                return await verify_end(connection, verdict, anchor)
            verdict = step
            if verdict.wrong is not None:
                return verdict


async def verify_step(connection: Connection, head: ChainHead, anchor: ChainHead | None = None) -> ChainVerdict | None:
    """Verify some thousand entries after a verified head; None if there are none left."""
    # From the lowest bigint at first, to include entries inserted before the first.
    rows = await connection.fetch(_CHAIN, head.place or -(2**63), _AT_ONCE)
    if not rows:
        return None
    for row in rows:
        wrong = _wrong(row, head)
        if wrong is not None:
            return ChainVerdict(head.place, head, wrong)
        head = ChainHead(row["place"], row["hash"].hex())
        if anchor is not None and head.place == anchor.place and head != anchor:
            wrong = f"Entry {head.place} has another hash than the given head: it was rewritten."
            return ChainVerdict(head.place, head, wrong)
    return ChainVerdict(head.place, head, None)


async def verify_end(connection: Connection, verdict: ChainVerdict, anchor: ChainHead | None = None) -> ChainVerdict:
    """The verdict on the whole log, when all of the chain is verified: it is neither cut nor has other entries."""
    if anchor is not None and anchor.place > verdict.head.place:
        wrong = f"The log ends at entry {verdict.head.place}, but had {anchor.place}: the last entries were removed."
        return verdict._replace(wrong=wrong)
    unchained = await connection.fetchval(_UNCHAINED)
    if unchained is not None:
        wrong = f"The entry with id {unchained} is not in the chain: it was inserted from outside."
        return verdict._replace(wrong=wrong)
    return verdict


def _wrong(row: Any, before: ChainHead) -> str | None:
    """The fault of the entry after a head; None if it is intact."""
    if row["place"] != before.place + 1:
        return f"Entry {before.place + 1} is missing: the next one is {row['place']}."
    if row["id"] is None:
        return f"Entry {row['place']} (id {row['entry_id']}) is missing, but its hash exists."
    at_us = (row["at"] - _EPOCH) // _MICROSECOND
    parts = (row["place"], row["id"], at_us, *(row[name] for name in _HASHED))
    written = "\n".join(map(str, parts)).encode()
    if hashlib.sha256(bytes.fromhex(before.hash) + written).digest() != row["hash"]:
        return f"Entry {row['place']} (id {row['id']}) or its hash was changed."
    return None
