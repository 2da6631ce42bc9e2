"""Points in time on the command line: dates or times, in the zone that an option or CODEWELL_TIME_ZONE names."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import click

from codewell.errors import ProgramRefused
from schemas.moments import ZONE, parse_moment, zone_named

_F = TypeVar("_F", bound=Callable[..., None])


def time_zone_option(command: _F) -> _F:
    """Add --time-zone to a command with points in time. It is read before all other options."""
    return click.option(
        "--time-zone",
        metavar="ZONE",
        envvar="CODEWELL_TIME_ZONE",
        default="UTC",
        callback=_set_zone,
        expose_value=False,
        is_eager=True,
        help="Time zone of dates and times that name none, as Europe/Berlin.  [default: CODEWELL_TIME_ZONE, or UTC]",
    )(command)


def read_start(_: click.Context, __: click.Parameter, given: str | None) -> datetime | None:
    """The value of an option for a start; a date means the begin of its day."""
    return None if given is None else _parsed(given, at_end=False)


def read_end(_: click.Context, __: click.Parameter, given: str | None) -> datetime | None:
    """The value of an option for an end; a date means the end of its day."""
    return None if given is None else _parsed(given, at_end=True)


def read_expiry(given: str) -> datetime:
    """The new expiry of a code; a date means the end of its day. Raises ProgramRefused."""
    try:
        return parse_moment(given, ZONE.get(), at_end=True)
    except ValueError as error:
        raise ProgramRefused(f"The expiry {given[:100]!r} {error}, or never. Nothing was changed.") from error


def _parsed(given: str, *, at_end: bool) -> datetime:
    try:
        return parse_moment(given, ZONE.get(), at_end=at_end)
    except ValueError as error:
        raise click.BadParameter(f"{given[:100]!r} {error}.") from error


def _set_zone(_: click.Context, __: click.Parameter, given: str) -> None:
    try:
        ZONE.set(zone_named(given))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error
