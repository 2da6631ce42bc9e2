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


async def put(connection: Connection, profiles: Mapping[str, Mapping[str, str]]) -> None:
    """Replace all fields of each profile, by id; omitted fields are deleted. The caller has validated them."""
    # In a fixed order, so that two concurrent writers of the same profiles can't deadlock.
    ordered = sorted(profiles)
    await connection.execute(_PUT, ordered, [json.dumps(profiles[one]) for one in ordered])


async def get(connection: Connection, profile_id: str) -> Profile:
    """The fields of a profile. Raises ProfileUnknown."""
    row = await connection.fetchrow(
        "SELECT profile_id, fields, changed_at FROM profile WHERE profile_id = $1", profile_id
    )
    if row is None:
        raise ProfileUnknown
    return Profile(profile_id=row["profile_id"], fields=json.loads(row["fields"]), changed_at=row["changed_at"])
