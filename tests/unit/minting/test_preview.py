from hypothesis import given
from hypothesis import strategies as st

from codewell.minting.minter import Minter
from codewell.minting.template import Template

KEY = bytes(range(32))


def minter(text: str, key: bytes = KEY) -> Minter:
    return Minter(Template.parse(text), key)


@given(st.binary(max_size=100), st.integers(0, 5_000))
def test_a_preview_is_no_code_while_half_the_numbers_are_left(request_id: bytes, codes_max: int) -> None:
    minted = minter("{number 4}")

    text = minted.preview(request_id, codes_max)

    assert minted.template.fits(text)
    assert (minted.find_numbers([text])[0] or 0) >= 5_000
    assert text == minted.preview(request_id, 1)


@given(st.binary(max_size=100), st.integers(5_001, 9_999))
def test_a_preview_is_no_code_while_any_number_is_left(request_id: bytes, codes_max: int) -> None:
    minted = minter("{number 4}")

    text = minted.preview(request_id, codes_max)

    assert (minted.find_numbers([text])[0] or 0) >= codes_max


def test_a_preview_fits_where_no_number_is_left() -> None:
    minted = minter("{number 4}")

    previews = {minted.preview(bytes([request]), codes_max=10_000) for request in range(200)}

    assert all(map(minted.template.fits, previews))
    assert len(previews) > 150


def test_previews_of_a_large_space_are_codes_of_numbers_too() -> None:
    minted = minter("{string 20}")

    (number,) = minted.find_numbers([minted.preview(b"0123456789abcdef", 10**9)])

    assert number is not None
    assert number >= minted.numbers // 2
