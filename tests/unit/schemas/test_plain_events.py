"""The quick readers of requests take nothing that pydantic refuses, and read what it reads."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.events import MessageRender, ScenarioStep
from schemas.plain_events import PlainRender, PlainStep, distinct_names, plain_renders, plain_steps

RENDER: dict[str, Any] = {"profile_id": "p-1", "campaign_id": "spring", "message_id": "m-1", "programs": ["SPRING"]}
STEP: dict[str, Any] = {"profile_id": "p-1", "scenario_id": "welcome", "step_id": "s-3", "program": "SPRING"}
FIELDS = (*RENDER, *STEP, "template", "preview", "deadline", "other")

ids = st.one_of(
    st.text(max_size=3), st.sampled_from(["", "p-1", "ü" * 256, "😀" * 256, "x" * 257, "\x7f", "a\x00", "\ud800", "\n"])
)
names = st.one_of(st.text(max_size=3), st.sampled_from(["SPRING", "a_1", "A" * 65, "A\n", "Ä", "²", ""]))
values = st.one_of(
    ids, names, st.lists(names, max_size=3), st.lists(names, min_size=16, max_size=17), st.none(), st.booleans(),
    st.integers(0, 2), st.just("2026-12-01T12:00:00Z"), st.just({}), st.floats(),
)  # fmt: skip


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """JSON texts that are almost events: with other values, fields twice, escapes or not, and a changed byte."""
    members = list(draw(st.sampled_from([RENDER, STEP])).items())
    members += draw(st.lists(st.tuples(st.sampled_from(FIELDS), values), max_size=3))
    order = draw(st.permutations(members))
    ascii_only = draw(st.booleans())
    joined = ", ".join(f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=ascii_only)}" for name, value in order)
    text = f"{{{joined}}}".encode("utf-8", "surrogatepass")
    at, byte = draw(st.integers(0, len(text))), draw(st.binary(max_size=1))
    return text[:at] + byte + text[at + draw(st.integers(0, 1)) :] if draw(st.booleans()) else text


def fields(event: Any) -> dict[str, Any]:
    return {name: getattr(event, name) for name in (*event.__class__.model_fields, "program_names")}


@given(texts())
def test_what_is_read_is_what_pydantic_reads(text: bytes) -> None:
    for read, model in ((plain_renders, MessageRender), (plain_steps, ScenarioStep)):
        # Beside one with an escape, in which each is looked at by itself.
        _, plain = read([b'"\\n"', text])
        assert [plain] == read([text])
        if plain is not None and (names := distinct_names(plain.programs)):
            assert names == plain.program_names
            whole = model.model_validate_json(text)
            assert {name: getattr(plain, name) for name in fields(whole)} == fields(whole)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(RENDER),
        json.dumps(RENDER | {"message_id": None, "template": None, "preview": False, "deadline": None}),
        json.dumps(RENDER | {"programs": ["A", "B", "A"], "preview": True}),
        json.dumps(RENDER | {"profile_id": "Zoë 😀"}, ensure_ascii=False),
        json.dumps(RENDER, indent=2),
    ],
)
def test_most_messages_are_read(text: str) -> None:
    assert isinstance(plain_renders([text.encode()])[0], PlainRender)


def test_most_steps_are_read() -> None:
    assert isinstance(plain_steps([json.dumps(STEP | {"preview": None}).encode()])[0], PlainStep)


@pytest.mark.parametrize("change", [{"profile_id": "a\x7f"}, {"programs": ["A B"]}, {"programs": []}, {"preview": 1}])
def test_what_pydantic_refuses_is_left_to_it(change: dict[str, Any]) -> None:
    text = json.dumps(RENDER | change).encode()

    [event] = plain_renders([text])
    assert event is None or distinct_names(event.programs) is None
    with pytest.raises(ValidationError):
        MessageRender.model_validate_json(text)
