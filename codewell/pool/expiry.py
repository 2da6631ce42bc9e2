"""When a code expires: in the pool, by when it was made or taken in, and once it is attached. Pure."""

from datetime import datetime

from codewell.pool.program_rules import ProgramRules


def expiry_in_pool(
    program: ProgramRules,
    now: datetime,
    own: datetime | None = None,
    *,
    own_replaces_ttl: bool = False,
    ttl_always: bool = False,
) -> datetime | None:
    """When a code that is made or taken in now expires while nobody has it; None for never.

    `own` is an expiry that the code came with. The earlier of it and the program's lifetime counts; with
    `own_replaces_ttl` it alone. With `ttl_always` the lifetime counts from now even where it counts from attachment.
    """
    if own is not None and own_replaces_ttl:
        return own
    if program.ttl is None or not (ttl_always or program.ttl_from == "creation"):
        return own
    return earlier_expiry(now + program.ttl, own)


def expiry_when_attached(program: ProgramRules, now: datetime, in_pool: datetime | None) -> datetime | None:
    """When a code expires that is attached now and would expire at `in_pool` otherwise: never later than that."""
    if program.ttl is None or program.ttl_from != "attachment":
        return in_pool
    return earlier_expiry(now + program.ttl, in_pool)


def earlier_expiry(ends: datetime, own: datetime | None) -> datetime:
    """When a code ends that may live until `ends`, but not past the end of its own that it came with."""
    return ends if own is None else min(ends, own)
