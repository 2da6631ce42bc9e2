"""Reservations in words."""

from typing import Final

from schemas.reservations import ReservationState
from services.console.pages.program_words import Badge
from services.console.pages.words import _

STATES: Final[dict[ReservationState, Badge]] = {
    "pending": Badge(_("waits for codes"), "busy"),
    "ready": Badge(_("ready"), "good"),
    "nearly_used": Badge(_("nearly used"), "warn"),
    "used_up": Badge(_("used up"), "warn"),
    "released": Badge(_("ended"), ""),
}
LIMITS: Final[dict[str, str]] = {
    "maximum": _("The program's maximum allows no more: raise it."),
    "stock": _("There are no more codes: import some, or change the template."),
    "remote": _("One order to the remote service may have no more: raise the codes of a request."),
    "validity": _("Other codes expire before the campaign is sent."),
}


def badge_of(state: ReservationState) -> Badge:
    """The state as a badge."""
    return STATES[state]
