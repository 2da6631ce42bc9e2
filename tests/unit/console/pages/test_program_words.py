"""States, lengths of time and refusals in words."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from schemas.events import AnsweredReason
from schemas.moments import ZONE, zone_named
from schemas.program import Program
from services.console.pages import refusal_words
from services.console.pages.program_words import Badge, circuit_badge, duration, facts_of, state_badge

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def program(**given: object) -> Program:
    settings = {"id": 1, "name": "SPRING", "source": {"kind": "import"}, "codes_max": 1_000, "pool_max": 100}
    return Program.model_validate({**settings, **given})


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(days=3, hours=5), "ends in 3 days"),
        (timedelta(days=1), "ends in 1 day"),
        (timedelta(hours=13), "ends tomorrow"),
        (timedelta(hours=12), "ends today"),
        (timedelta(hours=5), "ends today"),
        (timedelta(minutes=5), "ends within the hour"),
        (timedelta(days=15), "active"),
    ],
)
def test_an_active_program_says_when_it_ends(left: timedelta, words: str) -> None:
    assert state_badge(program(valid_until=NOW + left), "active", NOW).words == words


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(hours=23), "starts tomorrow"),
        (timedelta(hours=12), "starts tomorrow"),
        (timedelta(hours=11), "starts today"),
        (timedelta(minutes=5), "starts within the hour"),
    ],
)
def test_a_program_says_when_it_starts(left: timedelta, words: str) -> None:
    assert state_badge(program(valid_from=NOW + left), "not started", NOW).words == words


def test_days_are_those_of_the_consoles_time_zone() -> None:
    before = ZONE.set(zone_named("Pacific/Auckland"))
    try:
        # There, it is 01:00 on 2 March.
        assert state_badge(program(valid_from=NOW + timedelta(hours=13)), "not started", NOW).words == "starts today"
    finally:
        ZONE.reset(before)


def test_other_states_have_their_words() -> None:
    later = program(valid_from=NOW + timedelta(days=2, minutes=1))

    assert state_badge(later, "not started", NOW).words == "starts in 2 days"
    assert state_badge(program(), "ended", NOW).words == "ended"
    assert state_badge(program(active=False), "off", NOW).words == "off"
    assert state_badge(program(), "removed", NOW).words == "removed"


def test_a_service_that_does_not_answer_is_told() -> None:
    assert circuit_badge(None) is None
    assert circuit_badge("open") == Badge("does not answer", "bad", "refused")


def test_a_length_of_time_is_told_in_its_units() -> None:
    assert duration(timedelta(days=30)) == "30 days"
    assert duration(timedelta(days=1, hours=2, minutes=3, seconds=4)) == "1 day 2 hours 3 minutes 4 seconds"


def test_the_settings_are_told_in_the_words_of_the_guide() -> None:
    facts = {fact.term: fact.words for fact in facts_of(program(campaign_can_create=True, groups=["shop"]))}

    assert facts["Campaign can create promo codes"] == "on"
    assert facts["Scenario can create promo codes"] == "off"
    assert facts["The maximum number of promo codes"] == "1,000"
    assert facts["Access groups"] == "shop"


def test_each_reason_of_a_refusal_has_words_and_a_remedy() -> None:
    assert refusal_words.WORDS.keys() == set(get_args(AnsweredReason))
    assert all(words and to_do for words, to_do in refusal_words.WORDS.values())


def test_refusals_come_with_their_share_of_the_most_frequent() -> None:
    rows = refusal_words.rows({"pool_empty": 10, "program_ended": 40, "maximum_reached": 0, "new_reason": 1})

    assert [(row.words, row.number, row.share) for row in rows] == [
        ("The validity period had ended", 40, 1), ("The pool was empty", 10, 0.25), ("new_reason", 1, 0.025),
    ]  # fmt: skip
