"""Finds `CODEWELL_*` variables that no setting has, such as misspelt ones, which would be ignored silently."""

import difflib
import os
from collections.abc import Collection
from typing import Final, NamedTuple

PREFIX: Final = "CODEWELL_"
# Read beside the settings: the stack's directory, options of commands, and what clients of this repository use.
_OTHERS: Final = frozenset({"CODEWELL_HOME", "CODEWELL_REGISTRY_URL", "CODEWELL_TOKEN"})
_TESTS: Final = "CODEWELL_TEST_"


class UnknownVariable(NamedTuple):
    """A variable that no setting has, and the setting whose name is most like it, or None."""

    name: str
    suggestion: str | None

    def __str__(self) -> str:
        hint = f"did you mean {self.suggestion}?" if self.suggestion else "codewell config show lists the settings."
        return f"{self.name} is no setting and is ignored: {hint}"


def possible_settings() -> frozenset[str]:
    """The environment's variables that could be settings."""
    return frozenset({name for name in os.environ if name.startswith(PREFIX) and name not in _OTHERS})


def unknown_variables(known: Collection[str]) -> list[UnknownVariable]:
    """The environment's unknown variables; `known` are the variables of all settings, in capitals."""
    given = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and not name.startswith(_TESTS))
    unknown = [name for name in given if name.upper() not in {*known, *_OTHERS}]
    return [
        UnknownVariable(name, next(iter(difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.75)), None))
        for name in unknown
    ]
