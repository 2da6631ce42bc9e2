"""The model of shapes that refuse unknown fields."""

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """An immutable value, read from data without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
