"""Looks a code up by its text for the endpoints that show it: within the caller's budget of unknown codes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from codewell.access.tokens import Token
from codewell.codes import typed
from codewell.codes.lookup import CodeFacts
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodeUnknown
from services.console.context import Context


@asynccontextmanager
async def code_of_text(
    here: Context, caller: Token, name: str, code: str, context: str | None
) -> AsyncIterator[tuple[ProgramCodes, CodeFacts]]:
    """The code and its program's codes, on a connection that the block holds.

    Raises CodeUnknown, ProgramUnknown, and HttpProblem (429) once there were too many unknown codes.
    """
    program = await here.authenticator.program(caller, name)
    async with here.failed_lookups.look_up(caller.id, context):
        if await here.negative_cache.know(program.id, code):
            raise CodeUnknown(code)
        async with here.pool.acquire() as connection:
            codes = ProgramCodes(connection, here.minters, program.id)
            found = await typed.find(codes, code)
            if found is None:
                raise CodeUnknown(code)
            yield codes, found
