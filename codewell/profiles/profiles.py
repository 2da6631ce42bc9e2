"""Profiles: fields of customers in addition to their id."""

import json
from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import TypeAdapter, ValidationError

from codewell.errors import ProfileRefused, ProfileUnknown
from codewell.infra.postgres.connection import Connection
from schemas.events import Id, ShortName
from schemas.profile import Profile

_NAME: Final = TypeAdapter[str](ShortName)
_ID: Final = TypeAdapter[str](Id)

# Names of fields in one list.
NAMES_MAX: Final = 200
_NAMES: Final = "SELECT name FROM profile_field ORDER BY name LIMIT $1"
_KNOWN: Final = "SELECT name FROM profile_field WHERE name = ANY($1::text[])"
_NOTE_NAMES: Final = """
    INSERT INTO profile_field (name) SELECT n.name FROM unnest($1::text[]) AS n (name)
    WHERE NOT EXISTS (SELECT FROM profile_field f WHERE f.name = n.name) ON CONFLICT DO NOTHING
    """
_PUT: Final = """
    INSERT INTO profile (profile_id, fields)
    SELECT * FROM unnest($1::text[], $2::jsonb[])
    ON CONFLICT (profile_id) DO UPDATE SET fields = excluded.fields, changed_at = now()
    """


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names without duplicates, in order. Raises ProfileRefused for an invalid field name."""
    for name in names:
        try:
            _NAME.validate_python(name)
        except ValidationError as error:
            raise ProfileRefused(
                f"{name[:80]!r} is not a valid field name: use 1 to 64 letters, digits and _."
            ) from error
    return tuple(dict.fromkeys(names))


def check_id(profile_id: str) -> None:
    """Raise ProfileRefused unless this can be a profile's id."""
    try:
        _ID.validate_python(profile_id)
    except ValidationError as error:
        raise ProfileRefused(
            "The profile id is invalid: use 1 to 256 characters without control characters."
        ) from error


async def field_names(connection: Connection) -> list[str]:
    """The names of all fields that a profile has, or had, in order; at most NAMES_MAX."""
    return [row["name"] for row in await connection.fetch(_NAMES, NAMES_MAX)]


async def check_known(connection: Connection, names: Iterable[str]) -> None:
    """Raise ProfileRefused for a name that no profile has as a field: it is misspelt."""
    wanted = list(names)
    known = {row["name"] for row in await connection.fetch(_KNOWN, wanted)}
    for name in wanted:
        if name not in known:
            there = ", ".join(await field_names(connection)) or "none"
            raise ProfileRefused(f"No profile has a field {name}: check its spelling. The fields are {there}.")


async def put(connection: Connection, profiles: Mapping[str, Mapping[str, str]]) -> None:
    """Replace all fields of each profile, by id; omitted fields are deleted. The caller has validated them."""
    # In a fixed order, so that two concurrent writers of the same profiles can't deadlock.
    ordered = sorted(profiles)
    names = sorted({name for fields in profiles.values() for name in fields})
    if names:
        await connection.execute(_NOTE_NAMES, names)
    await connection.execute(_PUT, ordered, [json.dumps(profiles[one]) for one in ordered])


async def get(connection: Connection, profile_id: str) -> Profile:
    """The fields of a profile. Raises ProfileUnknown."""
    row = await connection.fetchrow(
        "SELECT profile_id, fields, changed_at FROM profile WHERE profile_id = $1", profile_id
    )
    if row is None:
        raise ProfileUnknown
    return Profile(profile_id=row["profile_id"], fields=json.loads(row["fields"]), changed_at=row["changed_at"])
