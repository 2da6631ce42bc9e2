"""OpenTelemetry traces, exported to the collector at CODEWELL_OTLP_ENDPOINT; unset, no tracing library is imported.

Spans carry topics, routes, outcomes and request ids, and never a key, a code, a profile id or a rendered text. This
module and its callers choose the attributes. The tracer provider is not installed globally, so that no library adds
spans with other attributes.
"""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from codewell.errors import SettingsInvalid

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext, SpanKind, Tracer

Attributes = Mapping[str, str | int]

TRACEPARENT: Final = "traceparent"
# W3C Trace Context, version 00. Later versions begin with the same fields.
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.DOTALL)
_SAMPLED: Final = 1
# Spans that are not exported within this time when a process ends are lost.
_EXPORT_TIMEOUT_S: Final = 3.0


class Tracing:
    """Makes spans for sampled requests: those whose traceparent is sampled, and a share of those without one."""

    def __init__(self, tracer: "Tracer", share: float) -> None:
        self._tracer = tracer
        self._share = share

    def sample(self, traceparent: str | None) -> "tuple[bool, SpanContext | None]":
        """Return whether to trace a request with this traceparent header, and its parent span context, if any."""
        found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
        if found is None or not int(found[1], 16) or not int(found[2], 16):
            return random.random() < self._share, None  # noqa: S311  sampling, not security
        if not int(found[3], 16) & _SAMPLED:
            return False, None
        from opentelemetry.trace import SpanContext, TraceFlags

        return True, SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=TraceFlags(_SAMPLED))

    def start(
        self,
        name: str,
        kind: "SpanKind",
        attributes: Attributes,
        parent: "SpanContext | None" = None,
        links: "Sequence[SpanContext]" = (),
        started_ns: int | None = None,
    ) -> "Span":
        """Start a span at `started_ns` (ns since 1970) or now. The caller ends it."""
        from opentelemetry import context, trace

        around = trace.set_span_in_context(trace.NonRecordingSpan(parent), context.Context()) if parent else None
        return self._tracer.start_span(
            name,
            around or context.Context(),
            kind,
            attributes,
            [trace.Link(one) for one in links],
            started_ns or time.time_ns(),
        )


def traceparent_of(span: "Span") -> str:
    """The traceparent header that makes the receiver's spans children of this span."""
    here = span.get_span_context()
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}"


@asynccontextmanager
async def tracing(service: str, endpoint: str | None, share: float) -> AsyncIterator[Tracing | None]:
    """Export spans to a collector while the block runs; yield None without an endpoint. Raises SettingsInvalid."""
    if endpoint is None:
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsInvalid(
            "CODEWELL_OTLP_ENDPOINT is set, but its dependencies are not installed: unset it, or pip install "
            '"codewell[tracing]".'
        ) from error
    about = {"service.name": f"codewell-{service}", "service.version": version("codewell")}
    provider = TracerProvider(resource=Resource(about), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield Tracing(provider.get_tracer("codewell"), share)
    finally:
        # In a thread, as the shutdown blocks until the collector has answered.
        await asyncio.wait(
            (asyncio.ensure_future(asyncio.to_thread(provider.shutdown)),), timeout=2 * _EXPORT_TIMEOUT_S
        )
