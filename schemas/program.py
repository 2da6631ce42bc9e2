"""A program's settings as JSON: what people write to create one and read when they look at one."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    WithJsonSchema,
    computed_field,
    model_validator,
)

from schemas import patterns
from schemas.alert_rules import DEFAULT_RULES, AlertRules, contradictions_of
from schemas.amounts import TTL_MAX, Count, Lifetime, refuse_numbers
from schemas.events import FALLBACKS_MAX, ShortName
from schemas.matching import Match
from schemas.moments import EndMoment, StartMoment, in_range
from schemas.service_url import ServiceUrl
from schemas.strict_model import Contradictions
from schemas.uses import HolderOnly, Refund, RefundSetting, Uses, UsesSetting, with_default_uses

POOL_MAX_DEFAULT: Final = 100_000
REQUEST_MAX_LIMIT: Final = 100_000
"""The most codes that one request asks a remote service for."""


# A time with its zone, as programs write it.
Moment = Annotated[
    AwareDatetime,
    refuse_numbers("2027-01-31T12:00:00Z"),
    AfterValidator(in_range),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation"),
]
FIELDS_MAX: Final = 64
GROUPS_MAX: Final = 64
Text = Annotated[str, StringConstraints(pattern=patterns.TEXT, max_length=2_000)]
# True or false; 0, 1 and words are refused, as true and texts are for numbers.
Switch = Annotated[bool, Strict()]
Retention = Annotated[timedelta, Field(ge=timedelta(days=1), le=TTL_MAX), refuse_numbers("P365D")]
Reissues = Annotated[int, Strict(), Field(ge=0, le=100)]

# The reasons against a program for which its fallbacks are asked.
FallbackReason = Literal["pool_empty", "maximum_reached", "remote_failed"]
FALLBACK_REASONS: Final[tuple[FallbackReason, ...]] = get_args(FallbackReason)


State = Literal["pooled", "attached", "held", "activated", "expired", "deleted"]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TemplateSource(_Settings):
    """Codes are minted from a template such as `{string 4}-{number 4}-{upstring 4}`.

    `{safe 12}` uses capitals and digits without look-alikes and without vowels.
    """

    kind: Literal["template"]
    template: str


class RemoteSource(_Settings):
    """Codes are ordered from a remote service, at most `request_max` per request to its URL."""

    kind: Literal["remote"]
    url: ServiceUrl
    request_max: Annotated[int, Field(ge=1, le=REQUEST_MAX_LIMIT)] = 500


class ImportSource(_Settings):
    """All codes are imported or attached manually."""

    kind: Literal["import"]


Source = Annotated[TemplateSource | RemoteSource | ImportSource, Field(discriminator="kind")]


class CustomField(_Settings):
    """A field given when codes are generated; `save` stores it with the codes and adds it to answers."""

    name: ShortName
    required: Switch = False
    save: Switch = True


class FallbackLink(_Settings):
    """A program whose code is given where the programs before it give none."""

    program: ShortName


Fallback = Annotated[
    tuple[FallbackLink, ...],
    Field(max_length=FALLBACKS_MAX, description="The programs whose codes are given instead, in their order."),
]
FallbackOn = Annotated[
    tuple[FallbackReason, ...],
    Field(min_length=1, max_length=len(FALLBACK_REASONS), description="The reasons for which a fallback is asked."),
]


def _pool_max_may_be_left_out(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Say in the schema of what people write that `pool_max` has a default, which depends on `codes_max`."""
    if model is ProgramSettings:
        schema["required"].remove("pool_max")


class ProgramSettings(_Settings):
    """A program's settings. `ttl`: a duration as `P30D`, null for no limit. `reissues_max`: in a row, 0 for never."""

    model_config = ConfigDict(json_schema_extra=_pool_max_may_be_left_out)

    name: ShortName
    title: Text = ""
    description: Text = ""
    groups: Annotated[tuple[ShortName, ...], Field(max_length=GROUPS_MAX)] = ()
    active: Switch = True
    valid_from: StartMoment | None = None
    valid_until: EndMoment | None = None
    source: Source
    scenario_can_create: Switch = False
    campaign_can_create: Switch = False
    shared: Switch = False
    auto_link: Switch = False
    codes_max: Count
    pool_max: Count
    ttl: Lifetime | None = None
    ttl_from: Literal["creation", "attachment"] = "creation"
    min_life_at_attach: Annotated[
        Lifetime | None, Field(description="A pooled code with less life left than this is not attached.")
    ] = None
    fields: Annotated[tuple[CustomField, ...], Field(max_length=FIELDS_MAX)] = ()
    reuse: Literal["request", "profile", "campaign", "step"] = "request"
    match: Match = "exact"
    returns: Literal["reuse", "void", "keep"] = "reuse"
    return_after: Lifetime = timedelta(days=3)
    reissues_max: Reissues = 1
    retention: Annotated[
        Retention | None, Field(description="How long after a code's expiry its answer stays, where answers leave.")
    ] = None
    allow_guessable: Switch = False
    uses: UsesSetting = Uses()
    holder_only: HolderOnly = False
    refund: RefundSetting = "give_back"
    fallback: Fallback = ()
    fallback_on: FallbackOn = FALLBACK_REASONS
    fallback_after: Annotated[
        Lifetime | None,
        Field(description="How long a request waits for a remote service before the next fallback is asked."),
    ] = None
    alerts: AlertRules = DEFAULT_RULES

    @model_validator(mode="before")
    @classmethod
    def _uses_default_by_sharing(cls, given: object) -> object:
        return with_default_uses(given)

    @model_validator(mode="before")
    @classmethod
    def _pool_defaults_to_maximum(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("pool_max") is None:
            codes_max = given.get("codes_max")
            # A maximum that is invalid is one mistake, not two.
            pool_max = min(codes_max, POOL_MAX_DEFAULT) if isinstance(codes_max, int) and codes_max > 0 else 1
            return {**given, "pool_max": pool_max}
        return given

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        found = []
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            found.append(("valid_until", "valid_from must be before valid_until"))
        if self.pool_max > self.codes_max:
            found.append(("pool_max", "pool_max must not be more than codes_max"))
        if self.ttl and self.min_life_at_attach and self.min_life_at_attach >= self.ttl:
            words = "min_life_at_attach must be shorter than ttl, or no code could be attached"
            found.append(("min_life_at_attach", words))
        found += self._contradictions_of_fallbacks() + contradictions_of(self.alerts)
        if found:
            raise Contradictions(found)
        return self

    def _contradictions_of_fallbacks(self) -> list[tuple[str, str]]:
        names = [link.program for link in self.fallback]
        found = []
        if self.name in names:
            found.append(("fallback", "fallback must name other programs than this one"))
        if len(set(names)) < len(names):
            found.append(("fallback", "fallback must name each program once"))
        if len(set(self.fallback_on)) < len(self.fallback_on):
            found.append(("fallback_on", "fallback_on must name each reason once"))
        if self.fallback_after and not names:
            found.append(("fallback_after", "fallback_after needs a fallback"))
        return found


class ProgramChanges(_Settings):
    """Changes of a program; what is left out stays, and null resets a setting to its default."""

    title: Text | None = None
    description: Text | None = None
    groups: Annotated[tuple[ShortName, ...], Field(max_length=GROUPS_MAX)] | None = None
    active: Switch | None = None
    valid_from: StartMoment | None = None
    valid_until: EndMoment | None = None
    source: Source | None = None
    scenario_can_create: Switch | None = None
    campaign_can_create: Switch | None = None
    shared: Switch | None = None
    auto_link: Switch | None = None
    codes_max: Count | None = None
    pool_max: Count | None = None
    ttl: Lifetime | None = None
    ttl_from: Literal["creation", "attachment"] | None = None
    min_life_at_attach: Lifetime | None = None
    fields: Annotated[tuple[CustomField, ...], Field(max_length=FIELDS_MAX)] | None = None
    reuse: Literal["request", "profile", "campaign", "step"] | None = None
    match: Match | None = None
    returns: Literal["reuse", "void", "keep"] | None = None
    return_after: Lifetime | None = None
    reissues_max: Reissues | None = None
    retention: Retention | None = None
    allow_guessable: Switch | None = None
    uses: Uses | None = None
    holder_only: Switch | None = None
    refund: Refund | None = None
    fallback: Fallback | None = None
    fallback_on: FallbackOn | None = None
    fallback_after: Lifetime | None = None
    alerts: AlertRules | None = None


class Program(ProgramSettings):
    """A program with its id. `removed_at` null: it is not removed."""

    id: int
    removed_at: datetime | None = None

    @computed_field(description="The text that stands for the code in a message template.")  # type: ignore[prop-decorator]
    @property
    def placeholder(self) -> str:
        """The text that stands for the code in a message template."""
        return f"{{loyalty.{self.name}.promocode}}"

    @property
    def settings(self) -> dict[str, object]:
        """The settings alone, by name."""
        return {name: getattr(self, name) for name in ProgramSettings.model_fields}


class ProgramAnswer(Program):
    """A program that was created or changed. `notes`: what to know about these settings, as sentences for people."""

    notes: list[str]


class Stock(_Settings):
    """A program's codes by state: made + imported = pooled + attached + expired + deleted, always.

    `attached` counts all attached codes that are not deleted, also activated and expired ones; `activated` is a part of
    it, `reserved` of `pooled`. `expired`: in the pool. `on_order`: not delivered yet, in no other count.
    """

    program: ShortName
    made: int
    imported: int
    pooled: int
    reserved: int
    attached: int
    activated: int
    expired: int
    deleted: int
    on_order: int
    codes_max: int
    pool_max: int
