"""Endpoints for profiles: their fields, and erasure."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path

from codewell.audit import audit_log
from codewell.profiles import forgetting, profiles
from schemas.events import Id
from schemas.profile import Forgotten, Profile, ProfileSettings
from services.console.context import Context, context
from services.console.http.auth import Reader, Writer, require_profiles
from services.console.http.problems import WITH_BODY, documented
from services.console.routes import examples

router = APIRouter(prefix="/profiles", tags=["profiles"])
ConsoleContext = Annotated[Context, Depends(context)]
ProfileId = Annotated[Id, Path(description="The profile id; it may contain /.", examples=["p-1001"])]


@router.get(
    "/{id:path}",
    responses=examples.answer(200, "The profile", examples.PROFILE)
    | documented("group_refused", "profile_invalid", "profile_unknown"),
)
async def show_profile(here: ConsoleContext, caller: Reader, id: ProfileId) -> Profile:  # noqa: A002  the path's name
    """Get the stored fields of a profile."""
    require_profiles(caller)
    async with here.pool.acquire() as connection:
        return await profiles.get(connection, id)


@router.put(
    "/{id:path}", responses=examples.answer(200, "The updated profile", examples.PROFILE)
    | documented(*WITH_BODY, "group_refused", "profile_invalid", "profile_unknown"),
)  # fmt: skip
async def put_profile(
    here: ConsoleContext,
    caller: Writer,
    id: ProfileId,  # noqa: A002
    given: Annotated[ProfileSettings, Body(examples=[examples.PROFILE_FIELDS])],
) -> Profile:
    """Replace all fields of a profile; fields that are left out are deleted."""
    require_profiles(caller)
    async with here.pool.acquire() as connection:
        put = {id: given.fields}
        await audit_log.recorded(
            connection, caller.actor, lambda: profiles.put(connection, put), "profile.put", count=1
        )
        return await profiles.get(connection, id)


@router.delete(
    "/{id:path}",
    responses=examples.answer(200, "The profile was forgotten", examples.FORGOTTEN)
    | documented("group_refused", "profile_invalid", "profile_unknown"),
)
async def forget_profile(here: ConsoleContext, caller: Writer, id: ProfileId) -> Forgotten:  # noqa: A002
    """Delete a profile's fields and replace its id with a random one. Its codes stay attached."""
    require_profiles(caller)
    async with here.pool.acquire() as connection:
        return Forgotten(answers=await forgetting.forget(connection, id, caller.actor))
