"""Mutation tests of the checker.

Each guard of a promise is removed from a copy of the product, and the checker has to find the violation. A violation
that it misses here, it would miss in a real run too.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from torture import kinds
from torture.kinds import Kind

_ROOT: Final = Path(__file__).parents[1]


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
                "    if decision.rows:\n",
                "    stored = [row for row in decision.rows if row.refusals is None]\n"
                "    decision = decision._replace(rows=stored)\n    if decision.rows:\n",
            ),
        ),
        (),
        _group_by_kind("refilled"),
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


def without(edits: Sequence[Edit], directory: Path) -> Path:
    """Write a copy of the product with these edits; put it before the product on the import path."""
    for name in ("codewell", "services", "schemas"):
        shutil.copytree(_ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in edits:
        path = directory / edit.path
        source = path.read_text()
        assert source.count(edit.old) == 1, f"{edit.path} has this not once: {edit.old}"
        path.write_text(source.replace(edit.old, edit.new))
    return directory
