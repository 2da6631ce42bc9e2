"""Locks many codes at once, in an order in which nothing deadlocks."""

from collections.abc import Sequence
from typing import Final

from codewell.infra.postgres.connection import Connection

_LOCK: Final = """
    INSERT INTO code_state AS s (block_id, position)
    SELECT * FROM unnest($1::bigint[], $2::bigint[]) AS w (block_id, position) ORDER BY 1, 2
    ON CONFLICT (block_id, position) DO UPDATE SET hole = s.hole
    """


async def lock_codes(connection: Connection, keys: Sequence[tuple[int, int]]) -> None:
    """Lock the rows of code_state of these codes, given by block and position; missing rows are added.

    Lock blocks after it, in the order of their ids: that is the order of the life cycle.
    """
    if keys:
        await connection.execute(_LOCK, *map(list, zip(*keys, strict=True)))
