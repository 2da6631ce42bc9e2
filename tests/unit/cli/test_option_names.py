"""Sentences that name settings, as commands say them."""

from typing import Any

import click
import pytest

from codewell.errors import ProgramRefused
from services.cli.option_names import in_options
from services.cli.output import with_masked
from services.cli.program_settings import checked, given, settings_options


def test_all_missing_settings_are_listed_by_their_options() -> None:
    with pytest.raises(ProgramRefused) as caught:
        checked({})
    missing = "NAME; --template, --remote-url or --import-only; --codes-max"
    assert str(caught.value) == f"Give what is missing: {missing}. Nothing was made."


@pytest.mark.parametrize(
    ("settings", "begin"),
    [
        ({"codes_max": 0}, "--codes-max: must be at least 1"),
        ({"codes_max": 9, "pool_max": 10}, "the program: --pool-max must not be more than --codes-max"),
        ({"codes_max": 9, "source": {"kind": "remote", "url": "x"}}, "--remote-url: "),
        ({"codes_max": 9, "uses": {"per_code": 0}}, "--uses-per-code: must be at least 1"),
        ({"codes_max": 9, "uses": {"per_profile": "all"}}, "--uses-per-profile: must be a whole number"),
        ({"codes_max": 9, "colour": "red"}, "colour: remove this field"),
        ({"codes_max": 9, "name": "A B"}, "NAME: "),
    ],
)
def test_a_wrong_setting_is_named_by_its_option(settings: dict[str, object], begin: str) -> None:
    with pytest.raises(ProgramRefused) as caught:
        checked({"name": "X", "source": {"kind": "template", "template": "{string 20}"}} | settings)
    assert str(caught.value).startswith(begin)


@pytest.mark.parametrize(
    ("words", "uses"),
    [
        ([], None),
        (["--uses-per-code", "3"], {"per_code": 3}),
        (["--uses-per-code", "any", "--uses-per-profile", "2"], {"per_code": None, "per_profile": 2}),
        (["--uses-per-profile", "-1"], {"per_profile": "-1"}),
    ],
)
def test_limits_of_uses_are_numbers_or_any(words: list[str], uses: dict[str, object] | None) -> None:
    found: dict[str, object] = {}

    @click.command()
    @settings_options
    def read(**options: Any) -> None:
        found.update(given(**options))

    read.main([*words, "--holder-only", "--refund", "keep_used"], standalone_mode=False)
    assert found == {"holder_only": True, "refund": "keep_used"} | ({} if uses is None else {"uses": uses})


def test_sentences_name_options() -> None:
    assert in_options("set allow_guessable or valid_until.") == "set --allow-guessable or --valid-until."
    assert in_options("give it as discount=VALUE.") == "give it as --field discount=VALUE."
    # A word that is a setting and more stays as it is.
    assert in_options("The source of my_codes_max is active.") == "The source of my_codes_max is active."


def test_a_value_is_masked_where_it_stands_alone() -> None:
    assert with_masked("programs: 'p' and \"p\", p", {"p"}) == "programs: '***' and \"***\", ***"
    assert with_masked("p-1001 has p-10011", {"p-1001"}) == "p-*** has p-10011"
