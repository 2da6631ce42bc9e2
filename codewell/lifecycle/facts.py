"""What never changes of blocks and programs, so that it can be read from the tables at any time."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from codewell.infra.postgres.connection import Connection

# Some 200 bytes each.
_BLOCKS_MAX: Final = 100_000

_BLOCKS: Final = "SELECT id, program_id, kind, version, first FROM block WHERE id = ANY($1::bigint[])"
_NAMES: Final = "SELECT id, name FROM program WHERE id = ANY($1::bigint[])"


class BlockFacts(NamedTuple):
    """Where a block's codes have their places: position `p` is at `run:first + p`."""

    program_id: int
    run: str
    first: int

    def place(self, position: int) -> str:
        """The place of a position, as lists print it (`CodePlace`)."""
        return f"{self.run}:{self.first + position}"


def facts_of(row: Mapping[str, Any]) -> BlockFacts:
    """The facts of a block's row."""
    if row["kind"] == "range":
        return BlockFacts(row["program_id"], f"0:{row['version']}", row["first"])
    return BlockFacts(row["program_id"], f"1:{row['id']}", 0)


class KnownFacts:
    """Blocks by id, and short names of programs by id; those that were not used for long are read again."""

    def __init__(self) -> None:
        self.blocks: dict[int, BlockFacts] = {}
        self.names: dict[int, str] = {}

    async def read(self, connection: Connection, blocks: Iterable[int], programs: Iterable[int] = ()) -> None:
        """Read those that are not known yet."""
        unnamed = set(programs)
        missing = set(blocks) - self.blocks.keys()
        if missing:
            if len(self.blocks) > _BLOCKS_MAX:
                self.blocks.clear()
                missing = set(blocks)
            for row in await connection.fetch(_BLOCKS, list(missing)):
                self.blocks[row["id"]] = facts_of(row)
                unnamed.add(row["program_id"])
        unnamed -= self.names.keys()
        if unnamed:
            self.names.update(await connection.fetch(_NAMES, list(unnamed)))
