"""A request that is to wait is kept with the time when it came first, whatever its sender took for a time."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.issuer.batch_publisher import FIRST_AT_HEADER, BatchPublisher
from tests.support.records import decoded_headers, decoder, headers, message, record

MOMENT = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize("factor", [1, 1_000, 1_000_000, -1_000])
def test_a_request_waits_whatever_its_timestamp_counts(monkeypatch: pytest.MonkeyPatch, factor: int) -> None:
    added: list[Any] = []
    monkeypatch.setattr(BatchPublisher, "_add", lambda _, *given: added.append(given))
    asked = replace(record(message(), headers()), timestamp=int(MOMENT.timestamp() * 1_000) * factor)
    before = datetime.now(UTC)
    BatchPublisher(None, {}).retry(decoder().decode(asked).record)
    [(*_, kept)] = added
    first_at = datetime.fromisoformat(dict(decoded_headers(kept))[FIRST_AT_HEADER].decode())
    assert first_at == MOMENT if factor == 1 else first_at >= before
