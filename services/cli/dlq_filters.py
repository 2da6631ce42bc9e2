"""Options that select dead letters."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, get_args

import click

from schemas.events import DeadReason
from schemas.patterns import LETTER_PLACE
from schemas.topics import DECIDED
from services.cli.moments import read_end, read_start, time_zone_option

if TYPE_CHECKING:
    from codewell.recovery.dead_letters import LetterFilter

_F = TypeVar("_F", bound=Callable[..., None])


def place(_context: click.Context, _option: click.Parameter, given: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """One place or several, validated: places are those printed by `codewell dlq list`."""
    for one in (given,) if isinstance(given, str) else given:
        if not re.fullmatch(LETTER_PLACE, one):
            raise click.BadParameter(
                f"{one!r} is not a place such as {DECIDED[0]}:0:17, as printed by codewell dlq list."
            )
    return given


def unknown_letter(at: str) -> str:
    """The sentence that there is no letter at this place."""
    return f"There is no dead letter {at}: list the existing ones with codewell dlq list."


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
        time_zone_option,
        click.option(
            "--until", callback=read_end, metavar="TIME", help="Only letters written before this date or time."
        ),
        click.option(
            "--since",
            callback=read_start,
            metavar="TIME",
            help="Only letters from this date or time on, as 2026-12-01.",
        ),
        click.option("--reason", type=click.Choice(get_args(DeadReason)), help="Only letters with this reason."),
        click.option("--topic", type=click.Choice(DECIDED), help="Only letters of this topic."),
    ):
        command = option(command)
    return command


def wanted(**given: object) -> "LetterFilter":
    """The filter that the options of `filters` define."""
    from codewell.recovery.dead_letters import LetterFilter

    return LetterFilter(**given)  # type: ignore[arg-type]
