"""Commands for the deliveries of a webhook: list them, send them again."""

from datetime import datetime
from typing import Any, Final, get_args

import click

from codewell.plurals import counted
from schemas.webhooks import DeliveryState
from services.cli.moments import read_start, time_zone_option
from services.cli.output import json_option, print_json, print_table, say, with_database
from services.cli.webhook import webhook_id_argument

_SHOWN_MAX: Final = 1_000


@click.command()
@webhook_id_argument
@click.option("--state", type=click.Choice(get_args(DeliveryState)), help="Only deliveries in this state.")
@json_option
def deliveries(webhook_id: int, state: DeliveryState | None, as_json: bool) -> None:
    """List the newest deliveries to the webhook ID."""
    from codewell.webhooks import deliveries as made
    from codewell.webhooks import endpoints

    async def work(connection: Any, _: Any) -> Any:
        await endpoints.get(connection, webhook_id)
        return await made.page(connection, webhook_id, state, _SHOWN_MAX)

    found = [one.model_dump() for one in with_database(work)]
    if as_json:
        for one in found:
            print_json(one)
        return
    columns = ("id", "type", "program", "occurred_at", "state", "attempts", "status", "error")
    print_table([{name: one[name] for name in columns} for one in found], "No deliveries.")


@click.command()
@webhook_id_argument
@click.argument("delivery_id", type=click.IntRange(1, 2**63 - 1))
@json_option
def resend(webhook_id: int, delivery_id: int, as_json: bool) -> None:
    """Send DELIVERY_ID of the webhook ID again.

    Its webhook-id is the same.
    """
    from codewell.audit.audit_log import command_actor
    from codewell.webhooks import deliveries as made
    from codewell.webhooks import endpoints

    async def work(connection: Any, _: Any) -> Any:
        async with connection.transaction():
            again = await made.resend(connection, webhook_id, delivery_id)
            found = await endpoints.get(connection, webhook_id)
            await endpoints.log(connection, command_actor(), "webhook.resend", found, event=again.event_id)
        return again

    again = with_database(work)
    if as_json:
        print_json(again.model_dump())
    else:
        say(f"Delivery {delivery_id} is sent again.")


@click.command()
@webhook_id_argument
@click.option(
    "--since", required=True, callback=read_start, metavar="TIME", help="Events from this time on, as 2027-01-31."
)
@click.option("--delivered", is_flag=True, help="Those too that it got.")
@time_zone_option
@json_option
def replay(webhook_id: int, since: datetime, delivered: bool, as_json: bool) -> None:
    """Send events again that the webhook ID did not get.

    Those since a time, of the types that it subscribes to. Events are kept for 14 days.
    """
    from codewell.audit.audit_log import command_actor
    from codewell.webhooks import deliveries as made
    from codewell.webhooks import endpoints

    async def work(connection: Any, _: Any) -> int:
        async with connection.transaction():
            number = await made.replay(connection, webhook_id, since, delivered=delivered)
            found = await endpoints.get(connection, webhook_id)
            who = command_actor()
            await endpoints.log(connection, who, "webhook.replay", found, since=since.isoformat(), deliveries=number)
        return number

    number = with_database(work)
    if as_json:
        print_json({"deliveries": number})
    else:
        say(f"{counted(number, 'event')} to send.")
