"""Reasons of refusals as pages tell them: what was the case, and what to do about it."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from services.console.pages.words import _

# Words and remedy of each reason in an answer (schemas.events.AnsweredReason).
WORDS: Final[dict[str, tuple[str, str]]] = {
    "pool_empty": (
        _("The pool was empty"), _("Generate or import codes, or switch on that this source can create them."),
    ),
    "maximum_reached": (_("The maximum was reached"), _("Raise the maximum number of promo codes.")),
    "program_inactive": (_("The program was off"), _("Activate it, or take it out of the messages that name it.")),
    "program_not_started": (
        _("The validity period had not begun"), _("Let it begin earlier, or send the messages later."),
    ),
    "program_ended": (
        _("The validity period had ended"), _("Let it end later, or take the program out of the messages."),
    ),
    "remote_failed": (_("The remote service gave no code"), _("See its last error under Remote service.")),
    "deadline_passed": (
        _("The request came after its deadline"), _("See the lag on Operations: the workers may be behind."),
    ),
    "request_too_old": (
        _("The request was too old"),
        _("The time in its id is long ago: a sender repeats requests too late, or its clock is wrong."),
    ),
    "program_unknown": (_("The program was unknown"), _("Compare the short name in the messages with this one.")),
    "invalid_request": (_("The request was invalid"), _("See the dead letters on Operations.")),
}  # fmt: skip


class Refused(NamedTuple):
    """One reason: its words, how many requests, their share of the most frequent one (0 to 1), and what to do."""

    words: str
    number: int
    share: float
    to_do: str


def rows(refused: Mapping[str, int]) -> list[Refused]:
    """The reasons with their numbers, the most frequent first."""
    counted = sorted(((number, reason) for reason, number in refused.items() if number), reverse=True)
    found = []
    for number, reason in counted:
        words, to_do = WORDS.get(reason, (reason, ""))
        found.append(Refused(words, number, number / counted[0][0], to_do))
    return found
