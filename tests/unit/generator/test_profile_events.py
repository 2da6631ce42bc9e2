"""Changes of profiles as the clients of other languages write them."""

import json
from collections.abc import Sequence

import pytest
from aiokafka import ConsumerRecord

from schemas.events import PROFILE_CHANGED
from services.generator.profile_events import ProfileChange, read

DATA = {"profile_id": "p-1", "fields": {"specversion": "1.0", "city": "Köln"}}
EVENT = {"specversion": "1.0", "id": "1", "source": "/t", "type": PROFILE_CHANGED, "data": DATA}
STRUCTURED = [("content-type", b"application/cloudevents+json")]


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (DATA, [("ce_type", PROFILE_CHANGED.encode())]),
        (DATA, []),
        (EVENT, STRUCTURED),
        (EVENT, [("content-type", b"application/json")]),
        (EVENT, []),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_change_is_read(value: object, headers: Sequence[tuple[str, bytes]], mark: bytes) -> None:
    encoded = mark + json.dumps(value).encode()
    record = ConsumerRecord("profile-changed", 0, 7, 0, 0, b"p-1", encoded, None, 3, len(encoded), tuple(headers))

    assert read(record) == ProfileChange("p-1", DATA["fields"])  # type: ignore[arg-type]
