"""The endpoint that finds a code over all programs. Pages use it; it is no part of the API."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from codewell.codes import across_programs
from schemas.events import ShortName
from schemas.strict_model import StrictModel
from services.console.context import Context, context
from services.console.http.auth import Viewer

ConsoleContext = Annotated[Context, Depends(context)]

router = APIRouter(include_in_schema=False)


class CodeToFind(StrictModel):
    """The text of a code."""

    code: Annotated[str, Field(min_length=1, max_length=1_000)]


class CodePrograms(StrictModel):
    """The programs that have the code."""

    programs: list[ShortName]


@router.post("/codes:find")
async def find_code(here: ConsoleContext, caller: Viewer, wanted: CodeToFind) -> CodePrograms:
    """Find the programs, of those that the token may see, that have a code which this text stands for.

    Without any it counts as one look-up of an unknown code. Too many of these get 429.
    """
    async with here.failed_lookups.look_up(caller.id) as attempt:
        async with here.pool.acquire() as connection:
            found = await across_programs.find(connection, here.minters, caller.groups, wanted.code)
        if not found:
            attempt.fail()
    return CodePrograms(programs=[one.program for one in found])
