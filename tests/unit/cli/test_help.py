"""The help of the command line: every option is described, and no line of a list of commands is cut off."""

from collections.abc import Iterator

import click
import pytest

from benchmarks.commands import bench
from codewell.plurals import counted
from services.cli import codewell
from tests.support.command_tree import commands_of

# What click leaves for a command's line at its usual width of 80 columns, beside the indentation.
LINE_CHARACTERS_MAX = 78 - 6


def groups(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for one in commands_of(command).values():
            yield from groups(one, f"{name} {one.name}")


COMMANDS = [*groups(codewell, "codewell"), *groups(bench, "bench")]


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_and_option_has_help(name: str, command: click.Command) -> None:
    assert command.help, name
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{name} {option.opts}"
    if isinstance(command, click.Group):
        width = max(map(len, commands_of(command)))
        for one in commands_of(command).values():
            assert not one.get_short_help_str(LINE_CHARACTERS_MAX - width).endswith("..."), f"{name} {one.name}"


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [(0, "code", "0 codes"), (1, "code", "1 code"), (1_000, "key", "1,000 keys"), (2, "entry", "2 entries")],
)
def test_a_number_with_its_noun(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text
