"""The command that lists codes."""

import shlex
from typing import Any, get_args

import click

from schemas.program import State
from services.cli.code import facts_of
from services.cli.output import json_option, print_json, print_table, say, with_database


def _batch(_: click.Context, __: click.Parameter, given: str | None) -> Any:
    from codewell.pool.batch import Batch

    batch = None if given is None else Batch.parse(given)
    if batch is None and given is not None:
        raise click.BadParameter("must be the id of a batch, as codewell code generate prints it.")
    return batch


@click.command("list")
@click.argument("program")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Maximum number of codes.")
@click.option("--after", metavar="PLACE", help="Continue after this place, as printed in the last line.")
@click.option("--state", type=click.Choice(get_args(State)), help="Only codes in this state.")
@click.option("--profile", metavar="ID", help="Only codes that are or were attached to this profile.")
@click.option("--batch", metavar="ID", callback=_batch, help="Only codes of this batch, as printed by generate.")
@click.option("--prefix", metavar="TEXT", help="Only codes that begin with this text, in any order.")
@click.option("--oldest-first", is_flag=True, help="List the oldest codes first.")
@json_option
def list_(
    program: str, limit: int, after: str | None, state: Any, profile: str | None, batch: Any, prefix: str | None,
    oldest_first: bool, as_json: bool,
) -> None:  # fmt: skip
    """List codes of PROGRAM, newest first.

    Imported and returned codes come before minted ones; oldest first, it is the reverse.
    """
    from codewell.codes.code_filter import CodeFilter
    from codewell.codes.program_codes import ProgramCodes
    from codewell.pool.minter_cache import Minters
    from codewell.programs import overview, programs

    wanted = CodeFilter(state, profile, batch, newest_first=not oldest_first)

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        codes = ProgramCodes(connection, Minters(*settings.master_keys), found.id)
        is_counted = wanted.is_counted and prefix is None
        total = await overview.total(connection, found.id, state) if is_counted else None
        return *await _listed(codes, wanted, prefix, after, limit), total

    listed, more, total = with_database(work)
    facts = [facts_of(one) for one in listed]
    if as_json:
        for one in facts:
            print_json(one)
        return
    is_first = after is None
    print_table(facts, f"{program} has no {'' if is_first else 'more '}matching codes.")
    if total is not None and is_first:
        say(f"{len(facts):,} of {total:,}.")
    is_all = is_first and total == len(facts)
    if more is not None and not is_all:
        say(f"{'More' if total is not None and is_first else 'There may be more'}: {_next_command(more)}")


def _next_command(place: str) -> str:
    """The running command, to continue after this place."""
    context = click.get_current_context()
    words = ["codewell", "code", "list", context.params["program"]]
    for option in context.command.params:
        value = context.params[option.name or ""]
        is_given = value not in (None, False, option.default)
        if isinstance(option, click.Option) and option.name != "after" and is_given:
            words += [option.opts[0]] if option.is_flag else [option.opts[0], str(value)]
    return shlex.join([*words, "--after", place])


async def _listed(codes: Any, wanted: Any, prefix: str | None, after: str | None, limit: int) -> tuple[list[Any], Any]:
    """Up to `limit` codes, and where to continue; None at the end."""
    from codewell.codes import listing, prefix_search

    listed: list[Any] = []
    if prefix is not None:
        spot = prefix_search.SEARCH_START if after is None else _search_place(after)
        while spot is not None and len(listed) < limit:
            found = await prefix_search.search(codes, prefix, spot, limit - len(listed), wanted.profile_id)
            listed += [one for one in found.codes if wanted.holds(one)]
            spot = found.next
        return listed, None if spot is None else f"{spot.version}:{spot.candidate}:{spot.text.encode().hex()}"
    place = wanted.start if after is None else _place(after)
    while place is not None and len(listed) < limit:
        page = await listing.page(codes, place, limit - len(listed), wanted)
        listed += page.codes
        place = page.next
    return listed, None if place is None else str(place)


def _place(given: str) -> Any:
    from codewell.codes.lookup import CodePlace

    try:
        listed, major, minor = map(int, given.split(":"))
    except ValueError as error:
        raise _broken() from error
    return CodePlace(listed, major, minor)


def _search_place(given: str) -> Any:
    from codewell.codes.prefix_search import SearchPlace

    try:
        version, candidate, text = given.split(":")
        return SearchPlace(int(version), int(candidate), bytes.fromhex(text).decode())
    except ValueError as error:
        raise _broken() from error


def _broken() -> click.BadParameter:
    return click.BadParameter("must be as printed in the last line of a list.", param_hint="--after")
