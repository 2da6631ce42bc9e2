"""Which typing errors a check character finds: proved from its tables, and tried at each place of the longest code."""

import json
import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codewell.minting.check_character import CHECK_CHARACTERS_MAX, _tables, caught
from codewell.minting.minter import Minter
from codewell.minting.template import ALPHABETS, CODE_CHARACTERS_MAX, Template
from examples.check.check import DIGITS, SAFE, is_right

EXAMPLES = Path(__file__).parents[3] / "examples/check"
VECTORS: list[dict[str, Any]] = json.loads((EXAMPLES / "vectors.json").read_text())
ALL = Fraction(1)


@pytest.mark.parametrize("size", [*range(2, 40), 62, 64, 81, 108, CHECK_CHARACTERS_MAX])
def test_each_digit_and_each_state_lead_to_another_state(size: int) -> None:
    """So every wrong character is found, at any place, and a check character exists anywhere in a code."""
    step = _tables(size).step.reshape(size, size)
    back, solve = (table.reshape(size, size) for table in _tables(size)[1:])
    states, digits = np.indices(step.shape)

    assert (np.sort(step, axis=0) == states).all()
    assert (np.sort(step, axis=1) == digits).all()
    assert (back[step, digits] == states).all()
    assert (solve[states, step] == digits).all()


def test_the_check_of_safe_finds_each_error_from_each_state() -> None:
    """28 states x 28 x 28 digits, and each digit between. What follows maps states one to one: so at any place."""
    step = _tables(28).step.reshape(28, 28)
    alike = np.eye(28, dtype=bool)
    for state in range(28):
        two = step[step[state]]
        assert ((two == two.T) == alike).all(), "swap"
        twins = two.diagonal()
        assert len(set(twins.tolist())) == 28, "twin error"
        for between in range(28):
            three = step[step[step[state], between]]
            assert ((three == three.T) == alike).all(), "jump swap"


@pytest.mark.parametrize("token", ["safe", "number"])
def test_errors_at_each_place_of_the_longest_code_are_found(token: str) -> None:
    template = Template.parse(f"{{{token} 100}}{{check}}{{{token} 99}}")
    check, alphabet = template.check, ALPHABETS[token]
    assert check is not None
    assert template.length == CODE_CHARACTERS_MAX
    [code] = Minter(template, bytes(range(32))).mint(7, 1)
    typed = [code[:at] + one + code[at + 1 :] for at in range(len(code)) for one in alphabet if one != code[at]]
    typed += [
        code[:at] + code[at + 1] + code[at] + code[at + 2 :]
        for at, (one, other) in enumerate(pairwise(code))
        if one != other
    ]
    if token == "safe":
        typed += [code[:at] + code[at : at + 3][::-1] + code[at + 3 :] for at in range(198) if code[at] != code[at + 2]]
        aa = [code[:at] + 2 * alphabet[0] + code[at + 2 :] for at in range(98)]
        right = [check.complete(one) for one in aa]
        typed += [one[:at] + 2 * bb + one[at + 2 :] for at, one in enumerate(right) for bb in alphabet[1:]]
    points = np.frombuffer("".join(typed).encode("utf-32-le"), "<u4").astype(np.uint32).reshape(-1, len(code)).T

    assert template.fits(code)
    assert len(typed) > 200 * (len(alphabet) - 1)
    assert (check.points(np.ascontiguousarray(points)) != points[check.place]).all()


@pytest.mark.parametrize(
    ("size", "swaps", "jump_swaps", "twins"),
    [
        (28, ALL, ALL, ALL),
        (36, ALL, ALL, ALL),
        (32, ALL, ALL, ALL),
        (52, ALL, ALL, ALL),
        (81, ALL, ALL, ALL),
        (108, ALL, ALL, ALL),
        # Damm's table finds all swaps.
        (10, ALL, Fraction(8042, 9000), Fraction(824, 900)),
        # Z2 x Z13: letters that are 13 apart.
        (26, Fraction(24, 25), Fraction(24, 25), Fraction(24, 25)),
        (62, Fraction(60, 61), Fraction(60, 61), Fraction(60, 61)),
        (3, ALL, Fraction(0), Fraction(0)),
        (2, Fraction(0), Fraction(0), Fraction(0)),
    ],
)
def test_what_is_said_to_be_found(size: int, swaps: Fraction, jump_swaps: Fraction, twins: Fraction) -> None:
    assert caught(size) == (swaps, jump_swaps, twins)


def test_the_shares_of_a_group_hold_from_each_state() -> None:
    """`caught` looks at one state of a group only."""
    step = _tables(6).step.reshape(6, 6)
    different = [(state, one, other) for state in range(6) for one in range(6) for other in range(6) if one != other]

    found = [step[step[state, one], other] != step[step[state, other], one] for state, one, other in different]

    assert Fraction(sum(map(int, found)), len(found)) == caught(6).swaps == Fraction(4, 5)


def test_what_people_read() -> None:
    def sentence(template: str) -> str:
        check = Template.parse(template).check
        return "" if check is None else check.sentence

    assert sentence("{safe 8}{check}") == (
        "The check character finds every wrong character, swap (ab for ba), jump swap (abc for cba) and twin error "
        "(aa for bb). It adds no strength."
    )
    assert sentence("{number 6}{check}") == (
        "The check character finds every wrong character and swap (ab for ba), and 89.3 % of jump swaps (abc for cba) "
        "and 91.5 % of twin errors (aa for bb). It adds no strength."
    )


def test_the_examples_share_vectors_that_the_minter_makes() -> None:
    safe = Minter(Template.parse("SPRING-{safe 4}-{safe 4}-{check}"), bytes(range(32))).mint(0, 4)
    digits = Minter(Template.parse("M{number 4}{check}-{number 4}"), bytes(range(32))).mint(0, 4)

    right = [one["code"] for one in VECTORS if one["right"]]
    assert not {*safe, *digits} - set(right)
    assert len(right) == 24
    assert sum(not one["right"] for one in VECTORS) > 48
    assert {one["alphabet"] for one in VECTORS} == {SAFE, DIGITS}


def test_the_python_example() -> None:
    assert [is_right(one["code"], one["mask"], one["alphabet"]) for one in VECTORS] == [one["right"] for one in VECTORS]


def test_the_javascript_example() -> None:
    script = (
        'import { isRight } from "./check.mjs"; import { readFileSync } from "node:fs";'
        'const vectors = JSON.parse(readFileSync("vectors.json", "utf8"));'
        "const told = vectors.map((one) => isRight(one.code, one.mask, one.alphabet));"
        "console.log(JSON.stringify(told));"
    )
    ran = subprocess.run(
        ["node", "--input-type=module", "-e", script], cwd=EXAMPLES, capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip

    assert json.loads(ran.stdout) == [one["right"] for one in VECTORS]


@pytest.mark.parametrize("name", ["check.py", "check.mjs", "check.sql"])
def test_each_example_has_some_twenty_lines(name: str) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) <= 22
