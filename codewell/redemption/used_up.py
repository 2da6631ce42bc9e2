"""Codes that a lower limit of uses uses up, and those that a higher one opens again."""

from typing import Final

from codewell.infra.postgres.connection import Connection
from codewell.pool.program_conditions import USES_PER_CODE
from schemas.uses import Uses

# Locked in key order, as tills lock them. A shared code that is used up is given to no other profile.
_CLOSE: Final = """
    WITH over AS (
        SELECT s.block_id, s.position FROM code_state s JOIN block b ON b.id = s.block_id
        WHERE b.program_id = $1 AND s.uses > 0 AND s.activated_at IS NULL AND s.uses >= $2 AND s.deleted_at IS NULL
        ORDER BY s.block_id, s.position FOR UPDATE OF s
    ), closed AS (
        UPDATE code_state s SET activated_at = statement_timestamp() FROM over
        WHERE s.block_id = over.block_id AND s.position = over.position RETURNING s.block_id, s.position
    )
    DELETE FROM holding h USING closed c
    WHERE h.program_id = $1 AND h.profile_id = '' AND h.scope = '' AND h.block_id = c.block_id
      AND h.position = c.position
    """


# A code that was used before uses were counted has none to compare, and stays used up.
_OPEN: Final = """
    WITH short AS (
        SELECT s.block_id, s.position FROM code_state s JOIN block b ON b.id = s.block_id
        WHERE b.program_id = $1 AND s.uses > 0 AND s.activated_at IS NOT NULL
          AND ($2::bigint IS NULL OR s.uses < $2) AND s.deleted_at IS NULL
        ORDER BY s.block_id, s.position FOR UPDATE OF s
    )
    UPDATE code_state s SET activated_at = NULL FROM short
    WHERE s.block_id = short.block_id AND s.position = short.position
    """


_LIMIT: Final = f"SELECT {USES_PER_CODE} FROM program p WHERE p.id = $1 FOR NO KEY UPDATE"  # noqa: S608  a constant


async def apply_limit(connection: Connection, program_id: int, before: Uses) -> None:
    """Mark the codes as used up that the program's limit uses up, and open those that it leaves uses if it was lower.

    It misses a code that a till uses at the same moment, so it is called once more when no till that has read the limit
    of before is running.
    """
    async with connection.transaction():
        limit: int | None = await connection.fetchval(_LIMIT, program_id)
        if limit is not None:
            await connection.execute(_CLOSE, program_id, limit)
        if before.per_code is not None and (limit is None or limit > before.per_code):
            await connection.execute(_OPEN, program_id, limit)
