from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from codewell.minting.permutation import RUN_NUMBERS_MAX, SIZE_MAX, Permutation

KEY = bytes(range(16))
OTHER_KEY = bytes(range(1, 17))

# What the first and last numbers of each size become under KEY. Codes that customers hold depend on these values: where
# one changes, the algorithm is another and needs a number of its own.
GOLDEN = {
    1: [0],
    2: [1, 0],
    3: [1, 0, 2],
    10: [0, 9, 6, 5, 1, 4, 3, 2],
    300: [142, 246, 297, 108, 34, 185, 253, 125],
    4_097: [3559, 3488, 2774, 1512, 1502, 408, 911, 1416],
    1_000_000: [864012, 946348, 66388, 968681, 8336, 43870, 233284, 291073],
    52**4 * 10**4 * 26**4: [
        24437558973584299,
        27443225905088309,
        9876285526169663,
        26982583140703704,
        32005802757476904,
        1511293874341126,
        13917406058719605,
        15175666864393204,
    ],
    2**40: [
        970946156124,
        259389834416,
        734419871919,
        899055840380,
        507452770531,
        13272610814,
        886959397493,
        779544691598,
    ],
    2**40 + 1: [
        559685049716,
        460612409551,
        760000408065,
        175645736608,
        542106693330,
        807388453448,
        424743760376,
        990949406292,
    ],
    2**61 + 1: [
        1119519970979846912,
        2133021883461449987,
        1153069486365493061,
        835748843991456937,
        421722657687628309,
        925568609062353024,
        192627994815412517,
        2044475925905141643,
    ],
    2**62: [
        1209004789393815340,
        925277784507909507,
        1119143241468896807,
        756247671420712735,
        756161313171458088,
        4105378411981157996,
        1406196543743155005,
        1263804053243768303,
    ],
}


def ends(size: int) -> npt.NDArray[np.int64]:
    count = min(size, 8)
    below = count - count // 2
    return np.array([*range(below), *range(size - count // 2, size)], np.int64)


def plainly(number: int, key: bytes, size: int) -> int:
    """The same permutation, one number at a time and written from its description alone."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    bits = (size - 1).bit_length()
    widths = [bits // 2, bits - bits // 2]
    while True:
        left, right = number >> widths[1], number % 2 ** widths[1]
        for turn in range(10):
            block = right.to_bytes(4, "little") + bytes([turn]) + b"CW\x01" + size.to_bytes(8, "little")
            answer = int.from_bytes(encryptor.update(block)[:8], "little")
            left, right = right, left ^ answer % 2 ** widths[turn % 2]
        number = left * 2 ** widths[1] + right
        if number < size:
            return number


@pytest.mark.parametrize("size", GOLDEN)
def test_the_permutation_is_for_ever(size: int) -> None:
    permutation = Permutation(KEY, size)

    assert permutation.forward(ends(size)).tolist() == GOLDEN[size]
    assert permutation.inverse(np.array(GOLDEN[size], np.int64)).tolist() == ends(size).tolist()


@given(st.binary(min_size=16, max_size=16), st.integers(1, SIZE_MAX), st.data())
def test_it_is_what_its_description_says(key: bytes, size: int, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5))

    moved = Permutation(key, size).forward(np.array(numbers, np.int64))

    assert moved.tolist() == [plainly(number, key, size) for number in numbers]


@pytest.mark.parametrize("sizes", [range(1, 301), [1000], [4096], [4097], [3 * RUN_NUMBERS_MAX + 1]])
def test_small_permutations_are_bijections(sizes: list[int]) -> None:
    for size in sizes:
        numbers = np.arange(size)
        permutation = Permutation(KEY, size)

        moved = permutation.forward(numbers)

        assert np.array_equal(np.sort(moved), numbers), size
        assert np.array_equal(permutation.inverse(moved), numbers), size


@given(st.binary(min_size=16, max_size=16), st.integers(1, SIZE_MAX), st.data())
def test_large_permutations_turn_back(key: bytes, size: int, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, size - 1), max_size=20, unique=True))
    permutation = Permutation(key, size)

    moved = permutation.forward(np.array(numbers, np.int64))

    assert len(set(moved.tolist())) == len(numbers)
    assert all(0 <= number < size for number in moved.tolist())
    assert permutation.inverse(moved).tolist() == numbers
    assert permutation.forward(permutation.inverse(np.array(numbers, np.int64))).tolist() == numbers


def test_what_it_is_given_stays_as_it_was() -> None:
    permutation = Permutation(KEY, 1000)
    numbers = np.arange(1000)
    numbers.flags.writeable = False

    moved = permutation.forward(numbers)
    moved.flags.writeable = False
    permutation.inverse(moved)

    assert np.array_equal(numbers, np.arange(1000))


def test_signed_unsigned_and_strided_numbers_are_the_same() -> None:
    permutation = Permutation(KEY, 2**62)
    numbers = np.arange(100)

    moved = permutation.forward(numbers)

    assert np.array_equal(permutation.forward(numbers.astype(np.uint64)), moved)
    assert np.array_equal(permutation.forward(numbers[::-3]), moved[::-3])
    assert permutation.forward(numbers[:0]).tolist() == []


def test_a_number_moves_alike_alone_and_in_a_run() -> None:
    permutation = Permutation(KEY, 10**9)
    numbers = np.arange(2 * RUN_NUMBERS_MAX + 3)

    moved = permutation.forward(numbers)

    for place in (0, RUN_NUMBERS_MAX - 1, RUN_NUMBERS_MAX, 2 * RUN_NUMBERS_MAX, 2 * RUN_NUMBERS_MAX + 2):
        assert permutation.forward(numbers[place : place + 1]).tolist() == [moved[place]]


@pytest.mark.parametrize("number", [-1, 1000, 2**63 - 1, -(2**63)])
def test_a_number_outside_is_refused(number: int) -> None:
    permutation = Permutation(KEY, 1000)
    numbers = np.array([5, number, 7], np.int64)

    with pytest.raises(ValueError, match="takes numbers from 0 to 999"):
        permutation.forward(numbers)
    with pytest.raises(ValueError, match="takes numbers from 0 to 999"):
        permutation.inverse(numbers)


@pytest.mark.parametrize("size", [0, -1, SIZE_MAX + 1])
def test_a_size_outside_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="size is from 1"):
        Permutation(KEY, size)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes, not 32"):
        Permutation(KEY + KEY, 10)


def test_threads_share_one_permutation() -> None:
    permutation = Permutation(KEY, 10**12)
    numbers = np.arange(4 * RUN_NUMBERS_MAX)
    alone = permutation.forward(numbers)

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(permutation.forward, [numbers] * 32))

    assert all(np.array_equal(moved, alone) for moved in together)


def test_keys_and_sizes_are_apart() -> None:
    numbers = np.arange(1_000)
    moved = Permutation(KEY, 10**6).forward(numbers)

    # A thousand pairs drawn from a million meet about once in a thousand such comparisons of places.
    assert int((Permutation(OTHER_KEY, 10**6).forward(numbers) == moved).sum()) < 5
    assert int((Permutation(KEY, 10**6 + 1).forward(numbers) == moved).sum()) < 5
