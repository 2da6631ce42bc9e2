"""What people type into the form of a program means what it says, or is refused."""

import pytest

from services.console.pages.program_form import NEW, mistakes, settings_of

TYPED = {**NEW, "name": "SPRING", "title": "Spring", "codes_max": "1,000"}


@pytest.mark.parametrize(
    "typed", ["1000000", "1,000,000", "1.000.000", "1 000 000", "1\u202f000\u202f000", "1'000'000"]
)
def test_a_number_may_have_its_thousands_separated(typed: str) -> None:
    assert settings_of({**TYPED, "codes_max": typed})["codes_max"] == 1_000_000


@pytest.mark.parametrize("field", ["codes_max", "ttl", "uses_per_code"])
@pytest.mark.parametrize("typed", ["1,5", "1.5", "10,00", "2 5", "1,000,5", "1,0000"])
def test_a_number_with_a_fraction_is_refused(field: str, typed: str) -> None:
    assert field in mistakes({**TYPED, field: typed})


def test_a_number_far_too_large_is_refused() -> None:
    assert "codes_max" in mistakes({**TYPED, "codes_max": "9" * 30})
