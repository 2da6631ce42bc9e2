"""Locks of many codes: rows of code_state, then blocks, each in the order of their keys. So nothing deadlocks."""

from collections.abc import Iterable
from typing import Final

from codewell.infra.postgres.connection import Connection

_LOCK_STATES: Final = """
    INSERT INTO code_state AS s (block_id, position)
    SELECT * FROM unnest($1::bigint[], $2::bigint[]) AS w (block_id, position) ORDER BY 1, 2
    ON CONFLICT (block_id, position) DO UPDATE SET hole = s.hole
    """
_LOCK_BLOCKS: Final = "SELECT FROM block WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE"


async def lock_codes(connection: Connection, places: Iterable[tuple[int, int]]) -> None:
    """Lock the rows of code_state of these codes, given by block and position; missing rows are added."""
    if columns := list(map(list, zip(*places, strict=True))):
        await connection.execute(_LOCK_STATES, *columns)


async def lock_blocks(connection: Connection, block_ids: Iterable[int]) -> None:
    """Lock these blocks. The caller has locked the states of all codes that it needs."""
    await connection.execute(_LOCK_BLOCKS, list(block_ids))
