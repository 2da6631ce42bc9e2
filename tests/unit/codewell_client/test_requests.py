"""Requests are what the issuer reads, and what it would not read is refused where it is made."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import get_args

import pytest

import codewell_client
from codewell_client import MessageRender, Reason, Request, ScenarioStep, uuid7
from codewell_client.requests import PROGRAMS_MAX, VALUE_BYTES_MAX, encode
from schemas import events

DEADLINE = datetime(2026, 12, 1, 10, tzinfo=UTC)


def render(**given: object) -> MessageRender:
    return MessageRender(**{"profile_id": "p", "campaign_id": "c", "programs": ["A"], **given})  # type: ignore[arg-type]


def step(**given: object) -> ScenarioStep:
    return ScenarioStep(**{"profile_id": "p", "scenario_id": "s", "step_id": "t", "program": "A", **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "request_",
    [
        render(),
        render(programs=(), template="Hello! {loyalty.A.promocode} ü"),
        render(template="{loyalty.A.promocode} {loyalty.B.other} {loyalty.A.promocode}"),
        render(template="".join(f"{{loyalty.B{n}.promocode}}" for n in range(PROGRAMS_MAX - 1))),
        render(programs=("A", "B"), message_id="m-1", preview=True, deadline=DEADLINE),
        step(),
        step(preview=True, deadline=DEADLINE),
    ],
    ids=["programs", "template", "other placeholders", "sixteen programs", "all", "step", "whole step"],
)
def test_a_request_is_what_the_issuer_reads(request_: Request) -> None:
    event = events.DATA_OF_TYPE[request_.type].model_validate_json(encode(request_))

    for name, value in event:
        given = getattr(request_, name)
        assert value == (tuple(given) if name == "programs" else given)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: render(profile_id=""), "profile_id"),
        (lambda: render(profile_id="p" * 257), "256"),
        (lambda: render(campaign_id="a\nb"), "control"),
        (lambda: render(message_id=""), "message_id"),
        (lambda: render(programs=["no name"]), "short name"),
        (lambda: render(programs=["A"] * (PROGRAMS_MAX + 1)), "16"),
        (lambda: render(programs=(), template="Hello!"), "loyalty.NAME.promocode"),
        (lambda: render(programs=()), "Name a program"),
        (lambda: render(programs=(), template="{loyalty.A.other}"), "Name a program"),
        (lambda: render(template="{loyalty.a-b.promocode}"), "broken placeholder"),
        (lambda: render(template="{loyalty.A.promocode"), "broken placeholder"),
        (lambda: render(template="".join(f"{{loyalty.B{n}.promocode}}" for n in range(PROGRAMS_MAX))), "together"),
        (lambda: render(deadline=datetime(2026, 12, 1)), "time zone"),  # noqa: DTZ001
        (lambda: step(program="a-b"), "short name"),
        (lambda: step(scenario_id=""), "scenario_id"),
        (lambda: step(step_id="\x00"), "step_id"),
    ],
)
def test_what_the_issuer_would_not_read_is_refused(make: Callable[[], Request], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_one_text_is_not_taken_for_a_list_of_programs() -> None:
    with pytest.raises(TypeError, match="list"):
        render(programs="SPRING")


def test_a_request_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="262,144"):
        encode(render(template="x" * VALUE_BYTES_MAX))


def test_each_request_has_an_id_of_its_own_which_orders_by_time() -> None:
    requests = [render() for _ in range(3)]

    assert len({request.id for request in requests}) == 3
    assert {request.id.version for request in requests} == {7}
    assert json.loads(encode(requests[0])) == {"profile_id": "p", "campaign_id": "c", "programs": ["A"]}
    given = uuid7()
    assert render(id=given).id == given


def test_it_knows_every_reason() -> None:
    assert {reason.value for reason in Reason} == set(get_args(events.AnsweredReason))


def test_all_that_it_gives_is_there() -> None:
    assert sorted(codewell_client.__all__, key=str.lower) == sorted(set(codewell_client.__all__), key=str.lower)
    assert all(hasattr(codewell_client, name) for name in codewell_client.__all__)
