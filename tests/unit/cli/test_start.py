"""Commands start without the libraries that only some of them need."""

import subprocess
import sys
from typing import Final

_LATE: Final = ("aiokafka", "asyncpg", "fastapi", "faust", "numpy")
_LOADED: Final = f"import sys, services.cli; print(*(name for name in {_LATE} if name in sys.modules))"


def test_no_command_loads_what_only_others_need() -> None:
    run = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
