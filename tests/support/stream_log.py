"""The stream of codes of one database without Kafka: from the log to events, folded, and compared with the tables."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Self

from codewell.infra.postgres.connection import Connection
from codewell.lifecycle import slot, stream_audit
from codewell.lifecycle.drafts import EventDraft
from codewell.lifecycle.facts import KnownFacts
from codewell.lifecycle.fold import Fold
from codewell.lifecycle.fold_store import FoldStore
from codewell.lifecycle.given_rows import GivenDrafts
from codewell.lifecycle.pgoutput import LogDecoder, Transaction
from codewell.lifecycle.spans import PlaceState
from codewell.lifecycle.translation import Translation, blocks_of, programs_of
from schemas import lifecycle

_ALL: Final = 10_000_000


class StreamLog:
    """What the log has from a moment on at which the tables were empty."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._left_out: set[int] = set()

    @classmethod
    async def begin(cls, connection: Connection) -> Self:
        """Begin here. The database has one at a time."""
        name = await slot.slot_name(connection)
        if await slot.status(connection, name) is None:
            await slot.create(connection, name)
        else:
            await slot.mark(connection)
            await slot.advance(connection, name, await slot.position(connection))
        return cls(name)

    async def leave_out(self, connection: Connection) -> None:
        """Take no notice of this transaction, which does what the product never does."""
        # The log has the last four bytes of its id.
        self._left_out.add(await connection.fetchval("SELECT pg_current_xact_id()::text::bigint & 4294967295"))

    async def drafts(self, connection: Connection) -> AsyncIterator[tuple[Transaction, int, EventDraft]]:
        """All events since: each with its transaction, and its number in it."""
        decoder, facts = LogDecoder(), KnownFacts()
        given = GivenDrafts(facts)
        transactions: list[Transaction] = []
        async with connection.transaction():
            async for page in slot.peek(connection, self._name, _ALL):
                transactions += filter(None, map(decoder.decode, page))
        for one in transactions:
            if one.xid in self._left_out:
                continue
            await facts.read(connection, blocks_of(one), programs_of(one))
            for number, draft in enumerate(Translation(one, facts, given).drafts()):
                yield one, number, draft

    async def differences(self, connection: Connection, directory: Path, *, with_times: bool = True) -> list[str]:
        """How the folded stream differs from the tables, and which events cannot follow from those before."""
        with FoldStore(directory) as store:
            fold = Fold(store)
            async for transaction, number, draft in self.drafts(connection):
                value = draft.head if draft.tail is None else f"{draft.head}null{draft.tail}"
                partition = 0 if draft.program_id is None else draft.program_id % lifecycle.PARTITIONS
                fold.take(f"{transaction.lsn:X}-{number}", draft.type, json.loads(value), partition)
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                compared = await stream_audit.compare(connection, store)
        differences = [
            one for one in compared.differences if with_times or _timeless(one.stream) != _timeless(one.tables)
        ]
        return [*map(str, fold.breaches), *map(str, differences)]


def _timeless(state: PlaceState | None) -> PlaceState | None:
    return None if state is None else state._replace(expires_at=None, held_until=None)
