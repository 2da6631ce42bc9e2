"""Trace spans of sampled requests, from the record to the answer, and of their batch.

Names and attributes follow OpenTelemetry's semantic conventions for messaging.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from uuid import UUID

from aiokafka import ConsumerRecord

from codewell.infra.telemetry.tracing import TRACEPARENT, Attributes, Tracing, traceparent_of
from codewell.issuing.claim_result import ClaimResult
from services.issuer.received_request import ReceivedRequest

if TYPE_CHECKING:
    from opentelemetry.trace import Span

CE_TRACEPARENT: Final = f"ce_{TRACEPARENT}"
_KAFKA: Final = {"messaging.system": "kafka"}


class BatchTrace:
    """The spans of one batch: one for the batch, and one for each sampled request in it."""

    def __init__(self, tracing: Tracing, received: Iterable[ReceivedRequest], group: str) -> None:
        from opentelemetry.trace import SpanKind

        records = [(one.request.id, one.record, tracing.sample(_traceparent(one))) for one in received]
        sampled = [(id_, record, parent) for id_, record, (is_sampled, parent) in records if is_sampled]
        group_name = {**_KAFKA, "messaging.consumer.group.name": group}
        self._spans: dict[UUID, Span] = {}
        self._batch: Span | None = None
        if not sampled:
            return
        batch_attributes: Attributes = {
            **group_name, "messaging.operation.name": "poll", "messaging.operation.type": "receive",
            "messaging.batch.message_count": len(records),
        }  # fmt: skip
        parents = [parent for *_, parent in sampled if parent is not None]
        self._batch = tracing.start("poll", SpanKind.CLIENT, batch_attributes, links=parents)
        batch = [self._batch.get_span_context()]
        for request_id, record, parent in sampled:
            attributes = {**group_name, **_record_attributes(request_id, record)}
            name = f"process {record.topic}"
            self._spans[request_id] = tracing.start(name, SpanKind.CONSUMER, attributes, parent, batch)

    def decided(self, claimed: ClaimResult) -> None:
        """Record the outcome of each request."""
        for request_id, span in self._spans.items():
            rows = claimed.rows_of(request_id)
            if rows is not None:
                outcome = "attached" if rows[0].refusals is None else "refused"
            else:
                outcome = "undecidable" if request_id in claimed.undecidable else "retried"
            span.set_attribute("codewell.outcome", outcome)
            span.add_event("decided")

    def headers(self, one: ReceivedRequest) -> list[tuple[str, bytes]]:
        """Headers that propagate the trace with a request's answer; in binary mode as a CloudEvents extension."""
        span = self._spans.get(one.request.id)
        if span is None:
            return []
        return [(TRACEPARENT if one.structured else CE_TRACEPARENT, traceparent_of(span).encode())]

    def answered(self) -> None:
        """End the spans: all answers are acknowledged."""
        for span in self._spans.values():
            span.add_event("answered")
            span.end()
        if self._batch is not None:
            self._batch.end()


def _record_attributes(request_id: UUID, record: ConsumerRecord) -> Attributes:
    return {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
        "messaging.message.id": str(request_id),
    }


def _traceparent(one: ReceivedRequest) -> str | None:
    """The record's traceparent: from the CloudEvents extension, or from the plain Kafka header."""
    headers = dict(one.record.headers)
    if one.structured:
        with suppress(ValueError):
            given = json.loads(one.record.value or b"").get(TRACEPARENT)
            if isinstance(given, str):
                return given
    value: bytes | None = headers.get(CE_TRACEPARENT) or headers.get(TRACEPARENT)
    return None if value is None else value.decode("ascii", "replace")
