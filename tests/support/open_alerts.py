"""Asks the database which alerts are open."""

from codewell.infra.postgres.connection import Connection
from schemas.alerts import AlertKind


async def is_open(connection: Connection, program_id: int, kind: AlertKind, key: str = "") -> bool:
    """Whether this alert is open."""
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM alert WHERE program_id = $1 AND kind = $2 AND key = $3 AND cleared_at IS NULL)",
            program_id,
            kind,
            key,
        )
    )
