"""A program's templates: each is a version with its own secret key, and the codes of all versions stay valid."""

import secrets
from typing import Final

from codewell.errors import TemplateInvalid
from codewell.infra.postgres.connection import Connection
from codewell.minting.minter import ALGORITHM, mintable_count
from codewell.minting.template import Template
from codewell.plurals import counted
from codewell.pool.minter_cache import Minters

_KEY_BYTES: Final = 32


async def add(connection: Connection, minters: Minters, program_id: int, version: int, template: str) -> None:
    """Store a template with a new key; codes are minted from it once the program's `version` is this one."""
    key = minters.keys.wrap(secrets.token_bytes(_KEY_BYTES))
    await connection.execute(
        "INSERT INTO template_version (program_id, version, template, algorithm, key, key_wrapped, key_id) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7)",
        program_id,
        version,
        template,
        ALGORITHM,
        *key,
    )


async def check_room(
    connection: Connection, program_id: int, version: int, template: Template, imported: int, wanted: int
) -> None:
    """Raise TemplateInvalid unless the template has texts for `wanted` more codes that the program never had.

    `version` is the template's own, stored or not yet. Codes of older versions and imported ones count as if all that
    may fit the template did, since a text enters a program once.
    """
    unminted = mintable_count(template)
    free = unminted - imported
    rows = await connection.fetch(
        "SELECT version, template, next_number, skipped FROM template_version WHERE program_id = $1", program_id
    )
    for row in rows:
        minted = row["next_number"] - row["skipped"]
        if row["version"] == version:
            free -= minted
            unminted -= row["next_number"]
        else:
            free -= min(minted, template.count_common_texts(Template.parse(row["template"])))
    # A number stays skipped though the import that had its text is undone.
    free = min(free, unminted)
    if free < wanted:
        raise TemplateInvalid(
            f"The template has {counted(max(free, 0), 'unused text')} left for up to "
            f"{counted(wanted, 'more code')}: add characters to the template, or lower the maximum.",
            reason="template_too_small",
        )
