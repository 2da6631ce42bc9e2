"""Commands for webhooks: who is told of events by HTTP, Slack or e-mail."""

from typing import Any, Final, get_args

import click

from schemas.webhooks import EVENT_TYPES, EndpointKind, NewWebhook, WebhookChange
from services.cli.commands import ApartGroup
from services.cli.extras import require
from services.cli.output import json_option, print_json, print_table, say, with_database

_SHOWN_MAX: Final = 1_000
_TYPES: Final = click.option(
    "--type", "types", type=click.Choice(EVENT_TYPES), multiple=True, help="Type of event; repeatable."
)
_GROUPS: Final = click.option(
    "--group", "groups", multiple=True, help="Only events about programs of this access group; repeatable."
)
webhook_id_argument: Final = click.argument("webhook_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))


@click.group(
    cls=ApartGroup,
    places={
        "deliveries": "webhook_deliveries:deliveries",
        "replay": "webhook_deliveries:replay",
        "resend": "webhook_deliveries:resend",
    },
)
def webhook() -> None:
    """Deliver events to URLs, Slack and e-mail addresses."""


@webhook.command()
@click.argument("target")
@click.option(
    "--kind", type=click.Choice(get_args(EndpointKind)), default="webhook", show_default=True,
    help="What TARGET is: a URL that gets signed JSON, a URL of Slack, or an e-mail address.",
)  # fmt: skip
@click.option("--description", default="", help="What it is for.")
@_TYPES
@_GROUPS
@json_option
def create(
    target: str, kind: EndpointKind, description: str, types: tuple[Any, ...], groups: tuple[str, ...], as_json: bool
) -> None:
    """Deliver events to TARGET; print their signing secret.

    Without --type, it gets alert-raised and alert-cleared; without --group, events about all programs.
    """
    from pydantic import ValidationError

    from codewell.audit.audit_log import command_actor
    from codewell.validation import words_of
    from codewell.webhooks import endpoints

    given = {"kind": kind, "target": target, "description": description, "groups": groups}
    try:
        wanted = NewWebhook.model_validate(given | ({"types": types} if types else {}))
    except ValidationError as error:
        raise click.UsageError(f"TARGET or an option is not valid: {words_of(error.errors()[0])}.") from error

    async def work(connection: Any, settings: Any) -> Any:
        async with connection.transaction():
            made, secret = await endpoints.create(connection, _keys(settings), wanted)
            await endpoints.log(connection, command_actor(), "webhook.create", made, types=made.types)
        return made, secret

    made, secret = with_database(work)
    if as_json:
        print_json({**made.model_dump(), "secret": secret})
    else:
        shown = f" Its secret is shown only once:\n{secret}" if secret else ""
        say(f"Created webhook {made.id} for {made.target}.{shown}")


@webhook.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the webhooks."""
    from codewell.webhooks import endpoints

    found = [one.model_dump() for one in with_database(lambda to, _: endpoints.page(to, (), 0, _SHOWN_MAX))]
    if as_json:
        for one in found:
            print_json(one)
        return
    rows = [
        {
            "id": one["id"],
            "kind": one["kind"],
            "target": one["target"],
            "types": ", ".join(one["types"]),
            "groups": ", ".join(one["groups"]) or "all programs",
            "active": "yes" if one["active"] else f"no ({one['inactive_reason']})",
            "failures": one["failures"],
            "waiting": one["waiting"],
        }
        for one in found
    ]
    print_table(rows, "No webhooks: create one with codewell webhook create.")


@webhook.command()
@webhook_id_argument
@json_option
def show(webhook_id: int, as_json: bool) -> None:
    """Show the webhook ID."""
    from codewell.webhooks import endpoints

    found = with_database(lambda connection, _: endpoints.get(connection, webhook_id)).model_dump()
    if as_json:
        print_json(found)
    else:
        print_table([{"field": name, "value": value} for name, value in found.items()], "")


@webhook.command()
@webhook_id_argument
@click.option("--target", help="Another URL or address.")
@click.option("--description", help="What it is for.")
@_TYPES
@_GROUPS
@click.option("--active/--inactive", default=None, help="Switch it on or off.")
@json_option
def update(webhook_id: int, types: tuple[Any, ...], groups: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Change the webhook ID; what no option names stays."""
    from pydantic import ValidationError

    from codewell.audit.audit_log import command_actor
    from codewell.validation import words_of
    from codewell.webhooks import endpoints

    try:
        wanted = WebhookChange.model_validate({**given, "types": types or None, "groups": groups or None})
    except ValidationError as error:
        raise click.UsageError(f"An option is not valid: {words_of(error.errors()[0])}.") from error
    fields = sorted(wanted.model_dump(exclude_none=True))
    if not fields:
        raise click.UsageError("Name what to change: see --help.")

    async def work(connection: Any, settings: Any) -> Any:
        async with connection.transaction():
            changed = await endpoints.change(connection, _keys(settings), webhook_id, wanted)
            await endpoints.log(
                connection, command_actor(), "webhook.update", changed, fields=fields, active=changed.active
            )
        return changed

    changed = with_database(work)
    if as_json:
        print_json(changed.model_dump())
    else:
        say(f"Changed webhook {webhook_id}.")


@webhook.command()
@webhook_id_argument
@json_option
def remove(webhook_id: int, as_json: bool) -> None:
    """Remove the webhook ID; what waits for it is not sent."""
    from codewell.audit.audit_log import command_actor
    from codewell.webhooks import endpoints

    async def work(connection: Any, _: Any) -> Any:
        async with connection.transaction():
            removed = await endpoints.remove(connection, webhook_id)
            await endpoints.log(connection, command_actor(), "webhook.remove", removed)
        return removed

    removed = with_database(work)
    if as_json:
        print_json(removed.model_dump())
    else:
        say(f"Removed webhook {webhook_id}.")


@webhook.command("rotate-secret")
@webhook_id_argument
@json_option
def rotate_secret(webhook_id: int, as_json: bool) -> None:
    """Print a new secret of the webhook ID, once.

    The one before it signs for another day.
    """
    from codewell.audit.audit_log import command_actor
    from codewell.webhooks import endpoints

    async def work(connection: Any, settings: Any) -> Any:
        async with connection.transaction():
            await endpoints.lock(connection, webhook_id)
            found = await endpoints.get(connection, webhook_id)
            rotated = await endpoints.rotate_secret(connection, _keys(settings), found)
            await endpoints.log(connection, command_actor(), "webhook.rotate_secret", found)
        return rotated

    rotated = with_database(work)
    if as_json:
        print_json({"secret": rotated.text, "previous_end_at": rotated.previous_end_at})
    else:
        say(f"The new secret is shown only once:\n{rotated.text}")


@webhook.command()
@webhook_id_argument
@json_option
def test(webhook_id: int, as_json: bool) -> None:
    """Send a test message to the webhook ID from this machine."""
    require("generator")
    from contextlib import aclosing

    from codewell.audit.audit_log import command_actor
    from codewell.errors import RemoteFailed
    from codewell.infra.config.settings import read_settings
    from codewell.remote.settings import RemoteSettings
    from codewell.webhooks import endpoints, trial
    from codewell.webhooks.sending import Courier
    from codewell.webhooks.settings import WebhookSettings

    async def work(connection: Any, settings: Any) -> Any:
        found = await endpoints.get(connection, webhook_id)
        await endpoints.log(connection, command_actor(), "webhook.test", found)
        keys = await trial.keys_of(connection, _keys(settings), found)
        allowed = read_settings(RemoteSettings).remote_networks
        async with aclosing(Courier(read_settings(WebhookSettings), allowed)) as courier:
            return await trial.send_test(courier, found, keys)

    result = with_database(work)
    if as_json:
        print_json(result.model_dump())
    elif result.accepted:
        say(f"{result.detail} Status {result.status}, {result.took_s} s.")
    if not result.accepted:
        raise RemoteFailed(result.detail)


def _keys(settings: Any) -> Any:
    from codewell.keys.master_keys import MasterKeys

    return MasterKeys(*settings.all_master_keys)
