"""The command for orders of the shop."""

from typing import Any

import click

from services.cli.output import json_option, print_facts, print_json, print_table, say, with_database


@click.group()
def order() -> None:
    """Show orders of the shop."""


@order.command()
@click.argument("order_id", metavar="ORDER")
@json_option
def show(order_id: str, as_json: bool) -> None:
    """Show what ORDER holds and has used.

    Also the codes that it did not get, and why.
    """
    from codewell.redemption import order_facts

    async def work(connection: Any, _: Any) -> Any:
        return await order_facts.get(connection, order_id)

    found = with_database(work)
    if as_json:
        print_json(found.model_dump())
        return
    facts = found.model_dump(exclude={"codes", "refusals"})
    print_facts(facts)
    columns = ("program", "code", "state", "profile_id", "held_until", "used_at", "ended_at")
    say()
    print_table([{name: one[name] for name in columns} for one in found.model_dump()["codes"]], "")
    if found.refusals:
        say()
        print_table([one.model_dump(include={"program", "code", "reason", "detail"}) for one in found.refusals], "")
