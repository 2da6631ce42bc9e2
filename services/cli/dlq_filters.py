"""Options that select dead letters."""

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
    """A time option, parsed."""
    if given is None:
        return None
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise click.BadParameter(f"{given!r} is not a time such as 2026-12-01T00:00:00Z.")
    return found


def place(_context: click.Context, _option: click.Parameter, given: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """One place or several, validated: places are those printed by `codewell dlq list`."""
    for one in (given,) if isinstance(given, str) else given:
        topic, _, numbers = one.partition(":")
        if topic not in REQUESTS or not all(number.isdigit() for number in numbers.partition(":")[::2]):
            raise click.BadParameter(
                f"{one!r} is not a place such as {REQUESTS[0]}:0:17, as printed by codewell dlq list."
            )
    return given


def filters(command: _F) -> _F:
    """Options that select letters; `wanted` combines them into one filter."""
    for option in (
        click.option(
            "--at",
            multiple=True,
            callback=place,
            metavar="PLACE",
            help="Only this letter, as printed by list; repeatable.",
        ),
        click.option("--profile", metavar="ID", help="Only letters of this profile, by record key or event."),
        click.option("--until", callback=moment, metavar="TIME", help="Only letters written before this time."),
        click.option(
            "--since",
            callback=moment,
            metavar="TIME",
            help="Only letters from this time on; ISO 8601 with a time zone.",
        ),
        click.option("--reason", type=click.Choice(get_args(DeadReason)), help="Only letters with this reason."),
        click.option("--topic", type=click.Choice(REQUESTS), help="Only letters of this request topic."),
    ):
        command = option(command)
    return command


def wanted(**given: object) -> "LetterFilter":
    """The filter that the options of `filters` define."""
    from codewell.recovery.dead_letters import LetterFilter

    return LetterFilter(**given)  # type: ignore[arg-type]
