"""Maps a program's settings to a row of the table `program`, and back."""

import json
from typing import Any, Final

import asyncpg

from schemas.program import Program, ProgramSettings

COLUMNS: Final = """
    id, name, title, description, groups, active AND removed_at IS NULL AS active, valid_from, valid_until, source,
    scenario_can_create, campaign_can_create, shared, auto_link, codes_max, pool_max, ttl, ttl_from, fields, reuse,
    allow_guessable
    """


def columns_of(settings: ProgramSettings) -> dict[str, Any]:
    """The settings by column name."""
    return settings.model_dump() | {
        "groups": list(settings.groups),
        "source": settings.source.model_dump_json(),
        "fields": json.dumps([field.model_dump() for field in settings.fields]),
    }


def program_of(row: asyncpg.Record) -> Program:
    """The program in a row with COLUMNS."""
    given = {name: row[name] for name in Program.model_fields if name in row}
    return Program(**{**given, "source": json.loads(row["source"]), "fields": json.loads(row["fields"])})
