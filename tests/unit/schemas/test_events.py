import json
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.events import (
    DATA_OF_TYPE,
    CloudEvent,
    CodesAttached,
    CodesRefused,
    MessageRender,
    ScenarioStep,
)
from schemas.topics import TOPICS

MESSAGE: dict[str, Any] = {"profile_id": "p-1001", "campaign_id": "spring", "programs": ["SPRING"]}
STEP: dict[str, Any] = {"profile_id": "p-1001", "scenario_id": "welcome", "step_id": "s-3", "program": "SPRING"}


def message(**changed: object) -> MessageRender:
    given = {key: value for key, value in {**MESSAGE, **changed}.items() if value is not ...}
    return MessageRender.model_validate_json(json.dumps(given))


def step(**changed: object) -> ScenarioStep:
    return ScenarioStep.model_validate_json(json.dumps({**STEP, **changed}))


def test_the_requests_of_the_contract_can_be_read() -> None:
    full = message(
        message_id="m-1",
        template="Hello! {loyalty.SPRING.promocode}",
        preview=False,
        deadline="2026-12-01T10:00:00Z",
    )
    assert full.deadline is not None
    assert full.deadline.isoformat() == "2026-12-01T10:00:00+00:00"
    assert full.program_names == ("SPRING",)
    assert step(preview=False, deadline=None).program_names == ("SPRING",)


def test_the_answers_of_the_contract_can_be_read() -> None:
    head = {"request_id": "0198", "profile_id": "p-1001"}
    code = {"program": "SPRING", "code": "smFg-2497-DMPB", "expires_at": "2026-12-23T00:00:00Z", "fields": {}}
    attached = {**head, "outcome": "attached", "codes": [code], "rendered": "Hello! smFg-2497-DMPB"}
    refusal = {"program": "SPRING", "reason": "pool_empty", "detail": "SPRING has no code left."}
    refused = {**head, "outcome": "refused", "refusals": [refusal]}

    assert CodesAttached.model_validate_json(json.dumps(attached)).codes[0].code == "smFg-2497-DMPB"
    assert CodesRefused.model_validate_json(json.dumps(refused)).refusals[0].reason == "pool_empty"
    with pytest.raises(ValidationError):
        CodesAttached.model_validate_json(json.dumps(refused))
    with pytest.raises(ValidationError):
        CodesRefused.model_validate_json(json.dumps(refused).replace("pool_empty", "no_idea"))


@pytest.mark.parametrize(
    ("programs", "template", "names"),
    [
        (["B", "A", "B"], None, ("B", "A")),
        (..., "{loyalty.B.promocode}{loyalty.A.promocode}{loyalty.B.promocode}", ("B", "A")),
        (["A"], "{loyalty.B.promocode} {loyalty.A.promocode}", ("A", "B")),
        (["A"], "no code in it, but {braces} and {loyalty} and {loyalty.A.points}", ("A",)),
        ([f"P{n}" for n in range(15)], "{loyalty.LAST.promocode}", (*(f"P{n}" for n in range(15)), "LAST")),
        # A program that the template and the list both name counts once.
        ([f"P{n}" for n in range(16)], "{loyalty.P3.promocode}", tuple(f"P{n}" for n in range(16))),
    ],
)
def test_programs_are_named_once_the_list_first(programs: object, template: str | None, names: tuple[str, ...]) -> None:
    assert message(programs=programs, template=template).program_names == names


@pytest.mark.parametrize(
    "changed",
    [
        {"programs": ...},
        {"programs": []},
        {"programs": ..., "template": "nothing"},
        {"programs": [f"P{n}" for n in range(17)]},
        {"programs": [f"P{n}" for n in range(16)], "template": "{loyalty.ONE_MORE.promocode}"},
        {"programs": ..., "template": "{loyalty.SPRING.promocod}"},
        {"template": "{loyalty.SPRING}"},
        {"template": "{loyalty.two words.promocode}"},
        {"template": "{loyalty.SPRING.promocode} {loyalty."},
        {"template": "{loyalty." + "A" * 65 + ".promocode}"},
        {"programs": ["two words"]},
        {"programs": [""]},
        {"programs": ["A" * 65]},
        {"programs": ["SPRING\n"]},
        {"programs": ["ПРОМО"]},
        {"programs": "SPRING"},
        {"programs": [1]},
        {"profile_id": ""},
        {"profile_id": "x" * 257},
        {"profile_id": "nul\0"},
        {"profile_id": "tab\t"},
        {"profile_id": "line\n"},
        {"profile_id": "delete\x7f"},
        {"profile_id": 1001},
        {"profile_id": None},
        {"campaign_id": ...},
        {"message_id": ""},
        {"preview": "yes"},
        {"preview": 1},
        {"deadline": "2026-12-01T10:00:00"},
        {"deadline": "tomorrow"},
        {"deadline": "2026-02-30T10:00:00Z"},
        {"template": 5},
    ],
)
def test_a_message_that_can_not_be_read_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        message(**changed)


@pytest.mark.parametrize("field", ["profile_id", "scenario_id", "step_id", "program"])
def test_a_step_needs_each_of_its_fields(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        ScenarioStep.model_validate_json(json.dumps({**STEP, field: ""}))
    with pytest.raises(ValidationError, match=field):
        ScenarioStep.model_validate_json(json.dumps({key: STEP[key] for key in STEP if key != field}))


@pytest.mark.parametrize("profile_id", ["x" * 256, "🎁" * 256, '"', "\u2028", "</script>", " ", "é"])
def test_an_id_may_be_anything_that_can_be_seen(profile_id: str) -> None:
    assert message(profile_id=profile_id).profile_id == profile_id


def test_half_a_character_is_no_text() -> None:
    with pytest.raises(ValidationError):
        MessageRender.model_validate_json(json.dumps(MESSAGE).replace("p-1001", r"\ud83c"))


def test_unknown_fields_are_ignored_and_events_do_not_change() -> None:
    event = message(colour="red", nested={"a": [1]})

    assert "colour" not in event.model_dump()
    for name in MessageRender.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(event, name, "p-2")


@pytest.mark.parametrize("changed", [{"specversion": "0.3"}, {"id": 5}, {"source": ""}, {"type": ""}])
def test_an_envelope_needs_its_four_attributes(changed: dict[str, object]) -> None:
    envelope = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"a": 1}, "extension": "kept"}

    assert CloudEvent.model_validate_json(json.dumps(envelope)).data == {"a": 1}
    with pytest.raises(ValidationError):
        CloudEvent.model_validate_json(json.dumps({**envelope, **changed}))
    for name in ("specversion", "id", "source", "type"):
        with pytest.raises(ValidationError, match=name):
            CloudEvent.model_validate_json(json.dumps({key: envelope[key] for key in envelope if key != name}))


def test_every_type_that_a_topic_carries_has_its_data() -> None:
    assert {event_type for topic in TOPICS for event_type in topic.types} == set(DATA_OF_TYPE)
