"""`python -m tests.snapshots` writes all snapshots anew; it starts a Postgres for the schema and ends it again."""

import asyncio
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.snapshots import answers, api, commands, database, metrics, names, settings, topics
from tests.snapshots.comparing import DATA, collected, store


@click.command()
@click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path))
def main(directory: Path | None) -> None:
    """Renew the snapshots of the repository, or write those that need no database into DIRECTORY, as tests do."""
    if directory is not None:
        for part in (answers, api, commands, database, metrics, names, settings, topics):
            store(part.files(), directory)
        return
    with TemporaryDirectory() as fresh:
        found = collected(Path(fresh))
    found |= asyncio.run(database.schema_of_a_fresh_server())
    shutil.rmtree(DATA, ignore_errors=True)
    store(found, DATA)


main()
