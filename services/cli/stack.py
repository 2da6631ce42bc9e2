"""Commands that run one worker, a whole stack or the demo, and commands that prepare for them."""

import asyncio
import secrets
from functools import partial
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote, urlencode

import click

from services.cli.extras import require
from services.cli.output import database_errors, json_option, print_json, say

# Options of a URL that every user needs, others such as `sslcert` being the owner's own.
_OPTIONS_OF_SERVER: Final = frozenset({"host", "port", "sslmode", "sslrootcert", "sslcrl", "target_session_attrs"})


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
@click.option("--drop-slot", is_flag=True, help="Switch the stream off: drop its slot, and end.")
def lifecycle(drop_slot: bool) -> None:
    """Run a worker that publishes what happens to codes.

    It is on from the first run until --drop-slot: meanwhile Postgres keeps the log that no worker has read.
    """
    require("issuer")
    from codewell.infra.config.settings import read_settings
    from services.lifecycle.main import drop, main
    from services.lifecycle.settings import LifecycleSettings

    if not drop_slot:
        main()
        return
    with database_errors(read_settings(LifecycleSettings).postgres_url.get_secret_value()):
        is_dropped = drop()
    if is_dropped:
        say("The stream is off: its slot is dropped. The topic keeps what it has.")
    else:
        say("The stream is off.")


@click.command()
@json_option
def migrate(as_json: bool) -> None:
    """Create or upgrade the database schema; safe to repeat.

    Services of the release before go on meanwhile. On the schema of a later release that takes this one, it changes
    nothing.
    """
    from codewell.infra.config.settings import StackSettings, read_settings
    from codewell.infra.postgres.connection import connection
    from codewell.infra.postgres.migrations import migrate as apply
    from codewell.infra.postgres.migrations import newer_version

    url = read_settings(StackSettings).postgres_url.get_secret_value()

    async def work() -> tuple[list[str], int | None]:
        async with connection(url, "codewell-migrate") as opened, connection(url, "codewell-migrate-watch") as observer:
            return await apply(opened, observer), await newer_version(opened)

    with database_errors(url, "what was applied before stays, so run codewell migrate again"):
        applied, newer = asyncio.run(work())
    if as_json:
        print_json({"applied": applied, "newer": newer})
    elif newer is not None:
        say(f"The schema has version {newer}, of a later release, which takes this one: nothing to apply.")
    else:
        say("\n".join(f"applied {name}" for name in applied) or "The schema is up to date.")


@click.command()
@click.argument("role", type=click.Choice(["issuer", "generator", "console", "lifecycle", "auditor"]))
@click.option("--user", metavar="NAME", help="Name of the user.  [default: the role]")
@click.option(
    "--password-file",
    type=click.File(),
    metavar="FILE",
    help="File with the password.  [default: a random one, printed once]",
)
@json_option
def login(role: str, user: str | None, password_file: IO[str] | None, as_json: bool) -> None:
    """Create a database user for a role and print its URL.

    The user has the rights of this role only. If it exists, its password is changed.
    """
    from codewell.audit.audit_log import command_actor, recorded
    from codewell.infra.config.urls import postgres_options
    from codewell.infra.postgres import logins
    from codewell.infra.postgres.connection import address_of
    from services.cli.output import with_database

    if user == "":
        raise click.BadParameter("must not be empty.", param_hint="--user")
    try:
        password = secrets.token_urlsafe(32) if password_file is None else password_file.read().strip()
    except UnicodeDecodeError as error:
        raise click.BadParameter("must be UTF-8 text.", param_hint="--password-file") from error
    name = user or role

    async def work(connection: Any, settings: Any) -> str:
        give = partial(logins.create_login, connection, role, name, password)
        await recorded(connection, command_actor(), give, "login.give", user=name, role=role)
        url = settings.postgres_url.get_secret_value()
        options = {key: value for key, value in postgres_options(url).items() if key in _OPTIONS_OF_SERVER}
        return f"{address_of(url)}{'?' if options else ''}{urlencode(options, safe='/', quote_via=quote)}"

    where = with_database(work)
    shown = f":{password}" if password_file is None else ""
    url = f"postgresql://{quote(name, safe='')}{shown}@{where}"
    if as_json:
        print_json({"user": name, "role": f"codewell_{role}", "postgres_url": url})
        return
    say(f"User {name} has the rights of codewell_{role}. Set for this service:")
    say(f"CODEWELL_POSTGRES_URL={url}")


@click.command()
@click.option(
    "--replication",
    type=click.IntRange(1),
    help="Replicas of each new topic.  [default: 3, at most the number of brokers]",
)
@click.option(
    "--raise-in-sync", is_flag=True, help="Set min.insync.replicas to 2 on existing topics with 3 replicas too."
)
@click.option("--acls", is_flag=True, help="Print the commands that give each principal its rights; change nothing.")
@json_option
def topics(replication: int | None, raise_in_sync: bool, acls: bool, as_json: bool) -> None:
    """Create missing Kafka topics; safe to repeat.

    Those of CODEWELL_REPLY_TOPICS too. With 3 replicas, a record is acknowledged once 2 of them have it. Existing
    topics are not changed: those where one broker may acknowledge alone are named.
    """
    from codewell.infra.config.settings import read_settings
    from codewell.infra.kafka import acls as rights
    from codewell.infra.kafka.topics import InSync, check_in_sync, create_topics
    from services.issuer.settings import IssuerSettings

    settings = read_settings(IssuerSettings)
    if acls:
        wanted = rights.acls(settings.topic_prefix, settings.reply_topics)
        commands = rights.commands(settings.kafka_bootstrap, wanted)
        if as_json:
            print_json({"commands": commands})
        else:
            say("\n".join(commands))
        return

    async def work() -> tuple[list[str], InSync]:
        where = (settings.kafka_config, settings.topic_prefix)
        made = await create_topics(*where, replication, settings.reply_topics)
        return made, await check_in_sync(*where, settings.reply_topics, raise_it=raise_in_sync)

    made, in_sync = asyncio.run(work())
    if as_json:
        print_json({"created": made, "raised": in_sync.raised, "weak": in_sync.weak})
        return
    done = [f"created {name}" for name in made] + [f"min.insync.replicas=2 on {name}" for name in in_sync.raised]
    say("\n".join(done) or "All topics exist.")
    if in_sync.weak:
        say(
            "With min.insync.replicas=1 the loss of one broker may lose acknowledged answers; --raise-in-sync sets 2: "
            f"{', '.join(in_sync.weak)}."
        )


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
@click.option("--lifecycle", "publishes", is_flag=True, help="Also publish what happens to codes (code-lifecycle).")
def standalone(home: Path | None, api_port: int, issuers: int, publishes: bool) -> None:
    """Run Postgres, Kafka and all services on this machine.

    Stops at Ctrl-C and keeps its data.
    """
    require("standalone")
    from codewell.infra.config.settings import home as default_home
    from codewell.infra.process.lifecycle import run
    from codewell.infra.telemetry.logs import configure
    from services.standalone.main import StackOptions, standalone

    configure("standalone", "warning")
    options = StackOptions(home or default_home(), api_port=api_port, issuers=issuers, lifecycle=publishes)
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
