"""Commands start without the libraries that only some of them need."""

import os
import subprocess
import sys
from typing import Final

import pytest

_LATE: Final = ("aiokafka", "asyncpg", "fastapi", "faust", "numpy")
_LOADED: Final = f"""
import sys
from services.cli import codewell
from tests.support.command_tree import commands_of
for command in commands_of(codewell).values():
    if hasattr(command, "list_commands"):
        commands_of(command)
print(*(name for name in {_LATE} if name in sys.modules))
"""
# Which modules of a command are there once this help was shown.
_SHOWN: Final = """
import sys
from click.testing import CliRunner
from services.cli import codewell
assert CliRunner().invoke(codewell, ["code", "list", "--help"]).exit_code == 0
print(*sorted(name for name in sys.modules if name.startswith("services.cli.code")))
"""


def test_no_command_loads_what_only_others_need() -> None:
    run = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_a_command_loads_no_other_one() -> None:
    run = subprocess.run([sys.executable, "-c", _SHOWN], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["services.cli.code", "services.cli.code_list"]


def test_an_import_loads_no_library_that_only_services_need() -> None:
    asked = "import sys, codewell.imports.run; print(*({'aiokafka', 'rich', 'structlog'} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


_ASKED: Final = """
import sys
from click.testing import CliRunner
from services.cli import codewell
assert CliRunner().invoke(codewell, ["config", "show", "--help"]).exit_code == 0
print("services.console.settings" in sys.modules)
"""


@pytest.mark.parametrize(("name", "is_loaded"), [("CODEWELL_POSTGRES_URL", False), ("CODEWELL_POSTGRES_ULR", True)])
def test_the_settings_of_all_services_are_loaded_for_a_variable_that_a_command_does_not_know(
    name: str, is_loaded: bool
) -> None:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("CODEWELL_")} | {name: "x"}
    run = subprocess.run([sys.executable, "-c", _ASKED], capture_output=True, text=True, check=True, env=variables)
    assert run.stdout.split() == [str(is_loaded)]
