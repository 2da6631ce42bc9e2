"""The words of changes of many codes: their states, their filters, and why codes are left as they are."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from schemas.changes import ChangeFilter
from services.console.pages.import_words import StateWords
from services.console.pages.program_form import day_of
from services.console.pages.words import _

CHANGE_STATES: Final[dict[str, StateWords]] = {
    "running": StateWords(_("changing"), "busy"),
    "stopped": StateWords(_("stopped"), "warn"),
    "done": StateWords(_("done"), "good"),
    "undoing": StateWords(_("being undone"), "busy"),
    "undone": StateWords(_("undone"), ""),
}
_REASONS: Final = {
    "activated": _("activated meanwhile"),
    "in_use": _("held or used by an order"),
    "reserved": _("reserved for a campaign"),
}
_STATES: Final = {"pooled": _("pooled"), "attached": _("attached"), "expired": _("expired")}


def skipped_words(skipped: Mapping[str, int]) -> list[tuple[str, int]]:
    """The reasons in words, with the numbers of codes."""
    return [(_REASONS.get(reason, reason), number) for reason, number in skipped.items()]


def filter_words(given: ChangeFilter | Mapping[str, Any]) -> str:
    """What a filter finds, in a line. It names no profile."""
    facts = given.model_dump() if isinstance(given, ChangeFilter) else dict(given)
    state = facts.get("state")
    words = [
        _STATES.get(state, state) if state else _("pooled, attached and expired"),
        _("of one profile") if facts.get("profile_id") else "",
        _("of one import") if facts.get("import_id") else "",
        _("that expire from %(day)s") % {"day": _day(facts["expires_from"])} if facts.get("expires_from") else "",
        _("that expire until %(day)s") % {"day": _day(facts["expires_until"], at_end=True)}
        if facts.get("expires_until")
        else "",
    ]
    return " · ".join(word for word in words if word)


def _day(moment: datetime | str, *, at_end: bool = False) -> str:
    return moment if isinstance(moment, str) else day_of(moment, at_end=at_end)
