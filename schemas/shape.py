"""What the shapes of the HTTP API, of remote services and of profiles have in common."""

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """A value that doesn't change, read from data without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
