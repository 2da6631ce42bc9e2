"""How long a request waits for codes that a remote service or the generator has to deliver. Pure."""

from datetime import datetime
from typing import NamedTuple

from codewell.issuing.fallbacks import Link, following
from codewell.pool.program_rules import ProgramRules


class Wait(NamedTuple):
    """The wait of one request. Both times are by the database's clock."""

    until: datetime
    """When it is over for all programs of the request."""
    since: datetime | None = None
    """When it began; None: a worker of an earlier release began it, and `until` is when fallbacks are asked."""


def is_over(wait: Wait | None, program: ProgramRules, link: Link | None, now: datetime) -> bool:
    """Whether a request has waited for this program's codes as long as it may; it may wait longer for another's.

    `link`: the fallback that the program is.
    """
    if wait is None:
        return False
    if wait.until <= now or (link is not None and link.waited):
        return True
    if wait.since is None or program.codes_from != "remote":
        return False
    after = following(program, link, "remote_failed")
    return after is not None and after.fallbacks.after is not None and wait.since + after.fallbacks.after <= now
