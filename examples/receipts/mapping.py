"""Receipts of Amazon SES, SendGrid and Twilio as Codewell's events: three functions to copy.

Each takes one receipt as the provider sends it, and returns the type and the data of an event for the topic `delivery`,
or None for a receipt that says nothing about the code. The request id and the profile id are where your sender put
them: in message tags (SES), custom arguments (SendGrid) or the query of the status callback (Twilio).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Event = tuple[str, dict[str, Any]]

FAILED = "dev.codewell.send-failed.v1"
DELIVERED = "dev.codewell.send-delivered.v1"


def from_ses(event: Mapping[str, Any]) -> Event | None:  # noqa: PLR0911  one for each kind
    """An event of SES event publishing: the JSON in the message of its SNS topic."""
    tags = event["mail"]["tags"]
    ids = {"request_id": tags["request_id"][0], "profile_id": tags["profile_id"][0]}
    match event["eventType"]:
        case "Rendering Failure":
            # SES had the template, and sent nothing.
            return _failed(ids, "rendering", at=event["mail"]["timestamp"], stage="before_handoff")
        case "Reject":
            return _failed(ids, "rejected", at=event["mail"]["timestamp"], stage="before_handoff")
        case "Bounce":
            bounce = event["bounce"]
            if bounce["bounceSubType"] in {"Suppressed", "OnAccountSuppressionList"}:
                return _failed(ids, "suppressed", at=bounce["timestamp"], stage="before_handoff")
            # An undetermined bounce may be followed by another attempt.
            return _failed(ids, "bounced", at=bounce["timestamp"], permanent=bounce["bounceType"] == "Permanent")
        case "DeliveryDelay":
            return _failed(ids, "undeliverable", at=event["deliveryDelay"]["timestamp"], permanent=False)
        case "Delivery":
            return _delivered(ids, "delivered", event["delivery"]["timestamp"])
        case "Open":
            return _delivered(ids, "opened", event["open"]["timestamp"])
        case "Click":
            return _delivered(ids, "clicked", event["click"]["timestamp"])
        case _:
            return None


def from_sendgrid(event: Mapping[str, Any]) -> Event | None:  # noqa: PLR0911  one for each kind
    """One event of the array that SendGrid's event webhook posts."""
    ids = {"request_id": event["request_id"], "profile_id": event["profile_id"]}
    at = datetime.fromtimestamp(event["timestamp"], UTC).isoformat()
    match event["event"]:
        case "dropped":
            # SendGrid gave it to no mail server.
            return _failed(ids, "suppressed", at=at, stage="before_handoff")
        case "bounce":
            # "blocked" is a refusal that may pass; SendGrid does not try it again by itself.
            return _failed(ids, "bounced", at=at, permanent=event.get("type") != "blocked")
        case "deferred":
            return _failed(ids, "undeliverable", at=at, permanent=False)
        case "delivered":
            return _delivered(ids, "delivered", at)
        case "open":
            return _delivered(ids, "opened", at)
        case "click":
            return _delivered(ids, "clicked", at)
        case _:
            return None


def from_twilio(form: Mapping[str, str], query: Mapping[str, str]) -> Event | None:
    """A status callback of Twilio: the fields of its form, and the query of the callback's URL."""
    ids = {"request_id": query["request_id"], "profile_id": query["profile_id"]}
    match form["MessageStatus"]:
        case "canceled":
            return _failed(ids, "cancelled", stage="before_handoff")
        case "failed":
            # Twilio could not give it to a carrier.
            return _failed(ids, "rejected", stage="before_handoff")
        case "undelivered":
            return _failed(ids, "undeliverable")
        case "delivered":
            return _delivered(ids, "delivered")
        case "read":
            return _delivered(ids, "opened")
        case _:
            return None


def _failed(
    ids: dict[str, str], reason: str, *, at: str | None = None, stage: str = "after_handoff", permanent: bool = True
) -> Event:
    return FAILED, {**ids, "stage": stage, "reason": reason, "permanent": permanent, "at": at}


def _delivered(ids: dict[str, str], stage: str, at: str | None = None) -> Event:
    return DELIVERED, {**ids, "stage": stage, "at": at}
