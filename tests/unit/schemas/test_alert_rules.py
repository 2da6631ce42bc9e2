"""Rules of alerts as JSON and as texts, their defaults, and what is refused."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from codewell.validation import field_mistakes
from schemas.alert_rules import DEFAULT_RULES, RULE_KINDS, AlertRule, dumped, rule_of
from tests.support.factories import settings


def test_all_kinds_but_those_that_need_a_number_are_rules_by_default() -> None:
    assert {rule.kind for rule in settings().alerts} == set(RULE_KINDS) - {"pool_below"}
    assert " ".join(map(str, DEFAULT_RULES)) == (
        "runs_out_within=P3D ends_within=P3D codes_expire_within=P3D:0.5 refusals=0.1 remote_down returns_share=0.1 "
        "fallback_used"
    )


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("pool_below=1,000", {"kind": "pool_below", "codes": 1_000}),
        ("runs_out_within", {"kind": "runs_out_within", "within": "P3D"}),
        ("codes_expire_within=PT12H:80%", {"kind": "codes_expire_within", "within": "PT12H", "share": 0.8}),
        (" remote_down ", {"kind": "remote_down"}),
    ],
)
def test_a_text_means_a_rule_and_the_rule_is_written_so_again(text: str, rule: dict[str, Any]) -> None:
    read = AlertRule.model_validate(rule_of(text))

    assert dumped([read]) == [rule]
    assert AlertRule.model_validate(rule_of(str(read))) == read
    assert AlertRule.model_validate_json(json.dumps(rule)) == read


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("pool_below", "codes", "codes is required by pool_below"),
        ("pool_below=0", "codes", "at least 1"),
        ("pool_below=many", "codes", "whole number"),
        ("refusals=1.5", "share", "at most 1"),
        ("refusals=nan", "share", "number"),
        ("runs_out_within=3", "within", "duration"),
        ("runs_out_within=-P1D", "within", "more than 0"),
        ("remote_down=5", "value 1", "not known"),
        ("pool_low=5", "kind", "must be"),
    ],
)
def test_what_no_rule_can_be_is_refused_at_its_place(text: str, place: str, words: str) -> None:
    with pytest.raises(ValidationError) as error:
        settings(alerts=[rule_of(text)])

    [mistake, *_] = field_mistakes(error.value.errors())
    assert mistake.path == ("alerts", "0", place)
    assert words in mistake.words


def test_a_rule_is_answered_without_what_its_kind_has_not() -> None:
    given = [{"kind": "remote_down"}, {"kind": "pool_below", "codes": 5}]
    assert json.loads(settings(alerts=given).model_dump_json())["alerts"] == given


def test_a_field_of_another_kind_and_a_kind_twice_are_refused() -> None:
    for rules, words in (
        ([{"kind": "remote_down", "share": 0.1}], "share is not for remote_down"),
        ([{"kind": "remote_down"}, {"kind": "remote_down"}], "each kind once"),
    ):
        with pytest.raises(ValidationError, match=words):
            settings(alerts=rules)
