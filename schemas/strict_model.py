"""The model of shapes that refuse unknown fields, and the error of fields that contradict each other."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """An immutable value, read from data without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Contradictions(ValueError):
    """Fields that are valid each by itself and not with the others; its text is of the first one."""

    def __init__(self, found: Sequence[tuple[str, str]]) -> None:
        """`found`: the field to change, and what is wrong as words that follow its place."""
        super().__init__(found[0][1])
        self.found = tuple(found)
