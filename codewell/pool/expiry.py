"""Expiry of codes: in the pool, from their creation or import, and after attachment. Pure."""

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
    """Expiry, while it is in the pool, of a code that is made or added now; None for never.

    `own` is an expiry that the code came with. The earlier of `own` and the program's lifetime (`ttl`) counts; with
    `own_replaces_ttl` only `own` counts. With `ttl_always` the lifetime starts now, even if the program's lifetimes
    start at attachment.
    """
    if own is not None and own_replaces_ttl:
        return own
    if program.ttl is None or not (ttl_always or program.ttl_from == "creation"):
        return own
    return earlier_expiry(now + program.ttl, own)


def expiry_when_attached(program: ProgramRules, now: datetime, in_pool: datetime | None) -> datetime | None:
    """Expiry of a code that is attached now: `in_pool`, its expiry in the pool, or earlier; None for never."""
    if program.ttl is None or program.ttl_from != "attachment":
        return in_pool
    return earlier_expiry(now + program.ttl, in_pool)


def earlier_expiry(ends: datetime, own: datetime | None) -> datetime:
    """The earlier of two expiries; `own` is None for never."""
    return ends if own is None else min(ends, own)
