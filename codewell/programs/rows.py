"""Maps a program's settings to a row of the table `program`, and back."""

import json
from typing import Any, Final

import asyncpg

from schemas.alert_rules import DEFAULT_RULES, dumped
from schemas.program import Program, ProgramSettings
from schemas.uses import uses_default

COLUMNS: Final = """
    id, name, title, description, groups, active AND removed_at IS NULL AS active, valid_from, valid_until, source,
    scenario_can_create, campaign_can_create, shared, auto_link, codes_max, pool_max, ttl, ttl_from, min_life_at_attach,
    fields, reuse, match, returns, return_after, reissues_max, retention, allow_guessable, fallback, fallback_on,
    fallback_after, uses, holder_only, refund, alerts,
    removed_at
    """


def columns_of(settings: ProgramSettings) -> dict[str, Any]:
    """The settings by column name. Default uses are not stored, so that they follow a change of `shared`."""
    is_default = settings.uses == uses_default(shared=settings.shared)
    return settings.model_dump() | {
        "uses": None if is_default else settings.uses.model_dump_json(),
        "groups": list(settings.groups),
        "source": settings.source.model_dump_json(),
        "fields": json.dumps([field.model_dump() for field in settings.fields]),
        "fallback": [link.program for link in settings.fallback],
        "fallback_on": list(settings.fallback_on),
        # Default rules are not stored, so that they follow a release that has others.
        "alerts": None if settings.alerts == DEFAULT_RULES else json.dumps(dumped(settings.alerts)),
    }


def program_of(row: asyncpg.Record) -> Program:
    """The program in a row with COLUMNS."""
    given = {name: row[name] for name in Program.model_fields if name in row}
    parsed = {
        "source": json.loads(row["source"]),
        "fields": json.loads(row["fields"]),
        "uses": None if row["uses"] is None else json.loads(row["uses"]),
        "fallback": [{"program": name} for name in row["fallback"]],
        "alerts": DEFAULT_RULES if row["alerts"] is None else json.loads(row["alerts"]),
    }
    return Program(**{**given, **parsed})
