"""Examples of the AsyncAPI document: by message, a title, the headers and the value."""

from typing import Any, Final

from schemas import lifecycle, lifecycle_examples

_REQUEST_ID: Final = "01980a2b-3c4d-7e5f-8a9b-0c1d2e3f4a5b"
_ANSWER_ID: Final = "7b5d5e51-93b8-5f0c-8d0a-4a4f6c2b9e10"
_JSON: Final = {"content-type": "application/json"}
_STRUCTURED: Final = {"content-type": "application/cloudevents+json; charset=UTF-8"}
_ANSWER_SOURCE: Final = "/codewell/issuer"
_TIME: Final = "2026-12-01T09:59:58.123456Z"

_MESSAGE: Final = {
    "profile_id": "p-1001",
    "campaign_id": "spring",
    "message_id": "m-1",
    "template": "Hello! {loyalty.SPRING.promocode}",
    "deadline": "2026-12-01T10:00:00Z",
}
_STEP: Final = {"profile_id": "p-1001", "scenario_id": "welcome", "step_id": "s-3", "program": "SPRING"}
_ATTACHED: Final = {
    "request_id": _REQUEST_ID,
    "profile_id": "p-1001",
    "outcome": "attached",
    "codes": [{"program": "SPRING", "code": "smFg-2497-DMPB", "expires_at": "2026-12-23T00:00:00Z", "fields": {}}],
    "rendered": "Hello! smFg-2497-DMPB",
}
_REFUSED: Final = {
    "request_id": _REQUEST_ID,
    "profile_id": "p-1001",
    "outcome": "refused",
    "refusals": [
        {
            "program": "SPRING",
            "reason": "pool_empty",
            "detail": "SPRING has no code left and campaigns may not create any.",
        }
    ],
}
_ORDER: Final = {"order_id": "o-7", "state": "paid", "at": "2026-12-01T09:59:58Z"}
_FAILED: Final = {
    "request_id": _REQUEST_ID, "profile_id": "p-1001", "stage": "after_handoff", "reason": "bounced", "permanent": True,
    "at": "2026-12-01T10:00:00Z",
}  # fmt: skip
_DELIVERED: Final = {"request_id": _REQUEST_ID, "profile_id": "p-1001", "stage": "delivered"}
_RETURNED: Final = {
    "request_id": _REQUEST_ID, "profile_id": "p-1001", "receipt": "permanent", "reason": None,
    "codes": [
        {
            "program": "SPRING", "code": "smFg-2497-DMPB", "outcome": "quarantined", "reason": "after_handoff",
            "due_at": "2026-12-04T10:00:00Z",
        }
    ],
}  # fmt: skip

_GENERATOR: Final = "/codewell/generator"
_ALERT: Final = {
    "alert_id": 3, "program": "SPRING", "rule": "fallback-used", "key": "SUMMER", "level": "warning",
    "title": "A fallback gives codes", "figures": {"fallback": "SUMMER", "link": 1, "codes": 12}, "count": 1,
    "raised_at": "2027-03-01T08:00:00Z", "link": "https://codes.example.com/programs/SPRING",
}  # fmt: skip


def _binary(event_type: str, event_id: str, source: str, **more: str) -> dict[str, str]:
    return {"ce_specversion": "1.0", "ce_id": event_id, "ce_source": source, "ce_type": event_type, **more, **_JSON}


def _structured(event_type: str, event_id: str, source: str, data: dict[str, Any], **more: str) -> dict[str, Any]:
    attributes = {"specversion": "1.0", "id": event_id, "source": source, "type": event_type, **more}
    return {**attributes, "datacontenttype": "application/json", "data": data}


def _answer(event_type: str) -> dict[str, str]:
    schema = f"urn:codewell:schema:{event_type}"
    return _binary(event_type, _ANSWER_ID, _ANSWER_SOURCE, ce_time=_TIME, ce_dataschema=schema)


def _of_stream(event_type: str) -> dict[str, str]:
    sequence = "00000001-00000000019F2A40-00000003"
    schema = f"urn:codewell:schema:{event_type}"
    return _binary(
        event_type, _ANSWER_ID, "/codewell/lifecycle", ce_time=_TIME, ce_sequence=sequence, ce_dataschema=schema
    )


EXAMPLES: Final[dict[str, list[tuple[str, dict[str, str], dict[str, Any]]]]] = {
    "MessageRender": [
        (
            "Answer on a topic of the sender's own",
            _binary(
                "dev.codewell.message-render.v1",
                _REQUEST_ID,
                "/newsletter",
                kafka_correlationId=_REQUEST_ID,
                kafka_replyTopic="newsletter-answers",
            ),
            _MESSAGE,
        ),
        (
            "Two programs without a template",
            _binary("dev.codewell.message-render.v1", _REQUEST_ID, "/newsletter"),
            {"profile_id": "p-1001", "campaign_id": "spring", "programs": ["SPRING", "BONUS"], "preview": True},
        ),
    ],
    "ScenarioStep": [
        ("A step", _binary("dev.codewell.scenario-step.v1", _REQUEST_ID, "/scenarios"), _STEP),
    ],
    "CodesAttached": [("A rendered message", _answer("dev.codewell.codes-attached.v1"), _ATTACHED)],
    "CodesRefused": [("An empty pool", _answer("dev.codewell.codes-refused.v1"), _REFUSED)],
    "MessageRenderStructured": [
        (
            "A message",
            _STRUCTURED,
            _structured("dev.codewell.message-render.v1", _REQUEST_ID, "/newsletter", _MESSAGE, time=_TIME),
        )
    ],
    "ScenarioStepStructured": [
        ("A step", _STRUCTURED, _structured("dev.codewell.scenario-step.v1", _REQUEST_ID, "/scenarios", _STEP))
    ],
    "CodesAttachedStructured": [
        (
            "A rendered message",
            _STRUCTURED,
            _structured("dev.codewell.codes-attached.v1", _ANSWER_ID, _ANSWER_SOURCE, _ATTACHED, time=_TIME),
        )
    ],
    "CodesRefusedStructured": [
        (
            "An empty pool",
            _STRUCTURED,
            _structured("dev.codewell.codes-refused.v1", _ANSWER_ID, _ANSWER_SOURCE, _REFUSED, time=_TIME),
        )
    ],
    "OrderChanged": [("A paid order", _binary("dev.codewell.order-changed.v1", _REQUEST_ID, "/shop"), _ORDER)],
    "OrderChangedStructured": [
        ("A paid order", _STRUCTURED, _structured("dev.codewell.order-changed.v1", _REQUEST_ID, "/shop", _ORDER))
    ],
    "SendFailed": [("A bounce", _binary("dev.codewell.send-failed.v1", _REQUEST_ID, "/mailer"), _FAILED)],
    "SendFailedStructured": [
        ("A bounce", _STRUCTURED, _structured("dev.codewell.send-failed.v1", _REQUEST_ID, "/mailer", _FAILED))
    ],
    "SendDelivered": [("A delivery", _binary("dev.codewell.send-delivered.v1", _REQUEST_ID, "/mailer"), _DELIVERED)],
    "SendDeliveredStructured": [
        ("A delivery", _STRUCTURED, _structured("dev.codewell.send-delivered.v1", _REQUEST_ID, "/mailer", _DELIVERED))
    ],
    "CodesReturned": [("A quarantine", _answer("dev.codewell.codes-returned.v1"), _RETURNED)],
    "CodesReturnedStructured": [
        (
            "A quarantine",
            _STRUCTURED,
            _structured("dev.codewell.codes-returned.v1", _ANSWER_ID, _ANSWER_SOURCE, _RETURNED, time=_TIME),
        )
    ],
    "ProfileChanged": [
        (
            "Two fields",
            _binary("dev.codewell.profile-changed.v1", _REQUEST_ID, "/profiles"),
            {"profile_id": "p-1001", "fields": {"email": "ana@example.org", "city": "Lisbon"}},
        )
    ],
    "PoolDemand": [
        (
            "A low pool",
            _binary("dev.codewell.pool-demand.v1", _REQUEST_ID, _ANSWER_SOURCE),
            {"program_id": 7, "pooled": 41},
        )
    ],
    "ProgramChanged": [
        (
            "A new program",
            _binary("dev.codewell.program-changed.v1", _REQUEST_ID, "/codewell/console"),
            {"program_id": 7, "name": "SPRING"},
        )
    ],
    "ReservationChanged": [
        (
            "Nearly used",
            _binary("dev.codewell.reservation-changed.v1", _REQUEST_ID, _GENERATOR),
            {
                "reservation_id": 17,
                "program": "SPRING",
                "campaign_id": "spring-2027",
                "scenario_id": None,
                "state": "nearly_used",
                "count": 100_000,
                "reserved": 100_000,
                "used": 80_000,
                "ended_by": None,
                "at": "2027-03-01T08:00:00Z",
            },
        )
    ],
    "AlertRaised": [
        (
            "A fallback gives codes",
            _binary("dev.codewell.alert-raised.v1", _REQUEST_ID, _GENERATOR),
            {**_ALERT, "at": "2027-03-01T08:00:00Z", "reminder": False, "action": "Add codes, or raise the maximum."},
        )
    ],
    "AlertCleared": [
        (
            "Cleared by a person",
            _binary("dev.codewell.alert-cleared.v1", _REQUEST_ID, _GENERATOR),
            {**_ALERT, "at": "2027-03-01T09:12:00Z", "cleared_by": "ana"},
        )
    ],
    **{
        model.__name__: [(title, _of_stream(event_type), data)]
        for event_type, model in lifecycle.DATA_OF_TYPE.items()
        for title, data in [lifecycle_examples.EXAMPLES[model.__name__]]
    },
}
