"""A request to the API in a trace: its route and what became of it, and nothing of what it was about."""

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from codewell.infra.postgres.connection import Pool
from codewell.infra.telemetry.tracing import tracing
from services.console.api import create_api
from services.console.context import Context
from services.console.settings import ConsoleSettings
from tests.support.collector import Collector, Received, collector
from tests.support.consoles import Consoles, settings

SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def asked(consoles: Consoles, pool: Pool) -> Collector:
    given = ConsoleSettings(postgres_url="postgresql://127.0.0.1/none", kafka_bootstrap="127.0.0.1:1")
    with collector() as here:
        async with tracing("console", here.url, 0) as traces:
            api = create_api(Context.of(given, pool), traces)
            client = await consoles.client("admin", api=api)
            client.headers["traceparent"] = SAMPLED
            await client.post("/programs", json=settings("SPRING"))
            await client.post("/programs/SPRING/codes:generate", json={"count": 1})
            code = (await client.post("/programs/SPRING/codes:attach", json={"profile_id": "p-secret"})).json()["code"]
            await client.get(f"/programs/SPRING/codes/{code}?profile_id=p-secret")
            await client.get(f"/programs/{code.replace('-', '_')}")
            await client.get(f"/{code}/p-secret")
            del client.headers["traceparent"]
            await client.get("/programs")
        assert not any(word.encode() in body for body in here.bodies for word in (code, code[7:], "p-secret"))
    return here


async def test_what_is_told_of_requests(consoles: Consoles, connections: Pool) -> None:
    here = await asked(consoles, connections)

    def facts(span: Received) -> tuple[str, int, str | None]:
        return span.name, span.attributes["http.response.status_code"], span.attributes.get("codewell.program")

    assert [facts(span) for span in here.spans] == [
        ("POST /programs", 201, None),
        ("POST /programs/{name}/codes:generate", 201, "SPRING"),
        ("POST /programs/{name}/codes:attach", 200, "SPRING"),
        ("GET /programs/{name}/codes/{code:path}", 200, "SPRING"),
        ("GET /programs/{name}", 404, None),
        ("GET none", 404, None),
    ]
    assert {(span.kind, span.parent_id) for span in here.spans} == {(Span.SPAN_KIND_SERVER, "00f067aa0ba902b7")}


async def test_a_provider_of_the_process_is_told_nothing(
    consoles: Consoles, connections: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    client = await consoles.client("admin")
    await client.get("/programs/SPRING/codes/secret?profile_id=p-secret")
    assert exporter.get_finished_spans() == ()
