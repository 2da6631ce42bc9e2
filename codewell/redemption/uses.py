"""Lists of uses and holds: of a code, and of an order."""

from typing import Final, Literal

import asyncpg

from codewell.codes.lookup import CodePlace
from codewell.codes.place_lookup import located
from codewell.codes.program_codes import ProgramCodes
from schemas.till import CodeUse

USES_MAX: Final = 100
_OF_CODE: Final = f"""
    SELECT order_id, profile_id, context, held_until, used_at, ended_at, ended_by, statement_timestamp() AS now
    FROM code_use WHERE block_id = $1 AND position = $2 ORDER BY id DESC LIMIT {USES_MAX + 1}
    """  # noqa: S608  a constant


async def of_code(codes: ProgramCodes, place: CodePlace) -> tuple[list[CodeUse], bool]:
    """The latest uses and holds of the code at a place, newest first, and whether these are all of them."""
    at = await located(codes.connection, codes.program_id, place)
    if at is None:
        return [], True
    rows = await codes.connection.fetch(_OF_CODE, at.block["id"], at.position)
    return [CodeUse(**facts_of(row)) for row in rows[:USES_MAX]], len(rows) <= USES_MAX


def facts_of(row: asyncpg.Record) -> dict[str, object]:
    """The members of a CodeUse in a row of code_use with the time as `now`."""
    names = ("order_id", "profile_id", "context", "held_until", "used_at", "ended_at", "ended_by")
    return {name: row[name] for name in names} | {"state": _state(row)}


def _state(row: asyncpg.Record) -> Literal["held", "lapsed", "released", "used", "taken_back"]:
    if row["used_at"] is not None:
        return "used" if row["ended_at"] is None else "taken_back"
    if row["ended_at"] is not None:
        return "released"
    return "held" if row["held_until"] > row["now"] else "lapsed"
