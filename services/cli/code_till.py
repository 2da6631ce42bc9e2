"""Commands for one code at the till: activate, deactivate, hold, release."""

from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from codewell.errors import ProgramRefused
from codewell.validation import mistake
from schemas.till import HOLD_DEFAULT, Activate, Hold
from services.cli.code_life import CODE, PROGRAM, done_once, show
from services.cli.output import json_option

if TYPE_CHECKING:
    from codewell.codes.program_codes import ProgramCodes

_PROFILE = click.option("--profile", "profile_id", help="The customer.")
_CONTEXT = click.option("--context", help="A note of where it was, such as the name of a till.")


@click.command()
@PROGRAM
@CODE
@_PROFILE
@click.option("--order", "order_id", help="The order. The same order uses a code once.")
@_CONTEXT
@json_option
def activate(program: str, text: str, as_json: bool, **given: str | None) -> None:
    """Activate (redeem) CODE of PROGRAM.

    As often as the program allows, and once for each order.
    """
    wanted = _checked(Activate, code=text, **given)
    show(_done(program, wanted), as_json)


@click.command()
@PROGRAM
@CODE
@click.option("--order", "order_id", required=True, help="The order that holds the code.")
@_PROFILE
@_CONTEXT
@click.option("--ttl", help="How long, at most a day, as PT30M.  [default: PT30M]")
@json_option
def hold(program: str, text: str, as_json: bool, **given: str | None) -> None:
    """Hold CODE of PROGRAM for an order.

    Only that order may activate it then.
    """
    wanted = _checked(Hold, code=text, **given)
    show(_done(program, wanted), as_json)


@click.command()
@PROGRAM
@CODE
@click.option("--order", "order_id", required=True, help="The order that holds the code.")
@json_option
def release(program: str, text: str, order_id: str, as_json: bool) -> None:
    """End the hold of an order on CODE of PROGRAM."""
    from codewell.redemption import till

    show(done_once(program, text, "release", lambda codes, code: till.release(codes, code, order_id)), as_json)


@click.command()
@PROGRAM
@CODE
@click.option("--order", "order_id", help="The order whose use is taken back.")
@json_option
def deactivate(program: str, text: str, order_id: str | None, as_json: bool) -> None:
    """Take a use of CODE of PROGRAM back.

    Without an order: the only use, or the last one that named none.
    """
    from codewell.redemption import till

    show(done_once(program, text, "deactivate", lambda codes, code: till.deactivate(codes, code, order_id)), as_json)


def _done(program: str, wanted: Activate | Hold) -> Any:
    from codewell.redemption import till
    from codewell.redemption.model import Step, TillRequest

    verb: Step = "hold" if isinstance(wanted, Hold) else "activate"
    ttl = wanted.ttl if isinstance(wanted, Hold) else HOLD_DEFAULT

    async def step(codes: "ProgramCodes", code: str) -> Any:
        request = TillRequest(verb, code, wanted.profile_id, wanted.order_id, wanted.context, ttl)
        return (await till.apply(codes, request)).facts

    return done_once(program, wanted.code, verb, step)


def _checked(shape: type[Activate], **given: str | None) -> Any:
    try:
        return shape.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise ProgramRefused(f"{mistake(error.errors()[0], 'the code')}. Nothing was done.") from error
