"""Which fallback a request tries next. Pure."""

from typing import NamedTuple

from codewell.pool.program_rules import Fallbacks, ProgramRules, fallbacks_of
from schemas.events import Reason


class Link(NamedTuple):
    """A fallback that a request tries in the place of one of its programs."""

    asked: str
    asked_id: int
    reason: Reason
    """Why the asked program gives no code."""
    fallbacks: Fallbacks
    """Those of the asked program, as the request found them."""
    number: int = 1
    """Which of them it is, from 1."""
    waited: bool = False
    """Whether the wait for a program before it is over: of a remote service, it gives only what its pool has."""

    @property
    def program(self) -> str:
        """The short name of the fallback."""
        return self.fallbacks.programs[self.number - 1]

    def next(self) -> "Link | None":
        """The link after this one; None: this is the last one."""
        return self._replace(number=self.number + 1) if self.number < len(self.fallbacks.programs) else None


def following(program: ProgramRules, link: Link | None, reason: Reason) -> Link | None:
    """The fallback to try where a program gives no code for this reason; None: there is none, or not for that.

    `link`: the fallback that the program is itself. The fallbacks of a fallback are not asked.
    """
    if link is not None:
        return link.next()
    if program.fallback is None:
        return None
    fallbacks = fallbacks_of(program.fallback)
    return Link(program.name, program.id, reason, fallbacks) if reason in fallbacks.reasons else None
