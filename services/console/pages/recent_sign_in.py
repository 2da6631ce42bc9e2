"""Pages that need a sign-in of the last minutes: exports with fields of profiles, remote secrets, tokens."""

from datetime import UTC, datetime, timedelta
from typing import Final

from fastapi import Depends

from services.console.pages.visit import CurrentVisit, SignInAgain

AGE_MAX: Final = timedelta(minutes=15)


def is_recent(at: datetime) -> bool:
    """Whether a sign-in at this time is recent enough."""
    return datetime.now(UTC) - at <= AGE_MAX


async def require_recent_sign_in(visit: CurrentVisit) -> None:
    """Send the person to sign in again, unless they did so in the last 15 minutes; they come back without loss.

    As a dependency of a whole endpoint: `@router.get("/tokens", dependencies=[RECENT_SIGN_IN])`. Where it depends on
    the form, as an export with fields of profiles: `await require_recent_sign_in(visit)` in the endpoint, before
    anything is done. A posted form is kept, and offered to the same person again after the sign-in; a page that was
    asked for by GET is opened again. Raises SignInAgain and NotSignedIn.
    """
    if not is_recent(visit.session.authenticated_at):
        raise SignInAgain


RECENT_SIGN_IN: Final = Depends(require_recent_sign_in)
