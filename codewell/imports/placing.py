"""Places the codes of a chunk in blocks: in those of the import that grow, and in new ones."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple
from uuid import UUID

from codewell.codes.locks import lock_blocks
from codewell.imports.candidates import NO_ATTRIBUTES, BlockAttributes, Candidate, UsualCandidates, texts_of
from codewell.infra.postgres.connection import Connection
from codewell.pool import copy_codes
from codewell.pool.expiry import expiry_in_pool
from codewell.pool.program_rules import ProgramRules

BLOCK_CODES_MAX: Final = 100_000
_KIND_AND_PROFILE: Final = attrgetter("kind", "profile_id")

_COLUMNS: Final = "program_id, kind, size, next, attached, open, expires_at, fields, origin, import_id, created_at"
_VALUES: Final = """
    $1, 'list', b.size, b.given, b.given, b.given = 0, b.expires_at, b.fields, 'import', $2, $3
    FROM unnest($4::bigint[], $5::bigint[], $6::bigint[], $7::timestamptz[], $8::jsonb[])
        WITH ORDINALITY AS b (id, size, given, expires_at, fields, n) ORDER BY b.n
    RETURNING id
    """
_NEW_BLOCKS: Final = f"INSERT INTO block ({_COLUMNS}) SELECT {_VALUES}"
# The id was drawn before.
_DRAWN_BLOCKS: Final = f"INSERT INTO block (id, {_COLUMNS}) OVERRIDING SYSTEM VALUE SELECT b.id, {_VALUES}"

# A block that claims have emptied meanwhile is closed, and stays closed; a reservation may have taken codes out of it.
# The codes that come after a change of many codes have no part in it: not in the block's new expiry, nor in its undo.
_GROW: Final = """
    UPDATE block SET size = g.size + g.more FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS g (id, size, more)
    WHERE block.id = g.id AND block.size = g.size AND open AND NOT EXISTS (
        SELECT FROM bulk_change_item i WHERE i.block_id = block.id AND i.position IS NULL)
    """


class BlockChanged(Exception):
    """A block that was about to grow is no longer as the import left it."""


class BlockPlace(NamedTuple):
    """A block, and the position in it for the next code: its size, where it grows; 0: it is still to be made."""

    id: int
    position: int


class BlockRun(NamedTuple):
    """Codes that go into one block, in order, and where; None: into a new block, whose id is not known yet."""

    kind: BlockAttributes
    attached: bool
    candidates: Sequence[Candidate]
    at: BlockPlace | None


Growing = dict[BlockAttributes, BlockPlace]
"""The blocks to which codes with these attributes are appended."""


def block_runs(good: Sequence[Candidate], growing: Growing) -> list[BlockRun]:
    """Group codes by the attributes of their block, in file order."""
    if isinstance(good, UsualCandidates):
        return [BlockRun(NO_ATTRIBUTES, False, good, _room(growing.get(NO_ATTRIBUTES), len(good)))]
    runs: dict[tuple[BlockAttributes, bool], list[Candidate]] = {}
    for (kind, profile_id), some in groupby(good, _KIND_AND_PROFILE):
        runs.setdefault((kind, profile_id != ""), []).extend(some)
    return [
        BlockRun(kind, attached, codes, None if attached else _room(growing.get(kind), len(codes)))
        for (kind, attached), codes in runs.items()
    ]


def grown(growing: Growing, runs: Sequence[BlockRun]) -> Growing:
    """The growing blocks after these codes, all of which have their place."""
    return growing | {
        run.kind: BlockPlace(run.at.id, run.at.position + len(run.candidates))
        for run in runs
        if run.at is not None and not run.attached
    }


async def make_blocks(
    connection: Connection, program: ProgramRules, import_id: UUID, now: datetime, runs: Sequence[BlockRun]
) -> list[BlockRun]:
    """Make the blocks that are still to be made, and return the runs with their places."""
    new = [run for run in runs if run.at is None or not run.at.position]
    if not new:
        return list(runs)
    sizes = [len(run.candidates) for run in new]
    given = [len(run.candidates) if run.attached else 0 for run in new]
    rows = await connection.fetch(
        _NEW_BLOCKS if new[0].at is None else _DRAWN_BLOCKS, program.id, import_id, now,
        [run.at and run.at.id for run in new], sizes, given,
        [expires_at(program, now, run.kind) for run in new], [run.kind.fields for run in new],
    )  # fmt: skip
    ids = (row["id"] for row in rows)
    return [run._replace(at=BlockPlace(next(ids), 0)) if run.at is None else run for run in runs]


async def copy_texts(connection: Connection, program_id: int, runs: Sequence[BlockRun]) -> None:
    """Store the texts at their places, in the current transaction."""
    texts = [(*run.at, texts_of(run.candidates)) for run in runs if run.at is not None]
    source = copy_codes.stream(program_id, texts)
    await connection.copy_to_table("code", source=source, columns=copy_codes.COLUMNS, format="binary")


async def grow_blocks(connection: Connection, runs: Sequence[BlockRun]) -> None:
    """Let blocks that are not new have the texts that were stored after their last. Raises BlockChanged."""
    more = [(*run.at, len(run.candidates)) for run in runs if run.at is not None and run.at.position]
    if not more:
        return
    # The next statement sees what a change that held them has done.
    await lock_blocks(connection, (id_ for id_, _, _ in more))
    if await connection.execute(_GROW, *map(list, zip(*more, strict=True))) != f"UPDATE {len(more)}":
        raise BlockChanged


def expires_at(program: ProgramRules, now: datetime, kind: BlockAttributes) -> datetime | None:
    """Expiry, in the pool, of codes with these attributes."""
    # An expiry from the file is an explicit choice: it may be later than the program's lifetime allows.
    return expiry_in_pool(program, now, kind.expires_at, own_replaces_ttl=True)


def _room(block: BlockPlace | None, count: int) -> BlockPlace | None:
    return block if block is not None and block.position + count <= BLOCK_CODES_MAX else None
