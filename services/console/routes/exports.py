"""The endpoint that exports a program's codes as a file, some kilobytes at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from codewell.audit import audit_log
from codewell.codes import export
from codewell.codes.export import ExportOptions, Write
from codewell.files.csv_writer import MEDIA_TYPE
from schemas.events import SHORT_NAME_PATTERN, ShortName
from schemas.program import State
from services.console.context import Context, context
from services.console.http.auth import Reader, visible_program
from services.console.http.problems import documented

router = APIRouter(prefix="/programs/{name}", tags=["codes"])
ConsoleContext = Annotated[Context, Depends(context)]

# Bytes of one ASGI message; smaller ones cost more overhead.
_CHUNK_BYTES: Final = 64 * 1024
# A client that reads nothing for this long is disconnected.
SEND_TIMEOUT_S: Final = 60.0
_NAMES: Final = f"{SHORT_NAME_PATTERN[1:-1]}(,{SHORT_NAME_PATTERN[1:-1]}){{0,63}}"
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

log = structlog.get_logger()


@router.get("/codes.csv", response_class=Response, responses=_FILE | documented(404))
async def export_codes(
    here: ConsoleContext,
    caller: Reader,
    name: ShortName,
    fields: Annotated[
        str | None,
        Query(pattern=f"^{_NAMES}$", max_length=4_200, description="Profile fields, comma-separated.",
              examples=["email"]),
    ] = None,
    state: State | None = None,
    raw: Annotated[bool, Query(description="Do not escape cells that a spreadsheet would run as formulas.")] = False,
) -> Response:  # fmt: skip
    """Export the codes as CSV, from one snapshot: state, dates, custom fields and profile fields.

    If the export fails, the connection closes without the last chunk, and the file is incomplete.
    """
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
    wanted = ExportOptions(state, tuple(dict.fromkeys(fields.split(","))) if fields else (), raw)

    async def work(write: Write) -> None:
        with here.exports.slot():
            async with here.pool.acquire() as connection:
                # Recorded first: data that was sent can't be recalled.
                await audit_log.record(connection, caller.actor, "code.export", name, state=state, fields=fields)
                await export.export(connection, here.minters, program, wanted, write)

    return _Download(f"{name}-codes.csv", work)


class _Download(Response):
    """Streams a file. An error before its first chunk becomes a problem response."""

    media_type = MEDIA_TYPE

    def __init__(self, file_name: str, work: Callable[[Write], Awaitable[None]]) -> None:
        super().__init__(headers={"Content-Disposition": f'attachment; filename="{file_name}"'})
        del self.headers["content-length"]
        self._work = work

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the file. Raises its errors, so that the connection breaks before the end of the file."""
        making = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_wait_for_disconnect(receive))
        try:
            await asyncio.wait((making, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            making.cancel()
            await asyncio.wait((making, leaving))
        if making.cancelled():
            log.info("export_left")
        else:
            making.result()

    async def _send(self, send: Send) -> None:
        waiting = bytearray()
        began = False

        async def piece(more: bool) -> None:
            nonlocal began
            async with asyncio.timeout(SEND_TIMEOUT_S):
                if not began:
                    began = True
                    await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": bytes(waiting), "more_body": more})
            waiting.clear()

        async def write(some: bytes) -> None:
            waiting.extend(some)
            if len(waiting) >= _CHUNK_BYTES:
                await piece(more=True)

        await self._work(write)
        await piece(more=False)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
