"""Commands for the tokens of the HTTP API."""

from datetime import timedelta
from functools import partial
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from services.cli.output import json_option, print_json, print_table, say, with_database


def _lifetime(_: click.Context, __: click.Parameter, given: str | None) -> timedelta | None:
    if given is None:
        return None
    try:
        return TypeAdapter(timedelta).validate_python(given)
    except ValidationError as error:
        raise click.BadParameter(f"{given!r} is not an ISO 8601 duration, such as P90D.") from error


@click.group()
def token() -> None:
    """Create, list and revoke tokens of the HTTP API."""


@token.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(["read", "write", "redeem", "admin", "profiles", "support"]),
    multiple=True,
    required=True,
    help="Scope; repeatable. admin includes all but profiles; a token with groups needs profiles to see the "
    "fields of profiles.",
)
@click.option("--group", "groups", multiple=True, help="Access group; repeatable.  [default: all programs]")
@click.option(
    "--expires-in", callback=_lifetime, metavar="DURATION", help="Lifetime, as P90D or PT8H.  [default: until revoked]"
)
@json_option
def create(
    name: str, scopes: tuple[Any, ...], groups: tuple[str, ...], expires_in: timedelta | None, as_json: bool
) -> None:
    """Create token NAME and print its secret, once."""
    from codewell.access import tokens
    from codewell.audit.audit_log import command_actor, recorded

    async def work(connection: Any, _: Any) -> Any:
        make = partial(tokens.create, connection, name, scopes, groups, expires_in)
        who = command_actor()
        return await recorded(connection, who, make, "token.create", token=name, scopes=scopes, groups=groups,
                           expires_in=None if expires_in is None else str(expires_in))  # fmt: skip

    made, secret = with_database(work)
    if as_json:
        print_json({**made._asdict(), "token": secret})
    else:
        say(f"Created token {made.name}. Its secret is shown only once:\n{secret}")


@token.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List active tokens."""
    from codewell.access import tokens

    found = [one._asdict() for one in with_database(lambda connection, _: tokens.list_all(connection))]
    for facts in found:
        del facts["revoked_at"]
    if as_json:
        for facts in found:
            print_json(facts)
        return
    rows = [
        {
            **facts,
            "scopes": ", ".join(facts["scopes"]),
            "groups": ", ".join(facts["groups"]) or "all programs",
            "expires_at": facts["expires_at"] or "never",
        }
        for facts in found
    ]
    print_table(rows, "No active tokens: create one with codewell token create.")


@token.command()
@click.argument("name_or_id", metavar="NAME|ID")
@json_option
def revoke(name_or_id: str, as_json: bool) -> None:
    """Revoke a token permanently.

    Consoles may accept it for another 5 seconds.
    """
    from codewell.access import tokens
    from codewell.audit.audit_log import command_actor, record

    async def work(connection: Any, _: Any) -> Any:
        async with connection.transaction():
            ended = await tokens.revoke(connection, name_or_id)
            await record(connection, command_actor(), "token.revoke", token=ended.name)
        return ended

    ended = with_database(work)
    if as_json:
        print_json(ended._asdict())
    else:
        say(f"Revoked token {ended.name}.")
