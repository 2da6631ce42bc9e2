"""Number cells: the displayed form where the format fixes it, and none where it does not."""

import pytest

from codewell.files.number_format import ShownCell, shown_number


@pytest.mark.parametrize(
    ("raw", "number_format", "shown"),
    [
        ("7", "0000", "0007"),
        ("123456", "000-000", "123-456"),
        ("7", '"AB-"0000', "AB-0007"),
        ("123", "[$-409]0000", "0123"),
        ("123", "[Red]0000;[Blue]-0000", "0123"),
        ("0", "000;-000", "000"),
        ("7", r"00\/00", "00/07"),
    ],
)
def test_a_format_that_names_every_digit_gives_the_displayed_form(raw: str, number_format: str, shown: str) -> None:
    assert shown_number(raw, number_format) == ShownCell("text", shown)


@pytest.mark.parametrize(
    ("raw", "number_format"),
    [
        # The second section applies to a number below a hundred.
        ("50", "[>100]00000;000"),
        ("50", "000;[<100]00000"),
        # A fraction: 7/1.
        ("7", "0/0"),
        ("123456", "000/000"),
        ("0", '000;-000;"none"'),
        # The currency is displayed too.
        ("7", "[$€-407]0000"),
        ("7", "[DBNum1]0000"),
    ],
)
def test_a_format_that_displays_something_else_is_unknown(raw: str, number_format: str) -> None:
    assert shown_number(raw, number_format).kind == "formatted"
