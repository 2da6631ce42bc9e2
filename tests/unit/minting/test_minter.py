from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codewell.minting.minter import RUN_CELLS_MAX, TABLE_CODE_POINTS_MAX, Minter, mintable_count
from codewell.minting.template import Template

KEY = bytes(range(32))
USUAL = "{string 4}-{number 4}-{upstring 4}"


def minter(text: str, key: bytes = KEY) -> Minter:
    return Minter(Template.parse(text), key)


@pytest.mark.parametrize("text", ["{number 5}", "{[abc] 4}-{[жд] 1}", "X{[🎂🎃] 6}", "{[q] 5}{safe 2}"])
def test_a_small_template_is_minted_out_without_a_text_twice(text: str) -> None:
    whole = minter(text)

    texts = whole.mint(0, whole.numbers)

    assert len(set(texts)) == len(texts) == whole.template.space
    assert all(map(whole.template.fits, texts))
    assert whole.find_numbers(texts) == list(range(whole.numbers))


@pytest.mark.parametrize("text", [USUAL, "{number 6}", "{string 50}", "{number 19}🎁"])
def test_a_code_is_the_same_in_any_run(text: str) -> None:
    minted = minter(text)
    run = RUN_CELLS_MAX // minted.template.length
    first, count = 12_345, 2 * run + 2

    texts = minted.mint(first, count)

    assert len(texts) == count
    assert texts[: run + 1] == minted.mint(first, run + 1)
    assert texts[5:12] == minted.mint(first + 5, 7)
    for place in (0, run - 1, run, 2 * run, 2 * run + 1):
        assert minted.mint(first + place, 1) == [texts[place]]
    assert minted.find_numbers(texts) == list(range(first, first + count))


ALPHABETS = st.lists(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="{}[]\\"), min_size=1, max_size=40, unique=True
).map("".join)
TOKENS = st.one_of(
    st.builds("{{{} {}}}".format, st.sampled_from(["string", "number", "upstring", "safe"]), st.integers(1, 12)),
    st.builds("{{[{}] {}}}".format, ALPHABETS, st.integers(1, 12)),
    st.sampled_from(["-", "🎁", " ", "ß", "CODE", "\\{", "\\\\"]),
)
TEMPLATES = st.one_of(
    st.lists(TOKENS, min_size=1, max_size=8).map("".join),
    st.builds("{}{{[abcé🎁] 2}}{{check}}{}".format, st.sampled_from(["", "A-", "{safe 4}"]), TOKENS),
)


@given(TEMPLATES, st.binary(min_size=32, max_size=32), st.data())
def test_any_template_is_minted_and_read_back(text: str, key: bytes, data: st.DataObject) -> None:
    minted = minter(text, key)
    first = data.draw(st.integers(0, minted.numbers - 1))
    count = data.draw(st.integers(0, min(20, minted.numbers - first)))

    texts = minted.mint(first, count)

    assert len(set(texts)) == count
    assert all(map(minted.template.fits, texts))
    assert minted.find_numbers(texts) == list(range(first, first + count))


@given(TEMPLATES, st.data())
def test_a_text_has_a_number_only_where_minting_gives_it_back(text: str, data: st.DataObject) -> None:
    minted = minter(text)
    fitting = st.tuples(*[st.sampled_from(cell) for cell in minted.template.cells]).map("".join)
    anything = st.text(st.characters(), max_size=minted.template.length + 1)
    texts = data.draw(st.lists(st.one_of(fitting, anything), max_size=8))

    for code, number in zip(texts, minted.find_numbers(texts), strict=True):
        if number is None:
            assert minted.numbers < minted.template.space or not minted.template.fits(code)
        else:
            assert minted.mint(number, 1) == [code]


@pytest.mark.parametrize(
    "text",
    [
        "MbJN-9242-QQC",
        "MbJN-9242-QQCXX",
        "MbJN-9242-QQCx",
        "MbJN_9242-QQCX",
        "MbJN-9242-QQC\ud800",
        "MbJN-9242-QQC🎁",
        "MbJN-9242-QQC" + chr(TABLE_CODE_POINTS_MAX - 1),
        "MbJN-9242-QQC" + chr(TABLE_CODE_POINTS_MAX),
        "MbJN-9242-QQC\x00",
        "",
    ],
)
def test_a_text_that_does_not_fit_has_no_number(text: str) -> None:
    assert minter(USUAL).find_numbers(["MbJN-9242-QQCX", text, "QKWv-6368-TQOR"]) == [0, None, 1]


def test_a_foreign_character_is_no_number_where_the_alphabet_is_searched() -> None:
    searched = minter("{[🎂🎃] 2}")

    assert searched.find_numbers(["🎂a", "🎂\U0010ffff", "🎂🎄", "\ud800🎂", "🎂🎂🎂"]) == [None] * 5
    assert None not in searched.find_numbers(["🎂🎂", "🎃🎂"])


def test_another_tail_than_its_number_has_is_no_code() -> None:
    minted = minter("{string 20}")
    (code,) = minted.mint(7, 1)

    others = [code[:place] + ("a" if code[place] != "a" else "b") + code[place + 1 :] for place in range(10, 20)]

    assert minted.find_numbers([code, *others]) == [7, *[None] * 10]


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (0, -1), (0, 10_001), (10_000, 1), (9_999, 2)])
def test_numbers_that_are_not_there_are_refused(first: int, count: int) -> None:
    with pytest.raises(ValueError, match="There are no"):
        minter("{number 4}").mint(first, count)


def test_no_numbers_are_no_codes() -> None:
    minted = minter("{number 4}")

    assert minted.mint(10_000, 0) == []
    assert minted.find_numbers([]) == []


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 16"):
        minter(USUAL, KEY[:16])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("WELCOME", 1),
        ("{number 18}", 10**18),
        ("{number 30}-X", 10**18),
        ("{[01] 62}-{[0] 9}", 2**62),
        ("{string 1}{[01] 80}", 52 * 2**56),
    ],
)
def test_as_many_numbers_as_the_leading_places_have(text: str, numbers: int) -> None:
    assert mintable_count(Template.parse(text)) == minter(text).numbers == numbers


def test_each_half_of_the_key_counts() -> None:
    codes = minter("{string 20}").mint(0, 100)
    other_head = minter("{string 20}", KEY[16:] + KEY[16:]).mint(0, 100)
    other_tail = minter("{string 20}", KEY[:16] + KEY[:16]).mint(0, 100)

    assert {code[:10] for code in codes}.isdisjoint(code[:10] for code in other_head)
    assert [code[10:] for code in codes] == [code[10:] for code in other_head]
    assert [code[:10] for code in codes] == [code[:10] for code in other_tail]
    assert {code[10:] for code in codes}.isdisjoint(code[10:] for code in other_tail)


def test_threads_share_one_minter() -> None:
    minted = minter("{string 20}")
    alone = minted.mint(0, 20_000)

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda _: minted.mint(0, 20_000), range(16)))

    assert all(texts == alone for texts in together)
