"""What the HTTP API takes and answers beside programs and their stock."""

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from schemas.events import ShortName
from schemas.program import CODES_MAX_LIMIT, Text

T = TypeVar("T")


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(BaseModel):
    """An error, as RFC 9457 has it; `detail` is a sentence for a person that says what to do."""

    model_config = ConfigDict(frozen=True)

    type: str
    title: str
    status: int
    detail: str


class Page(_Shape, Generic[T]):
    """A part of a list. `next_cursor` asks for what comes behind it; null is the end."""

    items: list[T]
    next_cursor: str | None


class Generate(_Shape):
    """How many codes to make now, and the custom fields that they are made with."""

    count: Annotated[int, Field(ge=1, le=CODES_MAX_LIMIT)]
    fields: dict[ShortName, Text] = {}


class Code(_Shape):
    """The facts on one code. `expires_at` null is for ever; `profile_id` is who got it."""

    code: str
    program: ShortName
    state: Literal["pooled", "attached", "activated", "expired", "deleted"]
    profile_id: str | None
    attached_at: datetime | None
    expires_at: datetime | None
    fields: dict[str, str]
