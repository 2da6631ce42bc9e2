"""Folding: what people type for a code, and which codes must not be in one program."""

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codewell.errors import TemplateInvalid
from codewell.minting.folding import Folding, alike, fold
from codewell.minting.minter import Minter
from codewell.minting.template import Template


def folding(text: str) -> Folding:
    return Folding.of(Template.parse(text))


@pytest.mark.parametrize(
    ("typed", "folded"),
    [
        ("smFg-2497-DMPB", "smfg2497dmpb"),
        ("  AB\t12\n", "ab12"),
        ("AB\u201312\u20143\u20104\u22125", "ab12345"),
        ("A\u200bB\u200d1\ufeff2\u00ad", "ab12"),
        ("\u202eAB12\u202c\u200f", "ab12"),
        ("\uff21\uff22\uff11\uff12", "ab12"),
        ("A\u00a0B\u30001", "ab1"),
        ("Straße", "strasse"),
        ("ÉCOLE", "école"),
        ("E\u0301COLE", "école"),
        ("e\u200b\u0301", "é"),
        ("\u2460\u2163", "1iv"),
        ("--- \u2014", ""),
        ("", ""),
        ("OIL0", "oil0"),
        ("\ud800", "\ud800"),
    ],
)
def test_what_does_not_tell_codes_apart_is_dropped(typed: str, folded: str) -> None:
    assert fold(typed) == folded


@given(st.text(max_size=20))
@example("\u00a8e")
@example("\u0345\u0345a")
def test_a_folded_text_folds_to_itself(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert alike(alike(text)) == alike(text) == alike(fold(text))


@given(st.text(alphabet=st.characters(max_codepoint=0x7F), max_size=30))
def test_the_fast_way_for_ascii_is_the_slow_one(text: str) -> None:
    slow = "".join(
        one for one in text.casefold()
        if not (one.isspace() or unicodedata.category(one) in {"Cf", "Zs", "Pd"})
    )  # fmt: skip
    assert fold(text) == slow


def test_a_text_of_ten_kilobytes_is_no_trouble() -> None:
    assert folding("{safe 8}").unfold("\ufdfa" * 10_000) is None
    assert folding("{safe 8}").unfold("-" * 10_000) is None
    assert alike("\uff21" * 10_000) == "\uff21" * 10_000


@pytest.mark.parametrize(
    "template",
    ["{safe 8}", "SPRING-{safe 4}-{safe 4}",
     "-\u2014{upstring 3}- {number 3}-", "{number 12}", "Straße {safe 3}\ufb01-{safe 3}",
     "{safe 6}{check}", "{upstring 4}-{number 4}{check}", "{[\u03b1\u03b2\u03b3] 9}", "O{[01] 9}L"],
)  # fmt: skip
def test_each_code_is_found_however_it_is_typed(template: str) -> None:
    minter = Minter(Template.parse(template), bytes(range(32)))
    found = folding(template)
    for code in minter.mint(0, min(50, minter.numbers)):
        for typed in (code, code.lower(), code.replace("-", ""), code.replace("-", " "), f" {code.swapcase()}\u200b"):
            assert found.unfold(typed) == code
            assert alike(typed) == alike(code)
        assert found.can_be(alike(code))
        assert found.unfold(code + "2") is None


def test_a_letter_is_a_digit_only_where_the_alphabet_lacks_it() -> None:
    digits, capitals = folding("A{number 3}"), folding("A{upstring 3}")

    assert digits.unfold("aOIl") == "A011"
    assert capitals.unfold("aoil") == "AOIL"
    assert capitals.unfold("a011") is None
    # Without an alphabet nobody knows, so that these two must not be in one program.
    assert alike("AOIL") == alike("A011")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{string 8}", "'A' and 'a' of one place fold alike"),
        ("{[AB-] 8}", "'-' of a random place is dropped"),
        ("{[AB ] 8}", "' ' of a random place is dropped"),
        ("{[Aß] 8}", "'ß' of a random place becomes 'ss'"),
        ("{[1\u2460] 8}", "'1' and '\u2460' of one place fold alike"),
        ("e{[\u0301x] 8}", "joins the character before it"),
        ("\u1100{[\u1161\u1162] 3}", "joins the character before it"),
    ],
)
def test_a_template_whose_codes_would_fold_alike_is_refused(template: str, why: str) -> None:
    with pytest.raises(TemplateInvalid, match=re.escape(why)) as refused:
        folding(template)

    assert refused.value.reason == "template_folds_alike"


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("{safe 8}", "{safe 8}", False),
        ("{upstring 8}", "{upstring 8}", False),
        ("{safe 8}", "{safe 9}", False),
        ("{safe 8}", "{safe 4}-{safe 4}", True),
        ("-{safe 8}", "{safe 8}", True),
        ("A{safe 8}", "B{safe 8}", False),
        ("{safe 8}", "{number 8}", False),
        ("{upstring 4}", "{[abcd] 4}", True),
        ("{upstring 4}", "{[IL] 4}", True),
        ("{number 4}", "{upstring 4}", True),
        ("{[23] 4}", "{upstring 4}", False),
    ],
)
def test_whether_the_codes_of_two_templates_meet(one: str, other: str, meet: bool) -> None:
    assert folding(one).meets(folding(other)) is folding(other).meets(folding(one)) is meet


PARTS = st.lists(
    st.sampled_from(["{[AO0] 1}", "{[IL1] 2}", "{[ab] 1}", "-", "O", "0", "{[LB] 1}", "{[1B] 1}"]),
    min_size=1,
    max_size=3,
).map("".join)


@given(PARTS, PARTS)
def test_no_typed_text_stands_for_codes_of_two_templates_that_do_not_meet(first: str, second: str) -> None:
    one, other = folding(first), folding(second)
    if not one.meets(other):
        template = Template.parse(first)
        for code in Minter(template, bytes(32)).mint(0, template.space):
            for typed in (code, code.lower(), f" {code}"):
                assert other.unfold(typed) in {None, one.unfold(typed)}
