"""A program's settings as JSON: what people write to create one and read when they look at one."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from schemas.events import ShortName

POOL_MAX_DEFAULT: Final = 100_000
CODES_MAX_LIMIT: Final = 2**62
REQUEST_MAX_LIMIT: Final = 100_000
"""The most codes that one request asks a remote service for."""
TTL_MAX: Final = timedelta(days=36_500)


def _no_number(given: object) -> object:
    """Refuse a number: pydantic would take it for seconds since 1970, which the JSON Schema does not say."""
    if isinstance(given, int | float):
        raise ValueError("must be a text such as 2027-01-31T12:00:00Z")  # noqa: TRY004  pydantic wants a ValueError
    return given


# Time zones and languages differ at the calendar's ends, and a code may expire after such a moment: leave room.
Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_no_number),
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), le=datetime(9000, 1, 1, tzinfo=UTC)),
]
FIELDS_MAX: Final = 64
GROUPS_MAX: Final = 64
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=2_000)]


Count = Annotated[int, Field(ge=1, le=CODES_MAX_LIMIT)]
Lifetime = Annotated[timedelta, Field(gt=timedelta(0), le=TTL_MAX)]


# A code's state in its life cycle.
State = Literal["pooled", "attached", "activated", "expired", "deleted"]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TemplateSource(_Settings):
    """Codes are minted from a template such as `{string 4}-{number 4}-{upstring 4}`.

    `{safe 12}` uses capitals and digits without look-alikes and without vowels.
    """

    kind: Literal["template"]
    template: str


def _plain_url(given: str) -> str:
    """Requests are signed, so a URL needs no password, which would be shown with it."""
    try:
        parts = urlsplit(given)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("must be like https://codes.example.com/orders") from error
    if not host:
        raise ValueError("must name a host, as https://codes.example.com/orders does")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must contain no user and no password: requests are signed instead")
    if "#" in given:
        raise ValueError("must contain no fragment (#), which is never sent")
    return given


class RemoteSource(_Settings):
    """Codes are ordered from a remote service, at most `request_max` per request to its URL."""

    kind: Literal["remote"]
    url: Annotated[
        str,
        StringConstraints(pattern=r"^https?://[^\s\x00-\x1f\x7f]+$", max_length=2_000),
        AfterValidator(_plain_url),
    ]
    request_max: Annotated[int, Field(ge=1, le=REQUEST_MAX_LIMIT)] = 500


class ImportSource(_Settings):
    """All codes are imported or attached manually."""

    kind: Literal["import"]


Source = Annotated[TemplateSource | RemoteSource | ImportSource, Field(discriminator="kind")]


class CustomField(_Settings):
    """A field given when codes are generated; `save` stores it with the codes and adds it to answers."""

    name: ShortName
    required: bool = False
    save: bool = True


class ProgramSettings(_Settings):
    """The settings of a program. `ttl` is a duration such as `P30D`; null: no limit."""

    name: ShortName
    title: Text = ""
    description: Text = ""
    groups: Annotated[tuple[ShortName, ...], Field(max_length=GROUPS_MAX)] = ()
    active: bool = True
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    source: Source
    scenario_can_create: bool = False
    campaign_can_create: bool = False
    shared: bool = False
    auto_link: bool = False
    codes_max: Count
    pool_max: Count
    ttl: Lifetime | None = None
    ttl_from: Literal["creation", "attachment"] = "creation"
    fields: Annotated[tuple[CustomField, ...], Field(max_length=FIELDS_MAX)] = ()
    reuse: Literal["request", "profile", "campaign", "step"] = "request"
    allow_guessable: bool = False

    @model_validator(mode="before")
    @classmethod
    def _pool_defaults_to_maximum(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("pool_max") is None:
            codes_max = given.get("codes_max")
            if isinstance(codes_max, int):
                return {**given, "pool_max": min(codes_max, POOL_MAX_DEFAULT)}
        return given

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise ValueError("valid_from must be before valid_until")
        if self.pool_max > self.codes_max:
            raise ValueError("pool_max must not be more than codes_max")
        return self


class ProgramChanges(_Settings):
    """Changes of a program; what is left out stays, and null resets a setting to its default."""

    title: Text | None = None
    description: Text | None = None
    groups: Annotated[tuple[ShortName, ...], Field(max_length=GROUPS_MAX)] | None = None
    active: bool | None = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    source: Source | None = None
    scenario_can_create: bool | None = None
    campaign_can_create: bool | None = None
    shared: bool | None = None
    auto_link: bool | None = None
    codes_max: Count | None = None
    pool_max: Count | None = None
    ttl: Lifetime | None = None
    ttl_from: Literal["creation", "attachment"] | None = None
    fields: Annotated[tuple[CustomField, ...], Field(max_length=FIELDS_MAX)] | None = None
    reuse: Literal["request", "profile", "campaign", "step"] | None = None
    allow_guessable: bool | None = None


class Program(ProgramSettings):
    """A program with its id."""

    id: int


class Stock(_Settings):
    """A program's codes by state: made + imported = pooled + attached + expired + deleted, always.

    `attached` counts all attached codes that are not deleted, also activated and expired ones; `activated` is a part of
    it. `expired` counts codes that expired in the pool. `on_order` counts codes that a remote service has not delivered
    yet; they are in no other count, but count against the maximum.
    """

    program: ShortName
    made: int
    imported: int
    pooled: int
    attached: int
    activated: int
    expired: int
    deleted: int
    on_order: int
    codes_max: int
    pool_max: int
