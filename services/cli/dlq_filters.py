"""Which dead letters a command is about, as its options say it."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar, get_args

import click

from schemas.events import DeadReason
from schemas.topics import REQUESTS

if TYPE_CHECKING:
    from codewell.recovery.dead_letters import LetterFilter

_F = TypeVar("_F", bound=Callable[..., None])


def moment(_: click.Context, __: click.Parameter, given: str | None) -> datetime | None:
    """A time that an option gives."""
    if given is None:
        return None
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise click.BadParameter(f"{given!r} is not like 2026-12-01T00:00:00Z.")
    return found


def place(_context: click.Context, _option: click.Parameter, given: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """One name of a letter or several."""
    for one in (given,) if isinstance(given, str) else given:
        topic, _, numbers = one.partition(":")
        if topic not in REQUESTS or not all(number.isdigit() for number in numbers.partition(":")[::2]):
            raise click.BadParameter(f"{one!r} is not like {REQUESTS[0]}:0:17, as codewell dlq list prints it.")
    return given


def filters(command: _F) -> _F:
    """The options by which letters are chosen; `wanted` makes them one."""
    for option in (
        click.option("--at", multiple=True, callback=place, metavar="PLACE", help="These alone, as list prints them."),
        click.option("--profile", metavar="ID", help="Of this profile: the record's key, or the event's own word."),
        click.option("--until", callback=moment, metavar="TIME", help="Written before; as --since."),
        click.option("--since", callback=moment, metavar="TIME", help="Written since; ISO 8601 with a time zone."),
        click.option("--reason", type=click.Choice(get_args(DeadReason)), help="With this reason.  [any]"),
        click.option("--topic", type=click.Choice(REQUESTS), help="Of this request topic.  [both]"),
    ):
        command = option(command)
    return command


def wanted(**given: object) -> "LetterFilter":
    """The letters that the options of `filters` name."""
    from codewell.recovery.dead_letters import LetterFilter

    return LetterFilter(**given)  # type: ignore[arg-type]
