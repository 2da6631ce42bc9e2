"""What the HTTP API takes and answers beside programs and their stock."""

from datetime import datetime
from typing import Annotated, Final, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas import patterns
from schemas.amounts import CODES_MAX_LIMIT
from schemas.events import FALLBACKS_MAX, Id, ShortName
from schemas.moments import EndMoment
from schemas.program import FIELDS_MAX, State, Stock, Text
from schemas.reservations import ReservationFigures
from schemas.strict_model import StrictModel

T = TypeVar("T")

PROFILES_MAX: Final = 100_000


FIELD_PROBLEMS_MAX: Final = 100
"""The most invalid fields that one problem names."""


class FieldProblem(BaseModel):
    """One invalid field of a request: of its body, or a parameter of its path, query or header."""

    model_config = ConfigDict(frozen=True)

    pointer: Annotated[
        str | None, Field(description="The field of the body, as a JSON Pointer in a URI fragment (RFC 6901).")
    ] = None
    parameter: Annotated[str | None, Field(description="The name of the parameter.")] = None
    detail: Annotated[str, Field(description="What is wrong, for people, as words that follow the field's name.")]


class Problem(BaseModel):
    """An error (RFC 9457). Branch on `reason`; `detail` says to people what is wrong and what to do.

    docs/problems.md lists the reasons; later versions may add some. Where fields of the request are invalid, `errors`
    names each of them.
    """

    model_config = ConfigDict(frozen=True)

    type: Annotated[str, Field(description="A stable URI path, which the API serves as a page about the reason.")]
    title: str
    status: int
    detail: str
    reason: Annotated[str, Field(description="One word that names the reason; it never changes.")]
    errors: Annotated[
        list[FieldProblem], Field(max_length=FIELD_PROBLEMS_MAX, description="The invalid fields, where there are any.")
    ] = []
    figures: Annotated[
        ReservationFigures | None, Field(description="Of `reservation_short`: how many codes could be set aside.")
    ] = None


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


CallContext = Annotated[
    str,
    StringConstraints(pattern=patterns.ORDER_ID),
    Field(
        description="The caller's own note of where this was, such as the name of a till or of a visit. Look-ups of "
        "unknown codes are limited for each context by itself, and for the token.",
        examples=["till-3"],
    ),
]


class Reissue(StrictModel):
    """The code to replace, or the profile whose one living code of the program is meant; and why.

    `expires`: the new code expires when the old one does (`same`), or as a code that is attached now (`fresh`).
    """

    code: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None
    profile_id: Id | None = None
    reason: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=patterns.TEXT)
    ]
    expires: Literal["same", "fresh"] = "same"
    context: CallContext | None = None

    @model_validator(mode="after")
    def _names_one_code(self) -> Self:
        if (self.code is None) == (self.profile_id is None):
            raise ValueError("give either code or profile_id")
        return self


class CodeOnly(StrictModel):
    """A code of the program. Spaces around it are ignored, unless there is a code with them."""

    code: Annotated[str, Field(min_length=1, max_length=1_000)]


class CodeChanges(StrictModel):
    """Changes of a code; what is left out stays. `expires_at` null: no expiry. `fields` replaces all fields."""

    expires_at: EndMoment | None = None
    fields: dict[ShortName, Text] = Field({}, max_length=FIELDS_MAX)

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give expires_at, fields or both")
        return self


class Code(StrictModel):
    """A code. `expires_at` null: no expiry. `profile_id`: the current profile, or the last one.

    `created_at`: when it was made or imported, to the minute. `place`: a reference for links, which tells nothing about
    the text. Both are null in the answer of `codes:attach`. `uses`: how often it was used, without what was taken
    back; `activated_at`: when it was used up. `held_until`: when the last hold by an order ends; null: none holds it.
    """

    code: str
    program: ShortName
    state: State
    profile_id: str | None
    attached_at: datetime | None
    activated_at: datetime | None
    expires_at: datetime | None
    created_at: datetime | None
    place: str | None
    fields: dict[str, str]
    uses: int
    held_until: datetime | None


class ReissuedCode(Code):
    """The code that a profile got in place of another. `replaces`: the place of the other, which is deleted.

    `reissues_left`: how often in a row it may be reissued in turn.
    """

    replaces: str
    reissues_left: int


class AttachAnswer(Code):
    """The code that a profile was given.

    `from` and `fallback` are null unless a fallback gave it: the program that the code belongs to, and its number in
    the list of `program`. Redeem such a code as one of `from`.
    """

    from_: Annotated[ShortName | None, Field(alias="from")] = None
    fallback: Annotated[int, Field(ge=1, le=FALLBACKS_MAX)] | None = None


class CountedCodes(Page[Code]):
    """A page of codes. `total`, of the first page: how many there are, where counters say it."""

    total: int | None = None


class Generated(Stock):
    """The stock after codes were generated, and the first of them.

    `batch` requests all of them from `GET /programs/{name}/codes`, and `next_cursor` with it those after `codes`. Both
    are null where a remote service delivers the codes later.
    """

    batch: str | None
    codes: list[Code]
    next_cursor: str | None


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


class RotatedSecrets(StrictModel):
    """The valid secrets after a rotation, newest first.

    Null where the request was repeated under its idempotency key, as no answer with a secret is stored: read them.
    """

    program: ShortName
    secrets: list[RemoteSecret] | None
