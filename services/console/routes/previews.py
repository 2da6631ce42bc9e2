"""Endpoints that look across programs: the preview of a message, and all codes of a profile."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Query
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from codewell.codes import profile_codes
from codewell.issuing import preview
from schemas.events import Id, MessageRender
from schemas.message_previews import MessagePreview, MessageToPreview, ProfileCodes
from services.console.context import Context, context
from services.console.http.auth import Reader
from services.console.http.problems import WITH_BODY, documented
from services.console.routes.code_shape import code_of
from services.console.routes.examples import CODE, answer

router = APIRouter()
ConsoleContext = Annotated[Context, Depends(context)]
_MESSAGE: Final = {"profile_id": "p-1001", "template": "Hello! {loyalty.SPRING.promocode}"}
_PREVIEWED: Final[dict[str, Any]] = {
    "profile_id": "p-1001",
    "outcome": "attached",
    "codes": [{"program": "SPRING", "code": "smFg-2497-DMPB", "expires_at": None, "fields": {}}],
    "refusals": [],
    "rendered": "Hello! smFg-2497-DMPB",
    "unresolved": [],
}


@router.post(
    "/preview",
    tags=["programs"],
    responses=answer(200, "What the message would look like", _PREVIEWED) | documented(*WITH_BODY),
)
async def preview_message(
    here: ConsoleContext, caller: Reader, wanted: Annotated[MessageToPreview, Body(examples=[_MESSAGE])]
) -> MessagePreview:
    """Render a message as a campaign's request with `preview` would, with codes of no profile.

    A program that the token may not see is refused as unknown.
    """
    given = wanted.model_dump() | {"campaign_id": "preview", "preview": True}
    try:
        event = MessageRender.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error
    async with here.pool.acquire() as connection:
        found = await preview.preview(connection, here.minters, event, caller.groups)
    return MessagePreview(
        profile_id=found["profile_id"],
        outcome=found["outcome"],
        codes=found.get("codes", []),
        refusals=found.get("refusals", []),
        rendered=found.get("rendered"),
        unresolved=found.get("unresolved", []),
    )


@router.get(
    "/codes",
    tags=["profiles"],
    responses=answer(200, "The codes", {"items": [CODE], "complete": True}) | documented(),
)
async def list_codes_of_profile(
    here: ConsoleContext, caller: Reader, profile_id: Annotated[Id, Query(description="The profile.")]
) -> ProfileCodes:
    """List the codes that a profile has or had, over all programs that the token may see."""
    async with here.pool.acquire() as connection:
        found = await profile_codes.of_profile(connection, here.minters, profile_id, caller.groups)
    return ProfileCodes(items=[code_of(name, one) for name, one in found.codes], complete=found.is_complete)
