"""The peer is FF1: the nine sample vectors that NIST published with SP 800-38G."""

import secrets

import pytest

from benchmarks.ff1 import Ff1, Ff1Codes
from benchmarks.mint import TEMPLATE
from codewell.minting.template import Template

AES_128 = "2B7E151628AED2A6ABF7158809CF4F3C"
AES_192 = f"{AES_128}EF4359D8D580AA4F"
AES_256 = f"{AES_192}7F036D6F04FC6A94"
TEN_BYTES = "39383736353433323130"
ELEVEN_BYTES = "3737373770717273373737"
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("key", "radix", "tweak", "plain", "secret"),
    [
        (AES_128, 10, "", "0123456789", "2433477484"),
        (AES_128, 10, TEN_BYTES, "0123456789", "6124200773"),
        (AES_128, 36, ELEVEN_BYTES, "0123456789abcdefghi", "a9tv40mll9kdu509eum"),
        (AES_192, 10, "", "0123456789", "2830668132"),
        (AES_192, 10, TEN_BYTES, "0123456789", "2496655549"),
        (AES_192, 36, ELEVEN_BYTES, "0123456789abcdefghi", "xbj3kv35jrawxv32ysr"),
        (AES_256, 10, "", "0123456789", "6657667009"),
        (AES_256, 10, TEN_BYTES, "0123456789", "1001623463"),
        (AES_256, 36, ELEVEN_BYTES, "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"),
    ],
)
def test_a_published_vector(key: str, radix: int, tweak: str, plain: str, secret: str) -> None:
    ff1 = Ff1(bytes.fromhex(key), radix, len(plain), bytes.fromhex(tweak))

    made = ff1.encrypt([DIGITS.index(digit) for digit in plain])

    assert "".join(DIGITS[numeral] for numeral in made) == secret
    assert "".join(DIGITS[numeral] for numeral in ff1.decrypt(made)) == plain


def test_its_codes_fit_the_template_and_are_found_again() -> None:
    codes = Ff1Codes(TEMPLATE, secrets.token_bytes(16))
    numbers = [*range(200), TEMPLATE.space - 1]

    made = codes.mint(numbers)

    assert all(TEMPLATE.fits(code) for code in made)
    assert codes.numbers_of(made) == numbers


def test_each_text_of_a_space_is_made_once_by_those_that_walk_too() -> None:
    template = Template.parse("{[abc] 1}-{[012] 2}")
    made = Ff1Codes(template, bytes(16)).mint(range(template.space))

    assert len(set(made)) == template.space == 27
    assert all(template.fits(code) for code in made)
