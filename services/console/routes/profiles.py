"""Endpoints for profiles: their fields, and erasure."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, HTTPException, Path

from codewell.access.tokens import Token
from codewell.audit import audit_log
from codewell.profiles import forgetting, profiles
from schemas.events import Id
from schemas.profile import Forgotten, Profile, ProfileSettings
from services.console.context import Context, context
from services.console.http.auth import Reader, Writer
from services.console.http.problems import documented
from services.console.routes import examples

router = APIRouter(prefix="/profiles", tags=["profiles"])
ConsoleContext = Annotated[Context, Depends(context)]
ProfileId = Annotated[Id, Path(description="The profile id; it may contain /.", examples=["p-1001"])]


@router.get("/{id:path}", responses=examples.answer(200, "The profile", examples.PROFILE) | documented(404))
async def show_profile(here: ConsoleContext, caller: Reader, id: ProfileId) -> Profile:  # noqa: A002  the path's name
    """Get the stored fields of a profile."""
    _refuse_restricted(caller)
    async with here.pool.acquire() as connection:
        return await profiles.get(connection, id)


@router.put(
    "/{id:path}", responses=examples.answer(200, "The updated profile", examples.PROFILE)
    | documented(400, 404, 413, 415),
)  # fmt: skip
async def put_profile(
    here: ConsoleContext,
    caller: Writer,
    id: ProfileId,  # noqa: A002
    given: Annotated[ProfileSettings, Body(examples=[examples.PROFILE_FIELDS])],
) -> Profile:
    """Replace all fields of a profile; fields that are left out are deleted."""
    _refuse_restricted(caller)
    async with here.pool.acquire() as connection:
        put = {id: given.fields}
        await audit_log.recorded(
            connection, caller.actor, lambda: profiles.put(connection, put), "profile.put", count=1
        )
        return await profiles.get(connection, id)


@router.delete(
    "/{id:path}", responses=examples.answer(200, "The profile was forgotten", examples.FORGOTTEN) | documented(404)
)
async def forget_profile(here: ConsoleContext, caller: Writer, id: ProfileId) -> Forgotten:  # noqa: A002
    """Delete a profile's fields and replace its id with a random one. Its codes stay attached."""
    _refuse_restricted(caller)
    async with here.pool.acquire() as connection:
        return Forgotten(answers=await forgetting.forget(connection, id, caller.actor))


def _refuse_restricted(caller: Token) -> None:
    """Profiles belong to no access group: a profile may have codes of every program."""
    if caller.groups:
        raise HTTPException(403, "Profiles belong to no access group: use a token without groups.")
