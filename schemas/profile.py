"""What is known of a customer beside the id, as the HTTP API takes and shows it."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from schemas.events import Id, ProfileFields


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProfileSettings(_Shape):
    """All fields of a profile; fields that are left out are deleted."""

    fields: ProfileFields


class Profile(_Shape):
    """A profile as it is kept."""

    profile_id: Id
    fields: ProfileFields
    changed_at: datetime


class Forgotten(_Shape):
    """What became of a profile: so many stored answers name a random id in its place."""

    answers: int
