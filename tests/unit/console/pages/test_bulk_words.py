"""What a change of many codes finds, in a line."""

from datetime import UTC, datetime

from schemas.changes import ChangeFilter
from services.console.pages.bulk_words import filter_words


def test_a_begun_change_names_the_days_that_were_chosen() -> None:
    chosen = {"expires_from": "2026-12-01", "expires_until": "2026-12-31"}

    assert filter_words(ChangeFilter.model_validate(chosen)) == filter_words(chosen)


def test_a_time_has_its_zone() -> None:
    given = ChangeFilter(expires_until=datetime(2026, 12, 31, 9, 30, tzinfo=UTC))

    assert filter_words(given).endswith("that expire until 2026-12-31T09:30:00+00:00")
