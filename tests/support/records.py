"""Valid and invalid records of the request topics, and a decoder for them."""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from aiokafka import ConsumerRecord
from aiokafka.record.default_records import DefaultRecordBatch

from codewell.infra.kafka.record_encoding import RecordBatch
from schemas.events import MESSAGE_RENDER, SCENARIO_STEP
from services.issuer.decode import Decoder

REQUEST_ID = "0198f3a0-0000-7000-8000-00000000000a"
ALLOWED = "campaigns.answers"
MESSAGE = {"profile_id": "p-1001", "campaign_id": "spring", "programs": ["SPRING"]}
STEP = {"profile_id": "p-1001", "scenario_id": "welcome", "step_id": "s-3", "program": "SPRING"}
STRUCTURED = [("content-type", b"application/cloudevents+json; charset=UTF-8")]

Headers = Sequence[tuple[str, bytes | None]]


def decoder() -> Decoder:
    types = {"message-render": MESSAGE_RENDER, "scenario-step": SCENARIO_STEP}
    return Decoder(types, frozenset({ALLOWED}))


def headers(event_type: str = MESSAGE_RENDER, **changed: bytes | None) -> Headers:
    """The four headers of an event in binary mode, with changes and additions."""
    given: dict[str, bytes | None] = {
        "ce_specversion": b"1.0",
        "ce_id": REQUEST_ID.encode(),
        "ce_source": b"/campaigns",
        "ce_type": event_type.encode(),
    }
    return list((given | changed).items())


def decoded_headers(encoded: bytes) -> list[tuple[str, bytes]]:
    """The headers of a record, as aiokafka reads them."""
    batch = RecordBatch(len(encoded))
    batch.add(b"", b"", encoded)
    [only] = DefaultRecordBatch(batch._build())
    return list(only.headers)


def record(value: bytes | None, headers: Headers, topic: str = "message-render") -> ConsumerRecord:
    size = -1 if value is None else len(value)
    return ConsumerRecord(topic, 1, 42, 0, 0, b"p-1001", value, None, 6, size, tuple(headers))


def message(**changed: Any) -> bytes:
    """The data of a message-render with some fields changed or added."""
    return json.dumps(MESSAGE | changed).encode()


def with_field(text: str) -> bytes:
    """The data of a message-render with an unknown field of this JSON text."""
    return message()[:-1] + f', "unknown": {text}}}'.encode()


def envelope(**changed: Any) -> bytes:
    """A message-render in structured mode with some members changed or added."""
    given = {"specversion": "1.0", "id": REQUEST_ID, "source": "/campaigns", "type": MESSAGE_RENDER, "data": MESSAGE}
    return json.dumps(given | changed).encode()


def base64(data: bytes) -> str:
    return b64encode(data).decode()
