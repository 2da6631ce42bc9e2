"""Endpoints about a program before there is one: its short name, and its template."""

import re
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query

from codewell.access.tokens import Token
from codewell.errors import ProgramTaken
from codewell.programs import programs, template_preview
from schemas import patterns
from schemas.templates import NameCheck, TemplatePreview, TemplateToPreview
from services.console.context import Context, context
from services.console.http.auth import RequiresScope, Writer
from services.console.http.problems import WITH_BODY, documented
from services.console.routes import examples

router = APIRouter(tags=["programs"])
ConsoleContext = Annotated[Context, Depends(context)]
ReaderOrWriter = Annotated[Token, Depends(RequiresScope("read", "write"))]


@router.post(
    "/templates:preview",
    responses=examples.answer(200, "What the template's codes would be", examples.TEMPLATE_PREVIEW)
    | documented(*WITH_BODY),
)
async def preview_template(
    here: ConsoleContext, _: ReaderOrWriter, wanted: Annotated[TemplateToPreview, Body(examples=[examples.TEMPLATE])]
) -> TemplatePreview:
    """Check a template and show sample codes, which belong to no program. It makes and stores nothing."""
    return template_preview.preview(wanted, here.guesses_per_s)


@router.get(
    "/programs:check-name",
    responses=examples.answer(200, "Whether the name is free", examples.NAME_CHECK) | documented(),
)
async def check_program_name(
    here: ConsoleContext, _: Writer, name: Annotated[str, Query(max_length=1_000, description="The name to check.")]
) -> NameCheck:
    """Check whether a new program may get this short name. Names of removed programs stay taken."""
    if not re.fullmatch(patterns.SHORT_NAME, name):
        return NameCheck(name=name, free=False, detail=f"It {patterns.WORDS[patterns.SHORT_NAME]}.")
    async with here.pool.acquire() as connection:
        try:
            await programs.check_name(connection, name)
        except ProgramTaken as error:
            return NameCheck(name=name, free=False, detail=str(error))
    return NameCheck(name=name, free=True, detail="")
