"""Dates and times as people write them, in the zone that a setting or an option names."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.moments import ZONE, EndMoment, StartMoment, parse_moment, zone_named, zone_notes

BERLIN = zone_named("Europe/Berlin")


@pytest.fixture
def in_berlin() -> Iterator[None]:
    token = ZONE.set(BERLIN)
    yield
    ZONE.reset(token)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026-12-31", "2026-12-30T23:00:00+00:00", "2026-12-31T23:00:00+00:00"),
        # The days on which daylight saving begins and ends have 23 and 25 hours.
        ("2026-03-29", "2026-03-28T23:00:00+00:00", "2026-03-29T22:00:00+00:00"),
        ("2026-10-25", "2026-10-24T22:00:00+00:00", "2026-10-25T23:00:00+00:00"),
        (" 2026-12-31T12:00 ", "2026-12-31T11:00:00+00:00", "2026-12-31T11:00:00+00:00"),
        ("2026-12-31 12:00:30", "2026-12-31T11:00:30+00:00", "2026-12-31T11:00:30+00:00"),
        ("2026-12-31T12:00:00Z", "2026-12-31T12:00:00+00:00", "2026-12-31T12:00:00+00:00"),
        ("2026-12-31T12:00:00-05:00", "2026-12-31T17:00:00+00:00", "2026-12-31T17:00:00+00:00"),
    ],
)
def test_a_date_is_its_begin_or_its_end_and_a_time_is_itself(text: str, start: str, end: str) -> None:
    assert parse_moment(text, BERLIN).isoformat() == start
    assert parse_moment(text, BERLIN, at_end=True).isoformat() == end


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "31.12.2026", "20261231", "2026-W01-1", "2026-13-01", "2026-12-31T25:00", "2026-12-31Z"]
)
def test_what_is_neither_is_refused_with_the_form_wanted(text: str) -> None:
    with pytest.raises(ValueError, match="must be a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z"):
        parse_moment(text, BERLIN)


@pytest.mark.parametrize("text", ["1969-12-31", "9000-01-02", "9999-12-31T00:00:00Z"])
def test_what_is_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be (between the years 1970 and 9000|a date)"):
        parse_moment(text, UTC)


@pytest.mark.usefixtures("in_berlin")
def test_fields_are_read_in_the_zone_of_the_process() -> None:
    assert TypeAdapter(StartMoment).validate_python("2026-12-31") == datetime(2026, 12, 30, 23, tzinfo=UTC)
    assert TypeAdapter(EndMoment).validate_json('"2026-12-31"') == datetime(2026, 12, 31, 23, tzinfo=UTC)
    for given in (5, 1.5, True, datetime(2026, 1, 1), ["2026-12-31"]):  # noqa: DTZ001  the case
        with pytest.raises(ValidationError, match="must be a date"):
            TypeAdapter(EndMoment).validate_python(given)


@pytest.mark.usefixtures("in_berlin")
def test_a_text_without_a_zone_is_noted_and_no_other() -> None:
    given = {
        "valid_from": "2026-12-01T00:00:00Z",
        "valid_until": "2026-12-31",
        "expires_at": None,
        "title": "2026-12-31",
    }
    assert zone_notes(given) == [
        (
            "valid_until 2026-12-31 is read in the time zone Europe/Berlin: it ends when that day ends, "
            "2026-12-31T23:00:00Z."
        )
    ]


@pytest.mark.usefixtures("in_berlin")
def test_a_note_says_how_a_time_is_read() -> None:
    assert zone_notes({"valid_until": "2026-12-31T12:00"}) == [
        "valid_until 2026-12-31T12:00 is read in the time zone Europe/Berlin: it is 2026-12-31T11:00:00Z."
    ]


def test_a_time_that_the_clocks_skip_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a time that exists in Europe/Berlin, whose clocks skip this one"):
        parse_moment("2027-03-28T02:30", BERLIN)
    assert parse_moment("2027-03-28T02:30+01:00", BERLIN).isoformat() == "2027-03-28T01:30:00+00:00"
    # This day has no midnight: it begins at 1 o'clock.
    assert parse_moment("2018-11-04", zone_named("America/Sao_Paulo")).isoformat() == "2018-11-04T03:00:00+00:00"


def test_a_time_that_the_clocks_show_twice_is_the_first() -> None:
    assert parse_moment("2027-10-31T02:30", BERLIN).isoformat() == "2027-10-31T00:30:00+00:00"


def test_a_zone_that_does_not_exist_is_refused() -> None:
    for name in ("Mars/Olympus", "../etc/passwd", "", "Europe/Berlin\0"):
        with pytest.raises(ValueError, match="is not a time zone such as UTC or Europe/Berlin"):
            zone_named(name)
