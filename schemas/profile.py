"""What is known of a customer beside the id, as the HTTP API takes and shows it."""

from datetime import datetime

from schemas.events import Id, ProfileFields
from schemas.strict_model import StrictModel


class ProfileSettings(StrictModel):
    """All fields of a profile; fields that are left out are deleted."""

    fields: ProfileFields


class Profile(StrictModel):
    """A profile as it is kept."""

    profile_id: Id
    fields: ProfileFields
    changed_at: datetime


class Forgotten(StrictModel):
    """What became of a profile: so many stored answers name a random id in its place."""

    answers: int
