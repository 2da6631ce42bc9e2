"""Codes for people: nothing to misread in them, and no words."""

from codewell.minting.minter import Minter
from codewell.minting.template import ALPHABETS, Template

# What must not stand on a voucher, and what people would write for it with digits.
RUDE = ("ASS", "CUNT", "COCK", "CRAP", "DAMN", "DICK", "FUCK", "KILL", "NAZI", "PISS", "SEX", "SHIT", "SLUT", "TITS",
        "A55", "C0CK", "5EX", "SH1T", "FUK", "FCUK")  # fmt: skip


def test_no_character_is_read_for_another_and_none_is_a_vowel() -> None:
    assert not set("01ILOUAE") & set(ALPHABETS["safe"])


def test_a_million_codes_hold_no_rude_word() -> None:
    codes = Minter(Template.parse("{safe 12}"), bytes(range(32))).mint(0, 1_000_000)
    joined = "\n".join(codes)

    assert [word for word in RUDE if word in joined] == []
    # The list is one that finds something: so many capitals and digits hold some of it.
    others = "\n".join(Minter(Template.parse("{upstring 12}"), bytes(range(32))).mint(0, 100_000))
    assert [word for word in RUDE if word in others] != []
