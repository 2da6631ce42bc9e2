"""Mutation tests of the checker.

Each guard of a promise is removed from a copy of the product, and the checker has to find the violation. A violation
that it misses here, it would miss in a real run too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from torture import kinds
from torture.copies import copied
from torture.kinds import Kind


class Edit(NamedTuple):
    """A replacement in a source file that removes a guard."""

    path: str
    old: str
    new: str


class Guard(NamedTuple):
    """A guard of a promise: how to remove it, and the faults that expose its loss."""

    name: str
    edits: tuple[Edit, ...]
    sql: tuple[str, ...]
    under: tuple[Kind, ...]


def _group_by_kind(*names: str) -> tuple[Kind, ...]:
    return tuple(kind for kind in kinds.KINDS if kind.name in names)


_NO_BLOCK_LOCK: Final = Edit(
    "codewell/issuing/claim_queries.py", "LIMIT w.blocks FOR NO KEY UPDATE SKIP LOCKED", "LIMIT w.blocks"
)

GUARDS: Final = (
    Guard(
        "one answer for a request (answer_once)",
        (),
        ("ALTER TABLE answer DROP CONSTRAINT answer_once",),
        _group_by_kind("issuer killed"),
    ),
    Guard("a block is locked by one claim", (_NO_BLOCK_LOCK,), (), _group_by_kind("refilled")),
    Guard(
        "a block is locked by one claim, and one profile for a place (answer_code_once)",
        (_NO_BLOCK_LOCK,),
        ("DROP INDEX answer_code_once",),
        _group_by_kind("refilled"),
    ),
    Guard(
        "offsets are committed after the answers",
        (
            Edit(
                "services/issuer/worker.py",
                "        answered_ms = await self._processor.answer(",
                "        await offsets.mark_processed(next_offsets)\n"
                "        answered_ms = await self._processor.answer(",
            ),
        ),
        (),
        _group_by_kind("issuer killed", "issuer killed at a point"),
    ),
    Guard(
        "the slot of the stream moves after its events are published",
        (
            Edit(
                "codewell/lifecycle/stream.py",
                "            reach(Failpoint.STREAM_READ)\n",
                "            await progress.advance(self._connection, self.epoch, end, self._timeline)\n"
                "            await slot.advance(self._connection, self.slot, end)\n"
                "            reach(Failpoint.STREAM_READ)\n",
            ),
        ),
        (),
        _group_by_kind("lifecycle killed"),
    ),
    Guard(
        "a delivery to a webhook is recorded after it is made",
        (
            Edit(
                "services/generator/webhook_sender.py",
                "            outcome = await self._send(delivery, stored, message)\n"
                "            reach(Failpoint.NOTIFIED)\n",
                "            async with self._pool.acquire() as connection:\n"
                "                await leases.record(connection, delivery, Outcome(200, None), 0.1)\n"
                "            reach(Failpoint.NOTIFIED)\n"
                "            outcome = await self._send(delivery, stored, message)\n",
            ),
        ),
        (),
        _group_by_kind("generator killed at a point"),
    ),
    Guard(
        "the producer is idempotent",
        (Edit("codewell/infra/kafka/clients.py", "enable_idempotence=True", "enable_idempotence=False"),),
        (),
        _group_by_kind("connections reset"),
    ),
    Guard(
        "refusals are stored",
        (
            Edit(
                "codewell/issuing/claim_queries.py",
                "    rows, runs = decision.rows, decision.runs\n",
                "    rows, runs = [row for row in decision.rows if row.refusals is None], decision.runs\n",
            ),
        ),
        (),
        _group_by_kind("refilled"),
    ),
    Guard(
        "a campaign takes of its own reservation",
        (
            Edit(
                "codewell/issuing/reserved_queries.py",
                "r.program_id = w.program_id AND r.source = w.source AND r.source_id = w.source_id",
                "r.program_id = w.program_id",
            ),
        ),
        (),
        _group_by_kind("codes reserved"),
    ),
    Guard(
        "a program is filled by one at a time",
        (
            Edit("codewell/pool/fill.py", 'f"{_PROGRAM} FOR NO KEY UPDATE"', "_PROGRAM"),
            Edit("codewell/pool/fill_many.py", "ORDER BY p.id FOR NO KEY UPDATE SKIP LOCKED", "ORDER BY p.id"),
        ),
        (),
        _group_by_kind("generator frozen"),
    ),
    Guard(
        "the fallback that gave a code is stored",
        (Edit("codewell/issuing/claim_queries.py", "answered_at, asked_program_id, link\n",
              "answered_at, NULL::bigint, NULL::smallint\n"),),
        (),
        _group_by_kind("issuer killed", "issuer killed at a point"),
    ),
    Guard(
        "no codes above the maximum (program_maximum)",
        (
            Edit("codewell/pool/block_sizes.py", "max(0, min(room, max(pool_max - pooled, wanted)))",
                 "max(0, pool_max - pooled, wanted)"),
            Edit("codewell/pool/program_rules.py", "return self.room > 0 and (", "return ("),
        ),
        ("ALTER TABLE program DROP CONSTRAINT program_maximum",),
        _group_by_kind("refilled"),
    ),
)  # fmt: skip

# `python -m torture receipts --without NAME` takes these out.
RECEIPT_GUARDS: Final = (
    Guard(
        "a receipt is settled once",
        (Edit("codewell/returns/settle.py", "known = self._known(batch, receipt)", "known = None"),),
        (),
        (),
    ),
    Guard(
        "a used code is kept",
        (
            Edit("codewell/returns/rules.py", '        (code.held, "held"),\n        (code.used, "used"),\n', ""),
            Edit(
                "codewell/returns/moves.py",
                "WHERE s.deleted_at IS NULL AND s.returned_at IS NULL AND NOT {USED_OR_HELD}",
                "WHERE s.deleted_at IS NULL AND s.returned_at IS NULL",
            ),
        ),
        (),
        (),
    ),
)

# `python -m torture orders --without NAME` takes these out of the issuers.
ORDER_GUARDS: Final = (
    Guard(
        "a code is locked by one till",
        (
            Edit("codewell/redemption/queries.py",
                 "return {Place(*row) for row in await connection.fetch(_LOCK, *columns_of(sorted(set(places)), 2))}",
                 "found = set(places); "
                 "await connection.fetch(_LOCK.replace('DO UPDATE SET hole = s.hole', 'DO NOTHING'), "
                 "*columns_of(sorted(found), 2)); return found"),
        ),
        (),
        (),
    ),
    Guard(
        "a code is used as often as it may (per_code)",
        (
            Edit("codewell/redemption/decide.py",
                 "code.activated_at is not None or (rules.per_code is not None and code.uses >= rules.per_code)",
                 "rules.per_code == 0"),
            Edit("codewell/redemption/decide.py",
                 "not is_held and rules.per_code is not None and code.uses + code.holds >= rules.per_code",
                 "rules.per_code == 0"),
            Edit("codewell/redemption/decide.py", 'if state == "activated" and code.activated_at is not None:',
                 "if rules.per_code == 0 and code.activated_at is not None:"),
        ),
        (),
        (),
    ),
)  # fmt: skip

# `python -m torture retention --without NAME` takes these out.
RETENTION_GUARDS: Final = (
    Guard(
        "a request that is too old gets no code",
        (Edit("codewell/issuing/decide.py",
              "frozenset() if oldest is None else _refuse_old(batch, requests, oldest)", "frozenset()"),),
        (),
        (),
    ),
    Guard(
        "answers are in a file before they leave",
        (Edit("codewell/archiving/leaving.py", "await asyncio.to_thread(folder.store, name, lines.end())",
              "asyncio.get_running_loop().call_later(2, folder.store, name, lines.end())"),),
        (),
        (),
    ),
)  # fmt: skip


def without(edits: Sequence[Edit], directory: Path) -> Path:
    """Write a copy of the product with these edits; put it before the product on the import path."""
    copied(directory)
    for edit in edits:
        path = directory / edit.path
        source = path.read_text()
        assert source.count(edit.old) == 1, f"{edit.path} has this not once: {edit.old}"
        path.write_text(source.replace(edit.old, edit.new))
    return directory
