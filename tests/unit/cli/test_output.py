"""What a sender wrote is shown on a terminal, and never obeyed by it."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from codewell.errors import ProgramRefused
from services import cli
from services.cli.commands import Commands
from services.cli.output import print_facts, print_json, print_table, printable, say


def test_a_terminal_is_told_nothing() -> None:
    assert printable("\x1bc\x9b2J\r\n\u202e Größe 券") == r"\x1bc\x9b2J\r\n\u202e Größe 券"


FOREIGN = "\x1b]0;owned\x07\x9b2J\x7f\u202e\u2028\U000e0041"


def test_json_holds_no_control_character_and_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({FOREIGN: [FOREIGN, "Größe 券"]})
    out = capsys.readouterr().out
    assert out.removesuffix("\n").isprintable()
    assert json.loads(out) == {FOREIGN: [FOREIGN, "Größe 券"]}
    assert "Größe 券" in out


def test_names_of_facts_and_columns_are_not_obeyed_either(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({FOREIGN: {FOREIGN: 1}})
    print_table([{FOREIGN: [FOREIGN]}], "none")
    say(f"a\nb{FOREIGN}")
    assert all(line.isprintable() for line in capsys.readouterr().out.split("\n"))


def test_refusals_are_not_obeyed() -> None:
    @click.group(cls=Commands)
    def group() -> None:
        pass

    @group.command()
    def refused() -> None:
        raise ProgramRefused(f"The columns are {FOREIGN}.")

    done = CliRunner().invoke(group, ["refused"])
    assert done.exit_code == 1
    assert "The columns are" in done.output
    assert all(line.isprintable() for line in done.output.split("\n"))


def test_only_this_module_writes_to_the_terminal() -> None:
    """`say` and the printers escape what they quote; a bare echo is for the positions of the cursor only."""
    for path in Path(cli.__file__).parent.glob("*.py"):
        if path.name != "output.py":
            echoes = [line.strip() for line in path.read_text("utf-8").splitlines() if "click.echo(" in line]
            assert all(r"\r" in line for line in echoes), f"{path.name}: {echoes}"


def test_tables_and_facts_stay_on_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"key": "a\nb\x07"}], "none")
    print_facts({"key": "\x1b]52;c;QQ\x07"})
    out = capsys.readouterr().out
    assert out.splitlines() == ["key", r"a\nb\x07", r"key  \x1b]52;c;QQ\x07"]
