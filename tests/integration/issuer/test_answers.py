"""Every outcome that a request can have, on both topics, as its sender reads it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from codewell.client.exchange import OutgoingRequest
from schemas.events import CODES_ATTACHED, CODES_REFUSED
from tests.support.sender_records import answered, data_of, message, renamed, step, structured
from tests.support.site import Site

# Answers' ids follow from it for ever.
ANSWERS = UUID("6a3f0bb3-6f0e-4a52-9d7e-0f3c7f1c2b64")
NOW = datetime.now(UTC)
PAST, FUTURE = (NOW - timedelta(days=1)).isoformat(), (NOW + timedelta(days=1)).isoformat()


async def ask(site: Site, *requests: OutgoingRequest) -> list[dict[str, Any]]:
    """Publish requests of one topic and give their answers in the same order, once each has its one answer."""
    reply = f"{requests[0].topic}.reply"
    await site.publish(requests)
    await site.came(reply, len(requests))
    return answered(requests, await site.all_of(reply))


async def decided_at(site: Site, request: OutgoingRequest) -> bytes:
    """When the database says that it was decided."""
    moment = await site.database.fetchval("SELECT answered_at FROM answer WHERE request_id = $1", request.request_id)
    return f"{moment.replace(tzinfo=None).isoformat()}Z".encode()


def reasons(answer: dict[str, Any]) -> list[tuple[str, str]]:
    assert answer["outcome"] == "refused"
    assert all(one["program"] in one["detail"] or one["reason"] == "deadline_passed" for one in answer["refusals"])
    return [(one["program"], one["reason"]) for one in answer["refusals"]]


async def test_an_attached_answer_is_what_the_contract_says(site: Site) -> None:
    await site.program("SPRING", 10, ttl="P30D")
    async with site.issuer():
        for number, request in enumerate((message("p-1001", "SPRING"), step("käufer 7", "SPRING"))):
            reply = f"{request.topic}.reply"
            for partition in (0, 1):
                copy = renamed(request, UUID(int=number * 2 + partition + 1))
                await site.publish([copy], partition)
                record = (await site.came(reply, partition + 1))[-1]

                assert (record.key, record.partition) == (request.key, partition)
                assert dict(record.headers) == {
                    "ce_specversion": b"1.0",
                    "ce_id": str(uuid5(ANSWERS, str(copy.request_id))).encode(),
                    "ce_source": b"/codewell/issuer",
                    "ce_type": CODES_ATTACHED.encode(),
                    "ce_time": await decided_at(site, copy),
                    "ce_dataschema": f"urn:codewell:schema:{CODES_ATTACHED}".encode(),
                    "content-type": b"application/json",
                }
                answer = json.loads(record.value)
                [given] = answer["codes"]
                assert answer == {
                    "request_id": str(copy.request_id),
                    "profile_id": request.key.decode(),
                    "outcome": "attached",
                    "codes": [given],
                }
                assert given.keys() == {"program", "code", "expires_at", "fields"}
                assert (given["program"], given["fields"]) == ("SPRING", {})
                assert given["code"].startswith("SPRING-")
                lives = datetime.fromisoformat(given["expires_at"]) - datetime.now(UTC)
                assert timedelta(days=29) < lives < timedelta(days=30)
    assert (await site.stock("SPRING")).attached == 4


async def test_several_programs_and_a_template(site: Site) -> None:
    await site.program("A", 10)
    await site.program("B", 10, fields=[{"name": "discount"}], ttl="P1D")
    await site.database.execute("""UPDATE block SET fields = '{"discount": "10 %"}' WHERE expires_at IS NOT NULL""")
    template = 'Take {loyalty.B.promocode}, "{loyalty.C.promocode}"\n or {loyalty.B.promocode} \u2013 {loyal}'
    await site.program("C", 10)
    async with site.issuer():
        both, plain = await ask(
            site,
            message("p", "C", "A", template=template, unknown={"field": [1]}),
            message("p", "B", "A", "B"),
        )
    assert [code["program"] for code in both["codes"]] == ["C", "A", "B"]
    c, _, b = (code["code"] for code in both["codes"])
    assert both["rendered"] == f'Take {b}, "{c}"\n or {b} \u2013 {{loyal}}'
    assert both["codes"][1]["expires_at"] is None
    assert both["codes"][2]["fields"] == {"discount": "10 %"}
    assert [code["program"] for code in plain["codes"]] == ["B", "A"]
    assert "rendered" not in plain
    assert (await site.stock("A")).attached == (await site.stock("B")).attached == 2


async def test_every_refusal(site: Site) -> None:
    await site.program("OFF", 5)
    await site.database.execute("UPDATE program SET active = false WHERE name = 'OFF'")
    await site.program("EARLY", valid_from=FUTURE, campaign_can_create=True)
    await site.program("LATE", valid_until=PAST, campaign_can_create=True)
    await site.program("FULL", 1, codes_max=1, pool_max=1, campaign_can_create=True, scenario_can_create=True)
    await site.program("EMPTY")
    await site.program("OURS", campaign_can_create=True, codes_max=3, pool_max=1)
    await site.program("READY", 5)
    names = ("NOBODY", "OFF", "EARLY", "LATE", "EMPTY")
    expected = ["program_unknown", "program_inactive", "program_not_started", "program_ended", "pool_empty"]
    asked = [
        *(message("p", name) for name in ("FULL", *names)),
        message("p", "READY", "NOBODY", "OFF"),
        message("p", "READY", "NOBODY", deadline=PAST),
        message("p", "FULL", deadline=FUTURE),
    ]
    steps = [step("p", name) for name in ("OURS", *names, "FULL")]
    async with site.issuer():
        first, *refused, several, late, full = await ask(site, *asked)
        scenario, *others = await ask(site, *steps)
    assert first["outcome"] == "attached"
    assert [reasons(answer) for answer in refused] == [[pair] for pair in zip(names, expected, strict=True)]
    assert reasons(several) == [("NOBODY", "program_unknown"), ("OFF", "program_inactive")]
    assert reasons(late) == [("READY", "deadline_passed"), ("NOBODY", "deadline_passed")]
    assert reasons(full) == [("FULL", "maximum_reached")]
    assert reasons(scenario) == [("OURS", "pool_empty")]
    assert "scenarios" in scenario["refusals"][0]["detail"]
    assert [reason for answer in others for _, reason in reasons(answer)] == [*expected, "maximum_reached"]
    # A request that is refused for one program takes nothing from the others.
    assert (await site.stock("READY")).attached == 0
    [record] = [one for one in await site.all_of("scenario-step.reply") if data_of(one) == scenario]
    assert dict(record.headers)["ce_type"] == CODES_REFUSED.encode()


async def test_codes_are_made_in_place_for_the_source_that_may_create(site: Site) -> None:
    await site.program("OURS", campaign_can_create=True, codes_max=25, pool_max=1)
    async with site.issuer():
        answers = await ask(site, *(message(f"p-{number}", "OURS") for number in range(30)))
    given = [answer for answer in answers if answer["outcome"] == "attached"]
    assert len({code["code"] for answer in given for code in answer["codes"]}) == len(given) == 25
    assert all(reasons(answer) == [("OURS", "maximum_reached")] for answer in answers if answer not in given)
    stock = await site.stock("OURS")
    assert (stock.made, stock.attached, stock.pooled) == (25, 25, 0)


async def test_a_preview_belongs_to_nobody(site: Site) -> None:
    await site.program("A", 5)
    await site.program("B", ttl="P1D")
    async with site.issuer():
        seen, refused = await ask(
            site,
            message("p", "A", template="{loyalty.B.promocode}", preview=True),
            message("p", "NOBODY", preview=True),
        )
        [shown] = await ask(site, step("p", "B", preview=True))
    assert (seen["outcome"], seen["preview"], refused["preview"], shown["preview"]) == ("attached", True, True, True)
    a, b = seen["codes"]
    assert a["code"].startswith("A-")
    assert seen["rendered"] == b["code"]
    assert (a["expires_at"], b["expires_at"] is None) == (None, False)
    assert ((await site.stock("A")).pooled, (await site.stock("B")).made) == (5, 0)


async def test_a_structured_request_gets_a_structured_answer(site: Site) -> None:
    await site.program("A", 5)
    async with site.issuer():
        requests = [structured(message("p", "A")), structured(message("p", "NOBODY"))]
        given, refused = await ask(site, *requests)
    assert (given["outcome"], refused["outcome"]) == ("attached", "refused")
    for request, record, event_type in zip(
        requests, await site.all_of("message-render.reply"), (CODES_ATTACHED, CODES_REFUSED), strict=True
    ):
        assert record.headers == (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
        event = json.loads(record.value)
        assert event.pop("id") == str(uuid5(ANSWERS, event["data"]["request_id"]))
        assert event == {
            "specversion": "1.0",
            "source": "/codewell/issuer",
            "type": event_type,
            "time": (await decided_at(site, request)).decode(),
            "datacontenttype": "application/json",
            "dataschema": f"urn:codewell:schema:{event_type}",
            "data": event["data"],
        }
