import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codewell.errors import TemplateInvalid
from codewell.minting.template import ALPHABETS, CODE_CHARACTERS_MAX, TEMPLATE_CHARACTERS_MAX, Template

TOKENS = "{string n}, {number n}, {upstring n}, {safe n}, {[characters] n} or {check}"


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("WELCOME", tuple("WELCOME")),
        ("{number 2}", (string.digits,) * 2),
        ("{string 1}", (string.ascii_letters,)),
        ("{upstring 1}", (string.ascii_uppercase,)),
        ("{safe 1}", ("23456789BCDFGHJKMNPQRSTVWXYZ",)),
        ("{[xyz] 2}", ("xyz", "xyz")),
        ("A{number 1}-{[xy] 1} ", ("A", string.digits, "-", "xy", " ")),
        ("{number   2}", (string.digits,) * 2),
        ("{ number 2 }", (string.digits,) * 2),
        ("{number 002}", (string.digits,) * 2),
        ("{[ab]   2}", ("ab", "ab")),
        ("{[A] 2}", ("A", "A")),
        (r"\{number 1\}", tuple("{number 1}")),
        (r"\\{number 1}\\", ("\\", string.digits, "\\")),
        (r"{[\{\}\\\]] 1}", ("{}\\]",)),
        ("{[[(] 1}]", ("[(", "]")),
        ("{[ a] 1}", (" a",)),
        ("🎁{[🎂é字] 1}ß", ("🎁", "🎂é字", "ß")),
    ],
)
def test_a_template_says_what_stands_at_each_place(text: str, cells: tuple[str, ...]) -> None:
    template = Template.parse(text)

    assert template.cells == cells
    assert template.text == text
    assert template.length == len(cells)
    assert template.positions == tuple(cell for cell in cells if len(cell) > 1)


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("WELCOME", 1),
        ("{number 6}", 10**6),
        ("{string 4}-{number 4}-{upstring 4}", 52**4 * 10**4 * 26**4),
        ("{safe 200}", 28**200),
    ],
)
def test_the_space_is_the_product_of_the_alphabets(text: str, space: int) -> None:
    assert Template.parse(text).space == space


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", f"The template is empty: write literal characters, {TOKENS}."),
        (
            "{word 4}",
            f'The token "{{word 4}}" is unknown: use {TOKENS}, or write \\{{ and \\}} for literal braces.',
        ),
        ("{}", f'The token "{{}}" is unknown: use {TOKENS}, or write \\{{ and \\}} for literal braces.'),
        ("{4}", f'The token "{{4}}" is unknown: use {TOKENS}, or write \\{{ and \\}} for literal braces.'),
        (
            "{String 4}",
            f'The token "{{String 4}}" is unknown: use {TOKENS}, or write \\{{ and \\}} for literal braces.',
        ),
        (
            "{" + "w" * 60 + " 4}",
            f'The token "{{{"w" * 38}…" is unknown: use {TOKENS}, or write \\{{ and \\}} for literal braces.',
        ),
        ("{string4}", 'Put a space before the number in "{string4}": write {string 4}.'),
        ("{[AB]4}", 'Put a space after the ] in "{[AB]4}", as in {[ABC] 4}.'),
        (
            "{[] 4}",
            'The alphabet in "{[] 4}" is empty: put its characters between [ and ], as in {[ABC] 4}.',
        ),
        (
            "{[ABACB] 4}",
            'The alphabet in "{[ABACB] 4}" repeats A B: write each character once.',
        ),
        (
            r"{[A\\B\\] 4}",
            r'The alphabet in "{[A\\B\\] 4}" repeats \: write each character once.',
        ),
        (
            "{[ABC 4}",
            'The alphabet in "{[ABC 4}" is never closed: put ] after its characters, as in {[ABC] 4}.',
        ),
        (
            "A{number 4",
            (
                "The { at character 2 opens a token that is never closed: close it with }, as in {string 4}, "
                "or write \\{ for a literal brace."
            ),
        ),
        (
            "{string 4-{number 4}",
            (
                "The { at character 1 opens a token that is never closed: close it with }, as in {string 4}, "
                "or write \\{ for a literal brace."
            ),
        ),
        (
            "{[AB{] 4}",
            (
                "The { at character 1 opens a token that is never closed: close it with }, as in {string 4}, "
                "or write \\{ for a literal brace."
            ),
        ),
        ("AB}", "The } at character 3 closes no token: write \\} for a literal brace, or remove it."),
        ("A\\B", '"\\B" is not an escape sequence: write \\{ or \\} or \\\\, where \\\\ is a literal backslash.'),
        ("A\\", '"\\" is not an escape sequence: write \\{ or \\} or \\\\, where \\\\ is a literal backslash.'),
        (
            "{[A\\B] 2}",
            '"\\B" is not an escape sequence: write \\{ or \\} or \\\\ or \\], where \\\\ is a literal backslash.',
        ),
        (
            "{string}",
            ('The token "{string}" has no number of characters: add a space and a number, as in {string 4}.'),
        ),
        (
            "{[AB]}",
            ('The token "{[AB]}" has no number of characters: add a space and a number, as in {string 4}.'),
        ),
        ("{string 0}", 'The number "0" in "{string 0}" is not valid: write a whole number from 1 to 200.'),
        ("{string 201}", 'The number "201" in "{string 201}" is not valid: write a whole number from 1 to 200.'),
        ("{string -1}", 'The number "-1" in "{string -1}" is not valid: write a whole number from 1 to 200.'),
        ("{string 1.5}", 'The number "1.5" in "{string 1.5}" is not valid: write a whole number from 1 to 200.'),
        ("{string ٣}", 'The number "٣" in "{string ٣}" is not valid: write a whole number from 1 to 200.'),
        ("{string n}", 'The number "n" in "{string n}" is not valid: write a whole number from 1 to 200.'),
        ("{string 4 5}", 'The number "4 5" in "{string 4 5}" is not valid: write a whole number from 1 to 200.'),
        (
            "{number 200}-",
            "The codes would have 201 characters: shorten the template to at most 200 characters per code.",
        ),
        ("A\nB", "Character 2 of the template, U+000A, is not printable: remove it."),
        ("A\x00", "Character 2 of the template, U+0000, is not printable: remove it."),
        ("\u200b", "Character 1 of the template, U+200B, is not printable: remove it."),
        ("{[A\u00a0] 2}", "Character 4 of the template, U+00A0, is not printable: remove it."),
        ("\ud83c", "Character 1 of the template, U+D83C, is not printable: remove it."),
        ("A" * 2001, "The template has 2,001 characters: shorten it to at most 2,000."),
    ],
)
def test_a_template_that_is_wrong_is_told_what_to_do(text: str, sentence: str) -> None:
    with pytest.raises(TemplateInvalid) as refused:
        Template.parse(text)

    assert str(refused.value) == sentence


def test_a_number_of_thousands_of_digits_is_refused_and_not_computed() -> None:
    with pytest.raises(TemplateInvalid, match="write a whole number from 1 to 200"):
        Template.parse("{number " + "9" * (TEMPLATE_CHARACTERS_MAX - 20) + "}")


@pytest.mark.parametrize(
    ("text", "sentence", "position"),
    [
        ("{check}", "There is no random character before {check}: put it after the characters", 1),
        ("AB-{[x] 2}{check}{safe 8}", "There is no random character before {check}", 11),
        ("{safe 4}{check}-{safe 4}{check}", "The template has {check} twice", 25),
        ("{safe 4}{check 2}", "A code has one check character, without a number: write {check}.", 9),
        ("{safe 4}{check2}", "A code has one check character, without a number: write {check}.", 9),
        ("{safe 4}{checks}", 'The token "{checks}" is unknown', 9),
        ("{[" + "".join(map(chr, range(0x400, 0x481))) + "] 2}{check}", "have 129 different characters", None),
        ("{safe 200}{check}", "The codes would have 201 characters", None),
    ],
)
def test_a_check_character_that_cannot_be_is_refused(text: str, sentence: str, position: int | None) -> None:
    with pytest.raises(TemplateInvalid, match=re.escape(sentence)) as refused:
        Template.parse(text)

    assert refused.value.position == position


def test_a_check_character_adds_a_place_and_no_strength() -> None:
    template = Template.parse("S-{safe 4}{check}-{number 4}")

    assert template.length == 12
    assert template.cells[6] == "0123456789BCDFGHJKMNPQRSTVWXYZ"
    assert template.space == 28**4 * 10**4
    assert template.positions == (ALPHABETS["safe"],) * 4 + (ALPHABETS["number"],) * 4
    assert template.count_common_texts(Template.parse("S-{safe 5}-{number 4}")) == 28**4 * 10**4
    assert not template.count_common_texts(Template.parse("S-{safe 4}a-{number 4}"))


def test_a_code_of_the_greatest_length_is_fine() -> None:
    assert Template.parse("{number 100}" + "-" * 100).length == CODE_CHARACTERS_MAX


@pytest.mark.parametrize("code", ["smFg-2497-DMPB", "ZZZZ-0000-AAAA"])
def test_a_code_fits(code: str) -> None:
    assert Template.parse("{string 4}-{number 4}-{upstring 4}").fits(code)


@pytest.mark.parametrize(
    "code",
    ["", "smFg-2497-DMP", "smFg-2497-DMPBX", "smFg_2497-DMPB", "smFg-2497-DMPb", "smFg-249A-DMPB", "smFg-249٣-DMPB"],
)
def test_another_text_does_not_fit(code: str) -> None:
    assert not Template.parse("{string 4}-{number 4}-{upstring 4}").fits(code)


def read_or_refused(text: str) -> Template | str:
    try:
        return Template.parse(text)
    except TemplateInvalid as refused:
        return str(refused)


@given(st.text(alphabet=st.sampled_from("{}[]\\ a4Ж🎁stringumbe\x07"), max_size=30))
def test_any_text_is_read_or_refused_in_one_sentence(text: str) -> None:
    read = read_or_refused(text)

    if isinstance(read, Template):
        assert read.check is None
        assert read.fits("".join(cell[0] for cell in read.cells))
    else:
        assert re.fullmatch(r"[^\n]+\.", read)


@given(st.text(alphabet=st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=50))
def test_an_escaped_text_stands_for_itself(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace("{", "\\{").replace("}", "\\}")

    assert "".join(Template.parse(escaped).cells) == text


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("{number 2}", "{number 2}", 100),
        ("{number 2}", "{number 3}", 0),
        ("{number 2}", "{upstring 2}", 0),
        ("{string 2}", "{upstring 2}", 26**2),
        ("A{number 1}", "{upstring 1}{[13x] 1}", 2),
        ("A-{number 1}", "B-{number 1}", 0),
        ("AB", "A{string 1}", 1),
        ("{[ABC] 1}{[abc] 1}", "{[CDE] 1}{[bcd] 1}", 2),
        ("{string 200}", "{upstring 200}", 26**200),
    ],
)
def test_how_many_texts_two_templates_share(one: str, other: str, shared: int) -> None:
    first, second = Template.parse(one), Template.parse(other)

    assert first.count_common_texts(second) == second.count_common_texts(first) == shared
