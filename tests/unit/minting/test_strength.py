import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codewell.errors import TemplateInvalid
from codewell.minting.strength import check_guessing, check_space, required_space
from codewell.minting.template import Template

DAY_S = 86_400


def test_a_million_codes_for_ninety_days_need_52_8_bits() -> None:
    needed = required_space(live_codes=1_000_000, seconds=90 * DAY_S, guesses_per_s=10)

    assert needed == 7_776_000_000_000_000
    assert round(math.log2(needed), 1) == 52.8


def test_the_usual_template_is_strong_enough_for_a_million_codes() -> None:
    template = Template.parse("{string 4}-{number 4}-{upstring 4}")

    check_guessing(template, live_codes=1_000_000, seconds=90 * DAY_S, guesses_per_s=10)


def test_a_template_that_can_be_guessed_is_told_how_large_to_be() -> None:
    template = Template.parse("SALE-{number 8}")

    with pytest.raises(TemplateInvalid) as refused:
        check_guessing(template, live_codes=1_000_000, seconds=90 * DAY_S, guesses_per_s=10)

    assert str(refused.value) == (
        "The template's codes can be guessed: its space is 100,000,000 (26.6 bits) and must be "
        "7,776,000,000,000,000 (52.8 bits) for 1,000,000 live codes and 10 guesses per second during 90 days. "
        "Add characters, lower the maximum, or set allow_guessable."
    )


@given(
    st.integers(1, 30),
    st.integers(0, 10**9),
    st.floats(0, 10**9),
    st.floats(0, 10**4),
)
def test_the_chance_of_a_hit_decides(digits: int, live_codes: int, seconds: float, guesses_per_s: float) -> None:
    template = Template.parse(f"{{number {digits}}}")
    chance = guesses_per_s * seconds * live_codes / 10**digits

    if chance > 0.010001:
        with pytest.raises(TemplateInvalid, match="allow_guessable"):
            check_guessing(template, live_codes, seconds, guesses_per_s)
    elif chance < 0.009999 and chance * 10**digits * 100 <= 10**digits - 1:
        check_guessing(template, live_codes, seconds, guesses_per_s)


def test_the_edge_is_one_percent() -> None:
    template = Template.parse("{number 4}")

    check_guessing(template, live_codes=10, seconds=10, guesses_per_s=1)
    with pytest.raises(TemplateInvalid):
        check_guessing(template, live_codes=10, seconds=10.01, guesses_per_s=1)


def test_a_text_that_everybody_gets_is_guessable() -> None:
    with pytest.raises(TemplateInvalid, match=r"its space is 1 \(0.0 bits\)"):
        check_guessing(Template.parse("WELCOME"), live_codes=1, seconds=DAY_S, guesses_per_s=1)


def test_spaces_beyond_any_float_are_compared() -> None:
    check_guessing(Template.parse("{[" + "".join(map(chr, range(0x4E00, 0x4E00 + 1900))) + "] 200}"), 10**9, 10**9, 10)


@pytest.mark.parametrize(("live_codes", "seconds", "guesses_per_s"), [(1, math.inf, 1), (-1, 1, 1), (1, -1, 1)])
def test_an_amount_without_sense_is_refused(live_codes: int, seconds: float, guesses_per_s: float) -> None:
    with pytest.raises(ValueError, match="Cannot compute a space"):
        required_space(live_codes, seconds, guesses_per_s)


def test_a_space_below_the_maximum_is_refused() -> None:
    template = Template.parse("{number 4}")

    check_space(template, 10_000)
    with pytest.raises(TemplateInvalid) as refused:
        check_space(template, 10_001)

    assert str(refused.value) == (
        "The template can make 10,000 (13.3 bits) different codes, fewer than the maximum of 10,001: add "
        "characters to the template or lower the maximum."
    )


def test_only_the_numbers_that_can_be_minted_count() -> None:
    template = Template.parse("{number 30}")

    check_space(template, 10**18)
    with pytest.raises(TemplateInvalid):
        check_space(template, 10**18 + 1)
