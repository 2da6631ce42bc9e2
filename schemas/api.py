"""What the HTTP API takes and answers beside programs and their stock."""

from datetime import datetime
from typing import Annotated, Final, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.events import Id, ShortName
from schemas.program import CODES_MAX_LIMIT, FIELDS_MAX, Moment, State, Text
from schemas.strict_model import StrictModel

T = TypeVar("T")

PROFILES_MAX: Final = 100_000


class Problem(BaseModel):
    """An error, as RFC 9457 has it; `detail` is a sentence for a person that says what to do."""

    model_config = ConfigDict(frozen=True)

    type: str
    title: str
    status: int
    detail: str


class Page(StrictModel, Generic[T]):
    """A part of a list. `next_cursor` asks for what comes behind it; null is the end."""

    items: list[T]
    next_cursor: str | None


class Generate(StrictModel):
    """How many codes to make now, the custom fields that they are made with, and the profiles that get one each.

    With profiles there are as many codes as these, and `count` may be left out.
    """

    count: Annotated[int, Field(ge=1, le=CODES_MAX_LIMIT)] | None = None
    fields: dict[ShortName, Text] = Field({}, max_length=FIELDS_MAX)
    profiles: Annotated[tuple[Id, ...], Field(min_length=1, max_length=PROFILES_MAX)] | None = None

    @model_validator(mode="after")
    def _knows_how_many(self) -> Self:
        if self.profiles is None and self.count is None:
            raise ValueError("give count or profiles")
        if self.profiles is not None and self.count not in {None, len(self.profiles)}:
            raise ValueError(f"give as many profiles as codes: {len(self.profiles):,} are named; leave count out")
        return self


class Clone(StrictModel):
    """The short name of the program to make."""

    name: ShortName


class Attach(StrictModel):
    """Who is to get a code, and which: without `code` it is the next one of the pool."""

    profile_id: Id
    code: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None


class CodeOnly(StrictModel):
    """One code of the program."""

    code: Annotated[str, Field(min_length=1, max_length=1_000)]


class CodeChanges(StrictModel):
    """What is to change: what is left out stays. `expires_at` null is for ever; `fields` replaces all fields."""

    expires_at: Moment | None = None
    fields: dict[ShortName, Text] = Field({}, max_length=FIELDS_MAX)

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give expires_at or fields")
        return self


class Code(StrictModel):
    """The facts on one code. `expires_at` null is for ever; `profile_id` is who has it, or had it last."""

    code: str
    program: ShortName
    state: State
    profile_id: str | None
    attached_at: datetime | None
    activated_at: datetime | None
    expires_at: datetime | None
    fields: dict[str, str]


class RemoteService(StrictModel):
    """How a program's remote service does: what it still owes, and whether anything is sent to it now.

    The circuit is open, and nothing is sent until `rest_until`, after too many `failures` in a row; half open, one
    request tries the service. `error` is what was wrong last, at `error_at`, and stays when all is well again.
    """

    program: ShortName
    url: str
    on_order: int
    requests_open: int
    circuit: Literal["closed", "open", "half open"]
    rest_until: datetime | None
    failures: int
    error: str | None
    error_at: datetime | None


class RemoteSecret(StrictModel):
    """A secret with which requests to the remote service are signed. `ends_at` null: the one in use."""

    secret: str
    made_at: datetime
    ends_at: datetime | None


class RemoteSecrets(StrictModel):
    """The secrets in force, newest first: each gives every request a signature."""

    program: ShortName
    secrets: list[RemoteSecret]
