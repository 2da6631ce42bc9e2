"""What people did, in a chain of hashes: written in the transaction that does it, read, and verified.

Each entry's hash covers the one before it, so that nothing but the last entries can be changed, taken out or put in
without a trace; whoever keeps a head from before (`ChainHead`) sees what was done to these too.
"""

import getpass
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeVar

from codewell.infra.postgres.connection import Connection

T = TypeVar("T")

_ACTOR_MAX: Final = 300
_AT_ONCE: Final = 5_000
# In this order, behind the place, the id and the moment; migration 0012 says so too.
_HASHED: Final = ("via", "actor", "database_user", "verb", "program", "details")
_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_NOTE: Final = "INSERT INTO audit_entry (via, actor, verb, program, details) VALUES ($1, $2, $3, $4, $5::json)"
_LIST: Final = """
    SELECT c.place, e.at, e.via, e.actor, e.database_user, e.verb, e.program, e.details
    FROM audit_chain c JOIN audit_entry e ON e.id = c.entry_id
    WHERE c.place < $1 AND ($2::text IS NULL OR e.actor = $2) AND ($3::text IS NULL OR e.program = $3)
      AND ($4::text IS NULL OR e.verb = $4 OR e.verb LIKE $4 || '.%') AND ($5::timestamptz IS NULL OR e.at >= $5)
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
    """Who did it, and by which way: with the token of this name, or by a command as this user."""

    via: Literal["token", "command"]
    actor: str


class AuditEntry(NamedTuple):
    """What somebody did. Its place is that of its commit."""

    place: int
    at: datetime
    via: str
    actor: str
    database_user: str
    verb: str
    program: str | None
    details: dict[str, Any]


class ChainHead(NamedTuple):
    """The last entry's place and hash, which stand for all entries up to it; (0, "") is an empty log's."""

    place: int
    hash: str

    def __str__(self) -> str:
        """As it is printed, and given back to be verified."""
        return f"{self.place}:{self.hash}"


class ChainVerdict(NamedTuple):
    """How many entries are as they were written, up to which head, and what is wrong first, if anything is."""

    entries: int
    head: ChainHead
    wrong: str | None


def command_actor() -> Actor:
    """Whoever runs this process on this machine."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        # In a container users may have numbers alone, which say nothing of people.
        user = "unknown"
    name = f"{user}@{socket.gethostname()}"
    return Actor("command", "".join(one for one in name if one.isprintable())[:_ACTOR_MAX])


async def record(
    connection: Connection, actor: Actor, verb: str, program: str | None = None, **details: object
) -> None:
    """Log what is done in the transaction in hand. `details` hold counts and names, never a code or a profile's id.

    To be called as its last statement, or near it: those who log wait for one another from the first commit on.
    """
    await connection.execute(_NOTE, *actor, verb, program, json.dumps(details))


async def recorded(
    connection: Connection, actor: Actor, work: Callable[[], Awaitable[T]], verb: str, program: str | None = None,
    **details: object,
) -> T:  # fmt: skip
    """Do the work and log it, both or neither. The work is one that may be done within a transaction."""
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
) -> list[AuditEntry]:
    """Up to `limit` entries before this place, the newest first. `verb` may be the first half of one, as `program`."""
    rows = await connection.fetch(_LIST, before or 2**63 - 1, actor, program, verb, since, limit)
    return [AuditEntry(**{**row, "details": json.loads(row["details"])}) for row in rows]


async def verify(connection: Connection, anchor: ChainHead | None = None) -> ChainVerdict:
    """Walk the whole chain in one snapshot, up to the first entry that is not as it was written.

    `anchor` is a head from before, kept where nobody who may write here may write: it must be in the chain still.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        head, wrong = ChainHead(0, ""), None
        met = anchor is None or anchor == head
        async for row in _chain(connection):
            wrong = _wrong(row, head)
            if wrong is not None:
                break
            head = ChainHead(row["place"], row["hash"].hex())
            if anchor is not None and head.place == anchor.place:
                met = head == anchor
                if not met:
                    wrong = f"Entry {head.place} has another hash than the given head: it was rewritten."
                    break
        if wrong is None and not met and anchor is not None:
            wrong = f"The log ends at entry {head.place}, but had {anchor.place}: the last entries were removed."
        if wrong is None:
            unchained = await connection.fetchval(_UNCHAINED)
            if unchained is not None:
                wrong = f"The entry with id {unchained} is not in the chain: it was inserted from outside."
    return ChainVerdict(head.place, head, wrong)


async def _chain(connection: Connection) -> AsyncIterator[Any]:
    # Also what somebody has put before the first.
    place = -(2**63)
    while rows := await connection.fetch(_CHAIN, place, _AT_ONCE):
        for row in rows:
            yield row
        place = rows[-1]["place"]


def _wrong(row: Any, before: ChainHead) -> str | None:
    """What is wrong with the entry behind a head."""
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
