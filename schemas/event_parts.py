"""What the data of all events is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from schemas import patterns

Id = Annotated[str, StringConstraints(pattern=patterns.ID)]
UuidText = Annotated[str, StringConstraints(pattern=patterns.UUID)]
ShortName = Annotated[str, StringConstraints(pattern=patterns.SHORT_NAME)]


class Event(BaseModel):
    """The data of one event."""

    model_config = ConfigDict(frozen=True, strict=True)
