"""The endpoint that exports a program's codes as a file, some kilobytes at a time."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from codewell.audit import audit_log
from codewell.codes import export
from codewell.codes.export import ExportOptions
from codewell.profiles import profiles
from schemas import patterns
from schemas.events import ShortName
from schemas.program import State
from services.console.context import Context, context
from services.console.http.auth import Reader, require_profiles, visible_program
from services.console.http.download import Download, Write
from services.console.http.problems import documented

router = APIRouter(prefix="/programs/{name}", tags=["codes"])
ConsoleContext = Annotated[Context, Depends(context)]

_EXAMPLE: Final = (
    "code,state,profile_id,attached_at,activated_at,expires_at,deleted_at,fields.discount,profile.email\r\n"
    "smFg-2497-DMPB,attached,p-1001,2026-11-23T10:00:00.000000Z,,2026-12-23T10:00:00.000000Z,,10,a@example.com\r\n"
)

_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The codes, as CSV",
        "content": {"text/csv": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}


@router.get(
    "/codes.csv",
    response_class=Response,
    responses=_FILE
    | documented("group_refused", "profile_invalid", "program_unknown", "streams_busy", "streams_exhausted"),
)
async def export_codes(
    here: ConsoleContext,
    caller: Reader,
    name: ShortName,
    fields: Annotated[
        str | None,
        Query(pattern=patterns.SHORT_NAMES, max_length=4_200,
              description="Profile fields, comma-separated. A token with groups needs the scope profiles for them.",
              examples=["email"]),
    ] = None,
    state: State | None = None,
    raw: Annotated[bool, Query(description="Do not escape cells that a spreadsheet would run as formulas.")] = False,
    excel: Annotated[bool, Query(description="Begin with a byte order mark, so that Excel reads UTF-8.")] = False,
) -> Response:  # fmt: skip
    """Export the codes as CSV: state, dates, custom fields and profile fields.

    Each line is of the moment at which it was read. If the export fails, or the token is revoked meanwhile, the
    connection closes without the last chunk, and the file is incomplete.
    """
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        wanted = ExportOptions(state, tuple(dict.fromkeys(fields.split(","))) if fields else (), raw, excel)
        if fields:
            require_profiles(caller)
            await profiles.check_known(connection, wanted.profile_fields)

    async def work(write: Write) -> None:
        async with here.exports.connection() as connection:
            # Recorded first: data that was sent can't be recalled.
            await audit_log.record(connection, caller.actor, "code.export", name, state=state, fields=fields)
        await export.export(here.exports.connection, here.minters, program, wanted, write)

    async def is_allowed() -> bool:
        return await here.authenticator.may_still_read(caller, name)

    return Download(f"{name}-codes.csv", here.exports.slot(caller.id), work, is_allowed)
