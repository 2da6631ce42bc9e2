"""A variable that no setting has is named, with the setting that was probably meant."""

import os

import click
import pytest
from click.testing import CliRunner

from codewell.infra.config.unknown_variables import unknown_variables
from services.cli.commands import Commands
from services.cli.settings_reference import known_variables


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("CODEWELL_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_every_setting_is_known(environment: pytest.MonkeyPatch) -> None:
    for name in {*known_variables(), "CODEWELL_HOME", "CODEWELL_TEST_SEED", "codewell_api_port"}:
        environment.setenv(name, "1")
    assert unknown_variables(known_variables()) == []


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("CODEWELL_TOPIC_PREFX", "CODEWELL_TOPIC_PREFIX"),
        ("CODEWELL_MASTERKEY_FILE", "CODEWELL_MASTER_KEY_FILE"),
        ("CODEWELL_MISSES_PER_MIN", "CODEWELL_MISSES_PER_MINUTE"),
        ("CODEWELL_ZZZ", None),
        # No secret, so there is no file of it.
        ("CODEWELL_TOPIC_PREFIX_FILE", "CODEWELL_TOPIC_PREFIX"),
    ],
)
def test_an_unknown_one_is_named_at_the_start(
    environment: pytest.MonkeyPatch, name: str, suggestion: str | None
) -> None:
    @click.group(cls=Commands)
    def group() -> None:
        pass

    @group.command()
    def starts() -> None:
        pass

    environment.setenv(name, "secret-value")
    done = CliRunner().invoke(group, ["starts"])
    assert done.exit_code == 0
    assert f"{name} is no setting and is ignored" in done.stderr
    assert "secret-value" not in done.output
    if suggestion:
        assert f"did you mean {suggestion}?" in done.stderr
