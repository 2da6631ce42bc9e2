"""The pages for senders and shops name what those meet, and their examples of data are what is sent."""

import json
import re
from typing import get_args

import pytest

from codewell.reasons import PROBLEMS
from schemas import event_headers, events
from schemas.api import Code
from schemas.reports import OrderChanged
from tests.support.documented import ROOT, blocks

SENDERS = ROOT / "docs" / "senders.md"
SHOP = ROOT / "docs" / "shop.md"
ROW = re.compile(r"^\| ([0-9, ]+) \| ([^|]+) \|", re.MULTILINE)
HEADERS = {
    *event_headers.attributes("", ""),
    *event_headers.REQUEST_ATTRIBUTES,
    *event_headers.REPLY_OPTIONS,
    *event_headers.ANSWER_ATTRIBUTES,
    *event_headers.RETRY,
    *event_headers.DEAD_LETTER,
    *event_headers.REPLAYED,
}
DATA = [text for texts in blocks(SENDERS, "json").values() for text in texts]
MODELS: dict[str, type[events.Event]] = {
    "campaign_id": events.MessageRender,
    "scenario_id": events.ScenarioStep,
    "codes": events.CodesAttached,
    "refusals": events.CodesRefused,
}


@pytest.mark.parametrize("word", sorted({*HEADERS, *get_args(events.AnsweredReason), *get_args(events.DeadReason)}))
def test_every_header_and_reason_is_explained(word: str) -> None:
    assert f"`{word}`" in SENDERS.read_text("utf-8")


@pytest.mark.parametrize("text", DATA)
def test_its_data_are_events(text: str) -> None:
    [model] = [model for member, model in MODELS.items() if member in json.loads(text)]
    model.model_validate_json(text)


def test_each_kind_of_event_has_an_example() -> None:
    assert len(DATA) == len(MODELS)


def test_the_code_that_a_shop_sees_and_the_event_that_it_sends_are_such() -> None:
    code, event = [text for texts in blocks(SHOP, "json").values() for text in texts]
    Code.model_validate_json(code)
    OrderChanged.model_validate_json(event)


def test_the_refusals_that_a_shop_meets_have_these_statuses() -> None:
    rows = ROW.findall(SHOP.read_text("utf-8"))
    assert len(rows) >= 8
    for statuses, words in rows:
        named = re.findall(r"`([a-z_]+)`", words)
        assert {str(PROBLEMS[word].status) for word in named} == set(statuses.split(", ")), words
