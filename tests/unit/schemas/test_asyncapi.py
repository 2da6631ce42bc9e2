"""The AsyncAPI document is that of the code, and its examples are what it describes."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError
from pydantic import BaseModel

from schemas import asyncapi, topics
from schemas.asyncapi_examples import EXAMPLES
from schemas.events import DATA_OF_TYPE, CloudEvent

ROOT = Path(__file__).parents[3]
MESSAGES = asyncapi.document()["components"]["messages"]
MODELS: dict[str, type[BaseModel]] = {model.__name__: model for model in DATA_OF_TYPE.values()}
CASES = [(name, *example) for name, examples in EXAMPLES.items() for example in examples]


def validator(message: str, part: str) -> Draft7Validator:
    """Checks the headers or the payload of a message; references lead into the document."""
    reference = f"#/components/messages/{message}/{part}"
    return Draft7Validator({"$ref": reference, **asyncapi.document()}, format_checker=Draft7Validator.FORMAT_CHECKER)


def test_the_document_is_that_of_the_code() -> None:
    assert (ROOT / "schemas" / "asyncapi.yaml").read_text("utf-8") == asyncapi.text(), "run make docs"


def test_its_version_is_that_of_codewell() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert asyncapi.document()["info"]["version"] == project["version"]


def test_every_topic_is_a_channel_with_an_operation() -> None:
    document = asyncapi.document()
    for topic in topics.TOPICS:
        channel = document["channels"][topic.name]
        assert channel["bindings"]["kafka"]["partitions"] == topic.partitions
        assert topic.key in channel["description"]
        assert channel["messages"]
    used = {operation["channel"]["$ref"] for operation in document["operations"].values()}
    assert used == {f"#/channels/{topic.name}" for topic in topics.TOPICS}
    assert len(document["operations"]) == len(topics.TOPICS)


def test_a_request_says_where_its_answer_goes() -> None:
    document = asyncapi.document()
    for name in ("receiveMessageRender", "receiveScenarioStep"):
        reply = document["operations"][name]["reply"]
        assert reply["address"]["location"] == "$message.header#/kafka_replyTopic"
        assert document["channels"][reply["channel"]["$ref"].rpartition("/")[2]]["address"] is None


def test_every_message_of_others_has_an_example() -> None:
    assert MESSAGES.keys() - EXAMPLES.keys() == {asyncapi.DEAD_LETTER}


@pytest.mark.parametrize(("message", "title", "headers", "payload"), CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_an_example_is_what_the_document_describes(
    message: str, title: str, headers: dict[str, Any], payload: dict[str, Any]
) -> None:
    validator(message, "headers").validate(headers)
    validator(message, "payload").validate(payload)
    if message.endswith("Structured"):
        CloudEvent.model_validate(payload)
        payload = payload["data"]
    MODELS[message.removesuffix("Structured")].model_validate(payload, strict=False)


@pytest.mark.parametrize(
    ("message", "part", "value"),
    [
        ("MessageRender", "payload", {"profile_id": "p-1"}),
        ("MessageRender", "headers", {"ce_id": "x"}),
        ("MessageRenderStructured", "payload", {"specversion": "1.0", "data": {}}),
        ("CodesRefused", "payload", {"outcome": "attached"}),
        ("DeadLetter", "headers", {"codewell_reason": "no_such_reason"}),
    ],
)
def test_what_it_does_not_describe_is_found(message: str, part: str, value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        validator(message, part).validate(value)
