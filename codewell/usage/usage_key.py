"""What usage is counted by. Pure."""

from typing import Final, Literal, NamedTuple, get_args

Outcome = Literal["attached", "reused", "returned", "quarantined", "voided", "activated"]
"""What happened to codes. `reused`: an answer had the code that the profile has already. `quarantined` and
`voided`: codes of failed sends."""

FALLBACK_OUTCOMES: Final = ("fallback_first", "fallback_second", "fallback_third")
"""What is counted for the asked program where a fallback gave the code, by the fallback's place in its list."""


# All other outcomes are refusals or fallbacks, of which alerts tell.
_USUAL: Final = frozenset(get_args(Outcome))


class UsageKey(NamedTuple):
    """What is counted: codes of a program, by the source of the request and its outcome."""

    program_id: int
    source: str
    outcome: str
    """An `Outcome`, one of FALLBACK_OUTCOMES, or the reason of a refusal."""

    @property
    def is_urgent(self) -> bool:
        """Whether an alert may follow: of a refusal or a fallback."""
        return self.outcome not in _USUAL
