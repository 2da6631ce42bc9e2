"""Commands that run one worker, a whole stack or the demo, and commands that prepare for them."""

import asyncio
import secrets
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import click

from services.cli.extras import require


@click.command()
def issuer() -> None:
    """Run an issuer, which answers requests with codes."""
    require("issuer")
    from services.issuer.main import main

    main()


@click.command()
def generator() -> None:
    """Run a generator, which keeps pools full."""
    require("generator")
    from services.generator.main import main

    main()


@click.command()
def console() -> None:
    """Run a console, which serves the HTTP API."""
    require("console")
    from services.console.main import main

    main()


@click.command()
def migrate() -> None:
    """Create or upgrade the database schema; safe to repeat."""
    from codewell.infra.config.settings import StackSettings, read_settings
    from codewell.infra.postgres.connection import connection
    from codewell.infra.postgres.migrations import migrate as apply

    async def work() -> list[str]:
        async with connection(
            read_settings(StackSettings).postgres_url.get_secret_value(), "codewell-migrate"
        ) as opened:
            return await apply(opened)

    applied = asyncio.run(work())
    click.echo("\n".join(f"applied {name}" for name in applied) or "The schema is up to date.")


@click.command()
@click.argument("role", type=click.Choice(["issuer", "generator", "console", "auditor"]))
@click.option("--user", metavar="NAME", help="Name of the user.  [default: the role]")
@click.option(
    "--password-file",
    type=click.File(),
    metavar="FILE",
    help="File with the password.  [default: a random one, printed once]",
)
def login(role: str, user: str | None, password_file: IO[str] | None) -> None:
    """Create a database user for a role and print its URL.

    The user has the rights of this role only. If it exists, its password is changed.
    """
    from codewell.audit.audit_log import command_actor, recorded
    from codewell.infra.postgres import logins
    from codewell.infra.postgres.connection import address_of
    from services.cli.output import with_database

    password = secrets.token_urlsafe(32) if password_file is None else password_file.read().strip()
    name = user or role

    async def work(connection: Any, settings: Any) -> str:
        give = partial(logins.create_login, connection, role, name, password)
        await recorded(connection, command_actor(), give, "login.give", user=name, role=role)
        return address_of(settings.postgres_url.get_secret_value())

    where = with_database(work)
    click.echo(f"User {name} has the rights of codewell_{role}. Set for this service:")
    shown = f":{password}" if password_file is None else ""
    click.echo(f"CODEWELL_POSTGRES_URL=postgresql://{quote(name)}{shown}@{where}")


@click.command()
@click.option(
    "--replication",
    type=click.IntRange(1),
    help="Replicas of each new topic.  [default: 3, at most the number of brokers]",
)
def topics(replication: int | None) -> None:
    """Create missing Kafka topics; safe to repeat."""
    from codewell.infra.config.settings import StackSettings, read_settings
    from codewell.infra.kafka.topics import create_topics

    settings = read_settings(StackSettings)
    made = asyncio.run(create_topics(settings.kafka_config, settings.topic_prefix, replication))
    click.echo("\n".join(f"created {name}" for name in made) or "All topics exist.")


_HOME = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data directory of the stack.  [default: .codewell]",
)
_API_PORT = click.option(
    "--api-port", type=click.IntRange(0, 65_535), default=0, help="Port of the API.  [default: a free port]"
)
_ISSUERS = click.option(
    "--issuers", type=click.IntRange(1, 32), default=1, show_default=True, help="Number of issuers."
)


@click.command()
@_HOME
@_API_PORT
@_ISSUERS
def standalone(home: Path | None, api_port: int, issuers: int) -> None:
    """Run Postgres, Kafka and all services on this machine.

    Stops at Ctrl-C and keeps its data.
    """
    require("standalone")
    from codewell.infra.config.settings import home as default_home
    from codewell.infra.process.lifecycle import run
    from codewell.infra.telemetry.logs import configure
    from services.standalone.main import StackOptions, standalone

    configure("standalone", "warning")
    options = StackOptions(home or default_home(), api_port=api_port, issuers=issuers)
    run(lambda stop: standalone(options, stop))


@click.command()
@click.option("--exit", "leave", is_flag=True, help="Exit at the end; status 0 only if all checks passed.")
@click.option(
    "--messages", type=click.IntRange(1), default=20_000, show_default=True, help="Number of message-render requests."
)
@click.option(
    "--steps", type=click.IntRange(0), default=5_000, show_default=True, help="Number of scenario-step requests."
)
def demo(leave: bool, messages: int, steps: int) -> None:
    """Demonstrate codes end to end on a fresh stack.

    Creates a program, publishes requests, shows their answers and checks the invariants.
    """
    require("standalone")
    from codewell.infra.process.lifecycle import run
    from services.standalone.demo import demonstrate

    held: list[bool] = []
    run(lambda stop: demonstrate(messages, steps, leave, stop, held.append))
    if leave and held != [True]:
        raise SystemExit(1)
