"""The examples turn receipts, as the providers document them, into events that Codewell takes."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from schemas.events import DATA_OF_TYPE
from schemas.reports import SendDelivered, SendFailed

HERE = Path(__file__).parents[3] / "examples" / "receipts"
FIXTURES: dict[str, list[dict[str, Any]]] = json.loads((HERE / "fixtures.json").read_text())
IDS = {"request_id": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10", "profile_id": "p-1001"}


@pytest.mark.parametrize(
    ("provider", "number"), [(provider, number) for provider, some in FIXTURES.items() for number in range(len(some))]
)
def test_a_receipt_becomes_its_event(provider: str, number: int) -> None:
    fixture = FIXTURES[provider][number]
    function = runpy.run_path(str(HERE / "mapping.py"))[f"from_{provider}"]

    mapped = function(fixture["receipt"], IDS) if provider == "twilio" else function(fixture["receipt"])

    if fixture["type"] is None:
        assert mapped is None
        return
    event_type, data = mapped
    assert event_type == fixture["type"]
    event = DATA_OF_TYPE[event_type].model_validate_json(json.dumps(data))
    assert isinstance(event, SendFailed | SendDelivered)
    assert event.kind == fixture["receipt_kind"]
    assert (event.request_id, event.profile_id) == tuple(IDS.values())
