"""Dead letters of every topic that has some can be chosen and named, by HTTP and by command."""

from typing import get_args

import click
import pytest
from pydantic import TypeAdapter

from schemas.dead_letters import LetterPlace, RequestTopic
from schemas.topics import DECIDED
from services.cli.dlq import dlq


def test_each_topic_can_be_chosen() -> None:
    assert get_args(RequestTopic) == DECIDED
    [option] = [option for option in dlq.commands["list"].params if option.name == "topic"]
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == DECIDED


@pytest.mark.parametrize("topic", DECIDED)
def test_a_letter_of_each_topic_has_a_place(topic: str) -> None:
    place = f"{topic}:0:17"
    assert TypeAdapter(LetterPlace).validate_python(place) == place
