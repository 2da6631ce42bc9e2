"""The events of Codewell as CloudEvents 1.0 data: what senders publish and what the issuer answers.

Models are frozen and ignore unknown fields, so that a sender can add some. The event's `id` and `type` travel
in the envelope (`ce_*` headers, or the members of a structured event), never in the data.
"""

import re
from typing import Annotated, Final, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from schemas import lifecycle, patterns
from schemas.alerts import AlertCleared, AlertRaised
from schemas.event_parts import Event, Id, ShortName
from schemas.reports import CodesReturned, OrderChanged, SendDelivered, SendFailed

__all__ = ["Event", "Id", "ShortName"]

MESSAGE_RENDER: Final = "dev.codewell.message-render.v1"
SCENARIO_STEP: Final = "dev.codewell.scenario-step.v1"
CODES_ATTACHED: Final = "dev.codewell.codes-attached.v1"
CODES_REFUSED: Final = "dev.codewell.codes-refused.v1"
POOL_DEMAND: Final = "dev.codewell.pool-demand.v1"
PROGRAM_CHANGED: Final = "dev.codewell.program-changed.v1"
PROFILE_CHANGED: Final = "dev.codewell.profile-changed.v1"
SEND_FAILED: Final = "dev.codewell.send-failed.v1"
SEND_DELIVERED: Final = "dev.codewell.send-delivered.v1"
CODES_RETURNED: Final = "dev.codewell.codes-returned.v1"
ORDER_CHANGED: Final = "dev.codewell.order-changed.v1"
RESERVATION_CHANGED: Final = "dev.codewell.reservation-changed.v1"
ALERT_RAISED: Final = "dev.codewell.alert-raised.v1"
ALERT_CLEARED: Final = "dev.codewell.alert-cleared.v1"

VALUE_BYTES_MAX: Final = 256 * 1024
PROGRAMS_MAX: Final = 16
PROFILE_FIELDS_MAX: Final = 64
FALLBACKS_MAX: Final = 3
"""The most fallbacks of a program."""

# A customer's fields in addition to the id, for readers of exports.
ProfileFields = Annotated[
    dict[ShortName, Annotated[str, StringConstraints(pattern=patterns.TEXT, max_length=2_000)]],
    Field(max_length=PROFILE_FIELDS_MAX),
]

PLACEHOLDER: Final = re.compile(rf"\{{loyalty\.({patterns.NAME})\.promocode\}}")
# Placeholders with another word than promocode belong to other systems; anything else is a mistake in the template.
_PLACEHOLDER_START: Final = "{loyalty."
_PLACEHOLDER_OF_ANYBODY: Final = re.compile(rf"\{{loyalty\.{patterns.NAME}\.[a-z_]{{1,64}}\}}")


class MessageRender(Event):
    """A campaign sender is about to send one message and needs its codes."""

    profile_id: Id
    campaign_id: Id
    message_id: Id | None = None
    # Serializers of Java and .NET write null for what is not set.
    programs: Annotated[tuple[ShortName, ...], Field(max_length=PROGRAMS_MAX, fail_fast=True)] | None = ()
    template: str | None = None
    preview: bool | None = False
    deadline: AwareDatetime | None = None

    @property
    def program_names(self) -> tuple[str, ...]:
        """Short names of the programs wanted, each once: `programs` first, then the template's own, in order."""
        if self.template is None:
            names = self.programs or ()
            return names if len(names) == 1 else tuple(dict.fromkeys(names))
        return tuple(dict.fromkeys((*(self.programs or ()), *PLACEHOLDER.findall(self.template))))

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
    preview: bool | None = False
    deadline: AwareDatetime | None = None

    @property
    def program_names(self) -> tuple[str, ...]:
        """The one program wanted, in the form that both kinds of request share."""
        return (self.program,)


class AttachedCode(Event):
    """One code given to the profile; `expires_at` is null where it lives for ever.

    `from` and `fallback` are there for a code of one of the program's fallbacks only: the program that the code belongs
    to, and its number in the list.
    """

    program: ShortName
    code: str
    expires_at: AwareDatetime | None
    fields: dict[str, JsonValue]
    from_: Annotated[ShortName | None, Field(alias="from")] = None
    fallback: Annotated[int, Field(ge=1, le=FALLBACKS_MAX)] | None = None


class CodesAttached(Event):
    """The answer that gives codes, in the order of the request's programs."""

    request_id: str
    profile_id: Id
    outcome: Literal["attached"]
    codes: tuple[AttachedCode, ...]
    rendered: str | None = None
    unresolved: tuple[str, ...] | None = None
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
    "request_too_old",
]
# Beside those of decisions: the request became a dead letter.
AnsweredReason = Literal[Reason, "invalid_request"]


# The reason why a record is a dead letter.
DeadReason = Literal[
    "not_json", "invalid_event", "unknown_type", "too_large", "reply_topic_refused", "undecidable", "retries_exhausted"
]


class Refusal(Event):
    """Why one program gave no code; `detail` is a sentence for a person. A request that is invalid names no program."""

    program: ShortName | None
    reason: AnsweredReason
    detail: str


class CodesRefused(Event):
    """The answer that gives none: nothing was attached for any of the request's programs.

    Both ids are null where a request is so invalid that they cannot be read.
    """

    request_id: str | None
    profile_id: Id | None
    outcome: Literal["refused"]
    refusals: tuple[Refusal, ...]
    preview: Literal[True] | None = None


class PoolDemand(Event):
    """An issuer, a console or a command left a pool below its mark: `pooled` codes were left."""

    program_id: int
    pooled: int


class ProgramChanged(Event):
    """A program was made or changed; the database has what it is now."""

    program_id: int
    name: ShortName


class ReservationChanged(Event):
    """A reservation has reached a state: it has its codes, 80 % of them are given, none is left, or it ended.

    `reserved`: codes that were set aside; `used`: how many of them its campaign or scenario got. `ended_by`, where it
    is released: a person, its end, or that of its program.
    """

    reservation_id: int
    program: ShortName
    campaign_id: Id | None
    scenario_id: Id | None
    state: Literal["ready", "nearly_used", "used_up", "released"]
    count: int
    reserved: int
    used: int
    ended_by: Literal["release", "until", "program_ended", "program_removed"] | None
    at: AwareDatetime


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
    # The extensions that are read. What is no text is ignored, as all other attributes are.
    partitionkey: JsonValue = None
    expirytime: JsonValue = None
    correlationid: JsonValue = None
    causationid: JsonValue = None


def schema_uri(name: str) -> str:
    """The URI of a JSON Schema in `schemas/json/`, without the file's ending: its `$id`, and `dataschema` of events."""
    return f"urn:codewell:schema:{name}"


DATA_OF_TYPE: Final[dict[str, type[Event]]] = {
    MESSAGE_RENDER: MessageRender,
    SCENARIO_STEP: ScenarioStep,
    CODES_ATTACHED: CodesAttached,
    CODES_REFUSED: CodesRefused,
    POOL_DEMAND: PoolDemand,
    PROGRAM_CHANGED: ProgramChanged,
    PROFILE_CHANGED: ProfileChanged,
    SEND_FAILED: SendFailed,
    SEND_DELIVERED: SendDelivered,
    CODES_RETURNED: CodesReturned,
    ORDER_CHANGED: OrderChanged,
    RESERVATION_CHANGED: ReservationChanged,
    ALERT_RAISED: AlertRaised,
    ALERT_CLEARED: AlertCleared,
    **lifecycle.DATA_OF_TYPE,
}
