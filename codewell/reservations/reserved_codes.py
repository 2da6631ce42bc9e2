"""Refuses what would take codes away from a reservation."""

from typing import Final
from uuid import UUID

from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection

_OF_BLOCK: Final = """
    SELECT r.id, r.source || ' ' || r.source_id AS scope FROM block b JOIN reservation r ON r.id = b.reservation_id
    WHERE b.id = $1 AND r.ended_at IS NULL
    """
_OF_IMPORT: Final = """
    SELECT r.id, r.source || ' ' || r.source_id AS scope FROM block b JOIN reservation r ON r.id = b.reservation_id
    WHERE b.import_id = $1 AND b.reserved_open ORDER BY r.id LIMIT 1
    """


async def refuse_reserved(connection: Connection, block_id: int, code: str) -> None:
    """Raise ProgramRefused if the codes of this block are reserved. The caller has locked the block."""
    row = await connection.fetchrow(_OF_BLOCK, block_id)
    if row is not None:
        raise ProgramRefused(
            f"{code} is reserved for {row['scope']} (reservation {row['id']}): attach another code, or release the "
            "reservation.",
            reason="code_reserved",
        )


async def refuse_reserved_import(connection: Connection, import_id: UUID) -> None:
    """Raise ProgramRefused if codes of this import are reserved."""
    row = await connection.fetchrow(_OF_IMPORT, import_id)
    if row is not None:
        raise ProgramRefused(
            f"Codes of this import are reserved for {row['scope']} (reservation {row['id']}): release it before "
            "undoing the import.",
            reason="import_reserved",
        )
