"""Codes and numbers in their order look drawn at random. Keys are fixed, so each outcome is too."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from codewell.minting.minter import Minter
from codewell.minting.permutation import Permutation
from codewell.minting.template import Template

USUAL = "{string 4}-{number 4}-{upstring 4}"
KEY = bytes(range(32))


def chi_square_is_usual(found: npt.NDArray[np.int64], total: int) -> bool:
    """Within five standard deviations of what even chances give."""
    expected = total / len(found)
    chi_square = float(((found - expected) ** 2 / expected).sum())
    freedom = len(found) - 1
    return abs(chi_square - freedom) <= 5 * math.sqrt(2 * freedom)


def minter(text: str, key: bytes = KEY) -> Minter:
    return Minter(Template.parse(text), key)


@pytest.mark.parametrize("size", [2**40, 2**41, 2**62])
def test_the_next_number_flips_each_bit_half_the_time(size: int) -> None:
    count = 20_000
    moved = Permutation(KEY[:16], size).forward(np.arange(count + 1))

    flips = moved[1:] ^ moved[:-1]

    for bit in range(size.bit_length() - 1):
        flipped = int((flips >> bit & 1).sum())
        # Five standard deviations of a fair coin.
        assert abs(flipped - count / 2) < 5 * (count / 4) ** 0.5, bit


@pytest.mark.parametrize("size", [10**6, 52**4 * 10**4 * 26**4, 2**61 + 1])
def test_differences_of_successive_numbers_show_nothing(size: int) -> None:
    count, bins = 50_000, 256
    moved = Permutation(KEY[:16], size).forward(np.arange(count + 1))

    steps = (moved[1:] - moved[:-1]) % size
    found = np.bincount((steps / size * bins).astype(np.int64), minlength=bins)

    assert len(found) == bins
    assert chi_square_is_usual(found, count)
    # A million steps that 50,000 draws fall on evenly: that one comes seven times has a chance of 2e-7.
    assert int(np.unique(steps, return_counts=True)[1].max()) < 7


def test_each_number_goes_everywhere_under_some_key() -> None:
    size, keys = 6, 3_000
    found = np.zeros((size, size), np.int64)
    for key in range(keys):
        found[np.arange(size), Permutation(key.to_bytes(16, "big"), size).forward(np.arange(size))] += 1

    chi_square = float(((found - keys / size) ** 2 / (keys / size)).sum())
    assert chi_square < (size - 1) ** 2 + 5 * (2 * (size - 1) ** 2) ** 0.5


@pytest.mark.parametrize("text", [USUAL, "{number 12}", "{string 20}", "{safe 30}"])
def test_every_place_of_successive_codes_is_uniform(text: str) -> None:
    minted = minter(text)
    codes = minted.mint(0, 50_000)
    points = np.array(codes).view(np.uint32).reshape(len(codes), -1)

    for place, alphabet in enumerate(minted.template.cells):
        found = [int((points[:, place] == ord(character)).sum()) for character in alphabet]
        assert chi_square_is_usual(np.array(found), len(codes))


@pytest.mark.parametrize("text", [USUAL, "{string 20}"])
def test_a_code_says_nothing_of_the_next_or_of_its_own_places(text: str) -> None:
    minted = minter(text)
    codes = minted.mint(0, 100_001)
    cells = minted.template.cells
    ranks = np.array([[cell.index(character) for character, cell in zip(code, cells, strict=True)] for code in codes])

    for place, cell in enumerate(cells):
        if len(cell) == 1:
            continue
        now, following = ranks[:-1, place], ranks[1:, place]
        pairs = np.bincount(now * len(cell) + following, minlength=len(cell) ** 2)
        assert chi_square_is_usual(pairs, len(codes) - 1)
        beside = ranks[:-1, place - 1]
        width = len(cells[place - 1])
        assert chi_square_is_usual(np.bincount(now * width + beside, minlength=len(cell) * width), len(codes) - 1)


def test_previews_spread_over_the_upper_half() -> None:
    minted = minter("{number 4}")
    previews = [minted.preview(request.to_bytes(16, "big"), 1) for request in range(5_000)]
    numbers = np.array(minted.find_numbers(previews), np.int64)

    assert chi_square_is_usual(np.bincount(numbers // 100 - 50, minlength=50), len(previews))
