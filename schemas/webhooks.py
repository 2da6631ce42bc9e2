"""Webhooks as the HTTP API takes and answers them: endpoints, deliveries, and the body that a receiver gets."""

from datetime import datetime
from typing import Annotated, Final, Literal, get_args

from pydantic import Field, JsonValue, TypeAdapter, ValidationError, model_validator

from schemas import patterns
from schemas.email_address import EmailAddress
from schemas.events import ShortName
from schemas.moments import StartMoment
from schemas.service_url import ServiceUrl
from schemas.strict_model import Contradictions, StrictModel

EndpointKind = Literal["webhook", "slack", "email"]
AlertEventType = Literal["alert-raised", "alert-cleared"]
EventType = Literal[
    "alert-raised", "alert-cleared", "code-activated", "code-attached", "code-changed", "code-deactivated",
    "code-deleted", "code-held", "code-reissued", "code-released", "code-restored", "code-returned", "codes-changed",
    "codes-deleted", "codes-expired", "codes-imported", "codes-made", "codes-moved", "codes-restored",
    "codes-withdrawn",
]  # fmt: skip
DeliveryState = Literal["waiting", "delivered", "failed"]

TEST_TYPE: Final = "dev.codewell.webhook-test.v1"
ALERT_TYPES: Final[tuple[AlertEventType, ...]] = get_args(AlertEventType)
EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)

_TARGETS: Final[dict[str, TypeAdapter[str]]] = {
    "webhook": TypeAdapter(ServiceUrl),
    "slack": TypeAdapter(ServiceUrl),
    "email": TypeAdapter(EmailAddress),
}
Target = Annotated[
    str, Field(min_length=1, max_length=2_000, examples=["https://shop.example.com/hooks"])
]  # fmt: skip
Description = Annotated[str, Field(max_length=200, pattern=patterns.LINE)]
Types = Annotated[tuple[EventType, ...], Field(min_length=1, max_length=len(EVENT_TYPES))]
Groups = Annotated[tuple[ShortName, ...], Field(max_length=100)]


def check_target(kind: EndpointKind, target: str) -> str:
    """The target if it fits the kind. Raises ValueError."""
    try:
        return _TARGETS[kind].validate_python(target)
    except ValidationError as error:
        example = "one e-mail address, such as ops@example.com"
        if kind != "email":
            example = "a URL, such as https://shop.example.com/hooks"
        cause = error.errors()[0].get("ctx", {}).get("error")
        raise ValueError(str(cause or f"must be {example}")) from error


def check_types(kind: EndpointKind, types: tuple[EventType, ...]) -> None:
    """Raise ValueError if messages for people would get events of single codes."""
    if kind != "webhook" and not set(types) <= set(ALERT_TYPES):
        raise ValueError(f"an endpoint of kind {kind} takes only {' and '.join(ALERT_TYPES)}")


class NewWebhook(StrictModel):
    """An endpoint to make.

    `target`: the URL to post to, or of kind `email` the address. `types`: the events that it gets. `groups`: only
    events about programs of these access groups; empty: about all programs.
    """

    kind: EndpointKind = "webhook"
    target: Target
    description: Description = ""
    types: Types = ALERT_TYPES
    groups: Groups = ()

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "NewWebhook":
        found = []
        for field, check in (("target", check_target), ("types", check_types)):
            try:
                check(self.kind, getattr(self, field))
            except ValueError as error:
                found.append((field, str(error)))
        if found:
            raise Contradictions(found)
        return self


class WebhookChange(StrictModel):
    """What to change; left out: stays. `active` true also ends a pause after failures."""

    target: Target | None = None
    description: Description | None = None
    types: Types | None = None
    groups: Groups | None = None
    active: bool | None = None


class Webhook(StrictModel):
    """An endpoint. `target` of kind `slack` shows only the beginning of the URL, which is a secret as a whole.

    `inactive_reason`: `person`, or `gone` when the receiver answered 410. `failures`: failed attempts in a row;
    `rest_until`: nothing is sent before, because of them or because the receiver asked for it. `waiting`: deliveries
    that are still to be made.
    """

    id: int
    kind: EndpointKind
    target: str
    description: str
    types: list[EventType]
    groups: list[str]
    active: bool
    inactive_reason: Literal["person", "gone"] | None
    failures: int
    rest_until: datetime | None
    waiting: int
    delivered_at: datetime | None
    created_at: datetime


class WebhookSecret(StrictModel):
    """The secret that signs from now on; answered once. Null: the request was repeated, or the kind is not signed.

    `previous_end_at`: until then the secrets before it sign too; null: there are none.
    """

    secret: str | None
    previous_end_at: datetime | None


class CreatedWebhook(Webhook):
    """A new endpoint with its secret, which is answered once: rotate it if it is lost.

    Null where the request was repeated under its idempotency key, and for kinds that are not signed.
    """

    secret: str | None


class WebhookTestResult(StrictModel):
    """What came of a test message. `status`: of HTTP or SMTP; null: no answer. `answer`: its first characters."""

    accepted: bool
    status: int | None
    detail: str
    answer: str | None
    took_s: float


class WebhookDelivery(StrictModel):
    """One event on its way to one endpoint.

    `event_id`: the `webhook-id` of each attempt. `type`: the event's. `attempts`: so far. `next_attempt_at`: null once
    it is delivered or has failed. `status` and `error`: of the last attempt.
    """

    id: int
    event_id: str
    type: str
    program: str | None
    occurred_at: datetime
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    ended_at: datetime | None
    status: int | None
    error: str | None


class WebhookAttempt(StrictModel):
    """One attempt. `status`: of HTTP or SMTP; null: no answer. `answer`: its first characters, without event data."""

    number: int
    ended_at: datetime
    status: int | None
    took_s: float
    error: str | None
    answer: str | None


class WebhookDeliveryDetails(WebhookDelivery):
    """A delivery with what is sent and its attempts, oldest first, at most the last 50."""

    body: dict[str, JsonValue]
    tried: list[WebhookAttempt]


class ReplayWebhook(StrictModel):
    """What to send again: events since `since` that the endpoint subscribes to now.

    `delivered` false: those only that it did not get, also events from while it was not active.
    """

    since: StartMoment
    delivered: bool = False


class ReplayedWebhook(StrictModel):
    """How many deliveries wait now because of the replay."""

    deliveries: int
