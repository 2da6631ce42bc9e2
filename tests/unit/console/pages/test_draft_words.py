"""What a draft of a program would do, in sentences."""

import pytest

from services.console.pages.draft_words import summary
from services.console.pages.program_form import NEW


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"codes_max": "1"}, "It may have one code in all."),
        ({"codes_max": "1,000"}, "It may have 1,000 codes in all."),
        ({"pool_max": "1"}, "At most one stands ready."),
        ({"pool_max": "20"}, "Up to 20 of them stand ready."),
        ({"ttl": "1", "ttl_unit": "days"}, "A code lives 1 day from when it is made."),
        ({"ttl": "8", "ttl_unit": "hours"}, "A code lives 8 hours from when it is made."),
    ],
)
def test_numbers_agree_with_their_words(typed: dict[str, str], sentence: str) -> None:
    assert sentence in summary({**NEW, **typed})
