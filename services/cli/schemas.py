"""Commands that hand the schemas of the events to others."""

import click

from services.cli.output import json_option, print_json, print_table


@click.group()
def schemas() -> None:
    """Publish the schemas of the events."""


@schemas.command()
@click.option(
    "--registry",
    envvar="CODEWELL_REGISTRY_URL",
    required=True,
    metavar="URL",
    help="Registry with Confluent's API, user and password included.  [env: CODEWELL_REGISTRY_URL]",
)
@click.option(
    "--prefix",
    envvar="CODEWELL_TOPIC_PREFIX",
    default="",
    help="Prefix of all topics.  [env: CODEWELL_TOPIC_PREFIX]",
)
@json_option
def register(registry: str, prefix: str, as_json: bool) -> None:
    """Register the JSON Schema of each topic; safe to repeat.

    The subject is the topic's name with -value. Values stay plain JSON, without a registry's header.
    """
    from codewell.infra.http.schema_registry import SchemaRegistry
    from schemas.subjects import subjects

    there = SchemaRegistry(registry)
    rows = [{"subject": name, "id": there.register(name, schema)} for name, schema in subjects(prefix).items()]
    if as_json:
        for row in rows:
            print_json(row)
    else:
        print_table(rows, none="")
