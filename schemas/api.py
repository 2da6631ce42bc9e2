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
    """An error (RFC 9457); `detail` says what is wrong and what to do."""

    model_config = ConfigDict(frozen=True)

    type: str
    title: str
    status: int
    detail: str


class Page(StrictModel, Generic[T]):
    """A page of a list. `next_cursor` requests the next page; null: this is the last one."""

    items: list[T]
    next_cursor: str | None


class Generate(StrictModel):
    """The number of codes to generate, their custom fields, and the profiles to attach one code each to.

    With profiles, `count` may be left out; otherwise it must equal their number.
    """

    count: Annotated[int, Field(ge=1, le=CODES_MAX_LIMIT)] | None = None
    fields: dict[ShortName, Text] = Field({}, max_length=FIELDS_MAX)
    profiles: Annotated[tuple[Id, ...], Field(min_length=1, max_length=PROFILES_MAX)] | None = None

    @model_validator(mode="after")
    def _knows_how_many(self) -> Self:
        if self.profiles is None and self.count is None:
            raise ValueError("give count, profiles or both")
        if self.profiles is not None and self.count not in {None, len(self.profiles)}:
            raise ValueError(f"count must equal the number of profiles ({len(self.profiles):,}): leave count out")
        return self


class Clone(StrictModel):
    """The short name of the new program."""

    name: ShortName


class Attach(StrictModel):
    """The profile that gets a code. Without `code`, it gets the next code of the pool."""

    profile_id: Id
    code: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None


class CodeOnly(StrictModel):
    """A code of the program."""

    code: Annotated[str, Field(min_length=1, max_length=1_000)]


class CodeChanges(StrictModel):
    """Changes of a code; what is left out stays. `expires_at` null: no expiry. `fields` replaces all fields."""

    expires_at: Moment | None = None
    fields: dict[ShortName, Text] = Field({}, max_length=FIELDS_MAX)

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give expires_at, fields or both")
        return self


class Code(StrictModel):
    """A code. `expires_at` null: no expiry. `profile_id`: the current profile, or the last one."""

    code: str
    program: ShortName
    state: State
    profile_id: str | None
    attached_at: datetime | None
    activated_at: datetime | None
    expires_at: datetime | None
    fields: dict[str, str]


class RemoteService(StrictModel):
    """The state of a program's remote service: its orders, its circuit breaker and its last error.

    After too many consecutive `failures` the circuit opens, and no request is sent until `rest_until`; half open, one
    request probes the service. `error` is the last error, at `error_at`; it stays after the service recovers.
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
    """A signing secret of the remote service. `ends_at` null: the current one."""

    secret: str
    made_at: datetime
    ends_at: datetime | None


class RemoteSecrets(StrictModel):
    """The valid secrets, newest first: each request has a signature by each of them."""

    program: ShortName
    secrets: list[RemoteSecret]
