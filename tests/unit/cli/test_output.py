"""What a sender wrote is shown on a terminal, and never obeyed by it."""

import pytest

from services.cli.output import print_facts, print_table, printable


def test_a_terminal_is_told_nothing() -> None:
    assert printable("\x1bc\x9b2J\r\n\u202e Größe 券") == r"\x1bc\x9b2J\r\n\u202e Größe 券"


def test_tables_and_facts_stay_on_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"key": "a\nb\x07"}], "none")
    print_facts({"key": "\x1b]52;c;QQ\x07"})
    out = capsys.readouterr().out
    assert out.splitlines() == ["key", r"a\nb\x07", r"key  \x1b]52;c;QQ\x07"]
