"""A sampled request is followed from its record to its answer, and its trace goes on with the answer."""

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from codewell.client.exchange import OutgoingRequest
from tests.support.collector import Collector, Received, collector
from tests.support.sender_records import message, messages, structured, with_headers
from tests.support.site import Site

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01"
NOT_SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-00"


async def traced(
    site: Site, *requests: OutgoingRequest, share: float = 0
) -> tuple[Collector, dict[str, dict[str, bytes]]]:
    """What a collector got of these requests, and the headers of their answers by the requests' ids."""
    with collector() as here:
        async with site.issuer(otlp_endpoint=here.url, trace_share=share):
            await site.publish(requests, 0)
            answers = await site.came("message-render.reply", len(requests))
    return here, {request_id(one.value): dict(one.headers) for one in answers}


def request_id(value: bytes) -> str:
    _, _, rest = value.decode().partition('"request_id":"')
    return rest[:36]


def processed(here: Collector) -> dict[str, Received]:
    """The spans of requests by their ids."""
    return {span.attributes["messaging.message.id"]: span for span in here.spans if span.name.startswith("process")}


async def test_a_sampled_request_from_its_record_to_its_answer(site: Site) -> None:
    await site.program("SPRING", 10)
    binary = with_headers(message("p-secret", "SPRING"), ("ce_traceparent", SAMPLED.encode()))
    kafka = with_headers(message("p-secret", "NOBODY"), ("traceparent", SAMPLED.encode()))
    # Its traceparent is a member of the event.
    whole = structured(message("p-secret", "SPRING"))
    here, answers = await traced(site, binary, kafka, whole)
    spans = processed(here)
    assert spans.keys() == {str(one.request_id) for one in (binary, kafka, whole)}
    for span in spans.values():
        assert (span.service, span.kind) == ("codewell-issuer", Span.SPAN_KIND_CONSUMER)
        assert (span.trace_id, span.parent_id) == (TRACE_ID, SPAN_ID)
        assert span.name == f"process {site.prefix}message-render"
        assert span.events == ["decided", "answered"]
        assert span.took_ns > 0
    outcomes = [spans[str(one.request_id)].attributes["codewell.outcome"] for one in (binary, kafka, whole)]
    assert outcomes == ["attached", "refused", "attached"]
    for one, header in ((binary, "ce_traceparent"), (kafka, "ce_traceparent"), (whole, "traceparent")):
        span = spans[str(one.request_id)]
        assert answers[str(one.request_id)][header].decode() == f"00-{TRACE_ID}-{span.span_id}-01"
    [batch] = [span for span in here.spans if span.name == "poll"]
    assert batch.links == [SPAN_ID] * 3
    assert {tuple(span.links) for span in spans.values()} == {(batch.span_id,)}
    assert (batch.kind, batch.attributes["messaging.batch.message_count"]) == (Span.SPAN_KIND_CLIENT, 3)
    assert not any(word in body for body in here.bodies for word in (b"p-secret", b"SPRING-"))


async def test_who_says_nothing_is_traced_by_chance_and_who_says_no_never(site: Site) -> None:
    await site.program("A", 100)
    silent = messages(20, "A")
    no = with_headers(message("p-no", "A"), ("ce_traceparent", NOT_SAMPLED.encode()))
    odd = [
        with_headers(message(f"p-odd-{number}", "A"), ("ce_traceparent", given))
        for number, given in enumerate((b"", b"\xff", b"00-0-0-01", f"00-{'0' * 32}-{SPAN_ID}-01".encode()))
    ]
    here, answers = await traced(site, *silent, no, *odd, share=1)
    spans = processed(here)
    assert spans.keys() == {str(one.request_id) for one in (*silent, *odd)}
    assert {span.parent_id for span in spans.values()} == {""}
    assert "ce_traceparent" not in answers[str(no.request_id)]


async def test_nothing_is_sent_of_what_is_not_sampled(site: Site) -> None:
    await site.program("A", 10)
    here, answers = await traced(site, *messages(5, "A"))
    assert here.bodies == []
    assert not any("ce_traceparent" in headers for headers in answers.values())


async def test_a_collector_that_is_away_holds_up_nobody(site: Site) -> None:
    await site.program("A", 10)
    async with site.issuer(otlp_endpoint="http://127.0.0.1:1", trace_share=1):
        await site.publish(messages(5, "A"), 0)
        await site.came("message-render.reply", 5)
