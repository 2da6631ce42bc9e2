"""The events of Codewell as CloudEvents 1.0 data: what senders publish and what the issuer answers.

Models are frozen and ignore unknown fields, so that a sender can add some. The event's `id` and `type` travel
in the envelope (`ce_*` headers, or the members of a structured event), never in the data.
"""

import re
from typing import Annotated, Final, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

MESSAGE_RENDER: Final = "dev.codewell.message-render.v1"
SCENARIO_STEP: Final = "dev.codewell.scenario-step.v1"
CODES_ATTACHED: Final = "dev.codewell.codes-attached.v1"
CODES_REFUSED: Final = "dev.codewell.codes-refused.v1"
POOL_DEMAND: Final = "dev.codewell.pool-demand.v1"
PROGRAM_CHANGED: Final = "dev.codewell.program-changed.v1"
PROFILE_CHANGED: Final = "dev.codewell.profile-changed.v1"

VALUE_BYTES_MAX: Final = 256 * 1024
PROGRAMS_MAX: Final = 16
PROFILE_FIELDS_MAX: Final = 64

# No legitimate system has control characters in an id, and Postgres can't store NUL.
Id = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,256}$")]
SHORT_NAME_PATTERN: Final = r"^[A-Za-z0-9_]{1,64}$"
ShortName = Annotated[str, StringConstraints(pattern=SHORT_NAME_PATTERN)]
# A customer's fields in addition to the id, for readers of exports.
ProfileFields = Annotated[
    dict[ShortName, Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=2_000)]],
    Field(max_length=PROFILE_FIELDS_MAX),
]

PLACEHOLDER: Final = re.compile(r"\{loyalty\.([A-Za-z0-9_]{1,64})\.promocode\}")
# Placeholders with another word than promocode belong to other systems; anything else is a mistake in the template.
_PLACEHOLDER_START: Final = "{loyalty."
_PLACEHOLDER_OF_ANYBODY: Final = re.compile(r"\{loyalty\.[A-Za-z0-9_]{1,64}\.[a-z_]{1,64}\}")


class Event(BaseModel):
    """The data of one event."""

    model_config = ConfigDict(frozen=True, strict=True)


class MessageRender(Event):
    """A campaign sender is about to send one message and needs its codes."""

    profile_id: Id
    campaign_id: Id
    message_id: Id | None = None
    programs: Annotated[tuple[ShortName, ...], Field(max_length=PROGRAMS_MAX), FailFast()] = ()
    template: str | None = None
    preview: bool = False
    deadline: AwareDatetime | None = None

    @property
    def program_names(self) -> tuple[str, ...]:
        """Short names of the programs wanted, each once: `programs` first, then the template's own, in order."""
        if self.template is None:
            names = self.programs
            return names if len(names) == 1 else tuple(dict.fromkeys(names))
        return tuple(dict.fromkeys((*self.programs, *PLACEHOLDER.findall(self.template))))

    @model_validator(mode="after")
    def _names_its_programs(self) -> "MessageRender":
        if self.template is None:
            if not self.programs:
                raise ValueError("programs or template must name at least one program")
            return self
        if self.template.count(_PLACEHOLDER_START) != len(_PLACEHOLDER_OF_ANYBODY.findall(self.template)):
            raise ValueError("template has a broken placeholder: write {loyalty.NAME.promocode} with a short name")
        if not 1 <= len(self.program_names) <= PROGRAMS_MAX:
            raise ValueError(f"programs and template must name 1 to {PROGRAMS_MAX} programs together")
        return self


class ScenarioStep(Event):
    """A customer's journey reached a promo-code step."""

    profile_id: Id
    scenario_id: Id
    step_id: Id
    program: ShortName
    preview: bool = False
    deadline: AwareDatetime | None = None

    @property
    def program_names(self) -> tuple[str, ...]:
        """The one program wanted, in the form that both kinds of request share."""
        return (self.program,)


class AttachedCode(Event):
    """One code given to the profile; `expires_at` is null where it lives for ever."""

    program: ShortName
    code: str
    expires_at: AwareDatetime | None
    fields: dict[str, JsonValue]


class CodesAttached(Event):
    """The answer that gives codes, in the order of the request's programs."""

    request_id: str
    profile_id: Id
    outcome: Literal["attached"]
    codes: tuple[AttachedCode, ...]
    rendered: str | None = None
    preview: Literal[True] | None = None


Reason = Literal[
    "program_unknown",
    "program_inactive",
    "program_not_started",
    "program_ended",
    "pool_empty",
    "maximum_reached",
    "remote_failed",
    "deadline_passed",
]


# The reason why a record is a dead letter.
DeadReason = Literal[
    "not_json", "invalid_event", "unknown_type", "too_large", "reply_topic_refused", "undecidable", "retries_exhausted"
]


class Refusal(Event):
    """Why one program gave no code; `detail` is a sentence for a person."""

    program: ShortName
    reason: Reason
    detail: str


class CodesRefused(Event):
    """The answer that gives none: nothing was attached for any of the request's programs."""

    request_id: str
    profile_id: Id
    outcome: Literal["refused"]
    refusals: tuple[Refusal, ...]
    preview: Literal[True] | None = None


class PoolDemand(Event):
    """An issuer saw a pool under its mark: `pooled` codes were left."""

    program_id: int
    pooled: int


class ProgramChanged(Event):
    """A program was made or changed; the database has what it is now."""

    program_id: int
    name: ShortName


class ProfileChanged(Event):
    """All fields of a profile; those that are left out are gone. A record without a value forgets the profile."""

    profile_id: Id
    fields: ProfileFields


class CloudEvent(BaseModel):
    """The envelope in structured mode. In binary mode the same attributes are `ce_*` headers."""

    specversion: Literal["1.0"]
    id: str
    source: Annotated[str, StringConstraints(min_length=1)]
    type: Annotated[str, StringConstraints(min_length=1)]
    data: JsonValue = None
    data_base64: str | None = None


DATA_OF_TYPE: Final[dict[str, type[Event]]] = {
    MESSAGE_RENDER: MessageRender,
    SCENARIO_STEP: ScenarioStep,
    CODES_ATTACHED: CodesAttached,
    CODES_REFUSED: CodesRefused,
    POOL_DEMAND: PoolDemand,
    PROGRAM_CHANGED: ProgramChanged,
    PROFILE_CHANGED: ProfileChanged,
}
