import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from codewell.minting.minter import ALGORITHM, Minter
from codewell.minting.permutation import Permutation
from codewell.minting.template import Template
from examples.check.check import is_right

KEY = bytes(range(32))
REQUEST_ID = b"0123456789abcdef"

# Template, numbers, some numbers' texts, and the preview of REQUEST_ID, under KEY. As with the permutation, another
# value is another algorithm.
GOLDEN: list[tuple[str, int, dict[int, str], str]] = [
    ("WELCOME", 1, {0: "WELCOME"}, "WELCOME"),
    ("{number 1}", 10, {0: "0", 1: "9", 2: "6", 9: "2"}, "4"),
    (
        "{string 4}-{number 4}-{upstring 4}",
        33412330332160000,
        {0: "MbJN-9242-QQCX", 1: "QKWv-6368-TQOR", 2: "ptoc-3064-NJYD", 33412330332159999: "xGhn-2511-QHUA"},
        "jljV-5418-BDZU",
    ),
    (
        "{safe 8}",
        377801998336,
        {0: "KF4NDG4X", 1: "3FHNMMKJ", 2: "D9K2YVGB", 377801998335: "RRBXG4HG"},
        "NXN34D6W",
    ),
    (
        "🎁{[🎂🎃😀é] 3}-{number 2}",
        6400,
        {0: "🎁🎂é🎃-39", 1: "🎁🎂é🎃-68", 2: "🎁éé🎂-97", 6399: "🎁🎃🎂🎃-13"},
        "🎁🎂é🎃-63",
    ),
    (
        "S-{safe 4}{check}-{safe 4}",
        377801998336,
        {0: "S-KF4N3-DG4X", 1: "S-3FHN8-MMKJ", 377801998335: "S-RRBX6-G4HG"},
        "S-NXN3R-4D6W",
    ),
    ("{number 6}{check}", 1_000_000, {0: "8640129", 1: "9463485", 2: "0663880"}, "8865131"),
    (
        "{[01] 62}",
        2**62,
        {
            0: "01000011000111001111110111001101001011100100000111011100101100",
            2**62 - 1: "01000110001001111011110001011100101011010010110010110111101111",
        },
        "11001001110010011011101100011101110101100111111010111000100101",
    ),
    (
        "{[01] 63}",
        2**62,
        {
            0: "010000110001110011111101110011010010111001000001110111001011001",
            2**62 - 1: "010001100010011110111100010111001010110100101100101101111011110",
        },
        "110010011100100110111011000111011101011001111110101110001001011",
    ),
    (
        "{number 19}",
        10**18,
        {0: "1502440456325706879", 1: "1285609355340741844", 10**18 - 1: "0394451086282972155"},
        "4325126716537046092",
    ),
    (
        "{string 20}",
        52**10,
        {0: "NruPUOOTFYZrkjqGDHUK", 1: "KkkDpEEYJXvcYEFdygNX", 52**10 - 1: "EQHXbNPLyMXZEBHiCWSW"},
        "xEWKGleapnaEiKWvvOMe",
    ),
    (
        "{number 5}/{[αβγ] 40}",
        10**5 * 3**28,
        {
            0: "65684/βγαααααγγγαβαββγαγβγβγβααββγγααααβββγγββ",
            10**5 * 3**28 - 1: "60038/ααβαγβαβαβαβγβγγγαγγααβαβαβγαββγββαβγγγβ",
        },
        "13233/βαγααβββγββγβββαβαγαααβγααβααγγβαγββγγαα",
    ),
]


def minter(text: str, key: bytes = KEY) -> Minter:
    return Minter(Template.parse(text), key)


def test_the_algorithm_has_a_number() -> None:
    assert ALGORITHM == 1


@pytest.mark.parametrize(("text", "numbers", "texts", "preview"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_codes_are_for_ever(text: str, numbers: int, texts: dict[int, str], preview: str) -> None:
    minted = minter(text)

    assert minted.numbers == numbers
    assert {number: minted.mint(number, 1)[0] for number in texts} == texts
    assert minted.find_numbers(list(texts.values())) == list(texts)
    assert minted.preview(REQUEST_ID, codes_max=1) == preview


def plainly(template: Template, number: int) -> str:
    """The text of a number under KEY, one place at a time and written from the description alone."""
    cells = template.free_cells
    sizes = [len(cell) for cell in cells]
    head = max(place for place in range(len(sizes) + 1) if math.prod(sizes[:place]) <= 2**62)
    permutation = Permutation(KEY[:16], math.prod(sizes[:head]))
    (index,) = permutation.forward(np.array([number], np.int64)).tolist()
    characters: list[str] = []
    for cell in reversed(cells[:head]):
        index, digit = divmod(index, len(cell))
        characters.insert(0, cell[digit])
    encryptor = Cipher(algorithms.AES(KEY[16:]), modes.ECB()).encryptor()
    for place, cell in enumerate(cells[head:]):
        pair, half = divmod(place, 2)
        answer = encryptor.update(number.to_bytes(8, "little") + pair.to_bytes(4, "little") + b"CWt\x01")
        word = int.from_bytes(answer[8 * half : 8 * half + 8], "little") >> 12
        characters.append(cell[word * len(cell) >> 52])
    if template.check is not None:
        mask = "".join("?" if len(cell) > 1 else cell for cell in template.cells)
        at, alphabet = template.check.place, template.check.alphabet
        fits = ["".join([*characters[:at], one, *characters[at:]]) for one in alphabet]
        [characters] = [list(code) for code in fits if is_right(code, mask, alphabet)]
    return "".join(characters)


@pytest.mark.parametrize("text", [row[0] for row in GOLDEN])
def test_codes_are_what_their_description_says(text: str) -> None:
    minted = minter(text)

    for number in sorted({0, minted.numbers // 3, minted.numbers - 1}):
        assert minted.mint(number, 1) == [plainly(minted.template, number)]
