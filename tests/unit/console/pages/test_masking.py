"""Masks hide enough of a code that nobody can redeem what is left, and keep what people recognise it by."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codewell.access.tokens import Token
from schemas.token import Scope
from services.console.pages.masking import Masking, guesses_of, masked_code, masked_profile


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("smFg-2497-DMPB", "smFg-••••-••••"),
        ("SALE-abcd-efgh-WXYZ", "SALE-••••-••••-••••"),
        ("SPRING-ABCD", "SPR•••-••••"),
        ("ABCDEFGH", "AB••••••"),
        # What is left of these would be guessed within a year.
        ("ABCDEFG", "A••••••"),
        ("ABCD-1234", "A•••-••••"),
        ("12345678", "••••••••"),
        ("1234567890", "12••••••••"),
        ("!!!!????", "••••••••"),
        ("ABCDE", "•••••"),
        ("A", "•"),
        ("-", "-"),
        ("ÄÖÜ-ßßßß", "Ä••-••••"),
    ],
)
def test_codes_are_masked(text: str, masked: str) -> None:
    assert masked_code(text) == masked


@given(
    st.one_of(st.text(min_size=1, max_size=40), st.from_regex(r"[0-9A-Z]{1,4}(-[0-9A-Z]{1,6}){0,4}", fullmatch=True))
)
def test_what_a_mask_shows_shortens_no_guess_below_a_year(text: str) -> None:
    masked = masked_code(text)
    assert len(masked) == len(text)
    shown = [one for one, mask in zip(text, masked, strict=True) if mask == one and one not in "-_./ •"]
    hidden = [one for one, mask in zip(text, masked, strict=True) if mask == "•"]
    minutes = guesses_of(hidden) / 2 / 60
    assert not shown or minutes > 60 * 24 * 365
    assert len(shown) <= 4


@pytest.mark.parametrize(
    ("profile_id", "masked"), [("p-1001", "p-••••"), ("ann@example.com", "an••••"), ("p-1", "••••"), ("p", "••••")]
)
def test_profile_ids_are_masked_to_one_length(profile_id: str, masked: str) -> None:
    assert masked_profile(profile_id) == masked


def token(*scopes: Scope) -> Token:
    return Token(1, "t", scopes, (), datetime.now(UTC), None, None)


@pytest.mark.parametrize(
    ("scopes", "may_show"),
    [(("read",), False), (("read", "profiles"), False), (("write",), True), (("redeem",), True), (("admin",), True)],
)
def test_who_may_only_read_sees_masks_even_if_shown(scopes: tuple[Scope, ...], may_show: bool) -> None:
    masking = Masking(token(*scopes), is_shown=True)
    assert masking.may_show == may_show
    assert masking.code("smFg-2497-DMPB") == ("smFg-2497-DMPB" if may_show else "smFg-••••-••••")
    assert masking.profile("p-1001") == ("p-1001" if may_show else "p-••••")
    assert masking.profile(None) == ""
    assert Masking(token(*scopes)).code("smFg-2497-DMPB") == "smFg-••••-••••"
