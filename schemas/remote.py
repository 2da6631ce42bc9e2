"""What Codewell asks of a remote service and what the service answers, as JSON over HTTP."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import ConfigDict, FailFast, Field, StringConstraints
from pydantic.dataclasses import dataclass

from schemas.events import ShortName
from schemas.program import REQUEST_MAX_LIMIT, Moment, Text
from schemas.strict_model import StrictModel


class RemoteRequest(StrictModel):
    """A POST to the program's URL. All attempts of one request are the same, byte for byte."""

    version: Literal[1]
    request_id: UUID
    program: ShortName
    count: Annotated[int, Field(ge=1, le=REQUEST_MAX_LIMIT)]
    fields: dict[ShortName, Text]


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class RemoteCode:
    """One code. `expires_at` null or left out leaves it to the program; a field replaces the one that was sent."""

    # A slotted dataclass, as an answer has hundreds: half the time and a third of the memory of a model.
    code: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    expires_at: Moment | None = None
    fields: dict[ShortName, Text] | None = Field(default=None, json_schema_extra={"default": {}})


class RemoteAnswer(StrictModel):
    """The answer to the request of the same id: up to `count` codes, all different."""

    version: Literal[1]
    request_id: UUID
    codes: Annotated[tuple[RemoteCode, ...], Field(max_length=REQUEST_MAX_LIMIT), FailFast()]
