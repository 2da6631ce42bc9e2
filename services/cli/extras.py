"""The extras of the distribution, and a check that a command's dependencies are installed."""

import re
from importlib.metadata import PackageNotFoundError, distribution, requires
from typing import Final

from codewell.errors import ExtraMissing

_DISTRIBUTION: Final = "codewell"
# As in the metadata: `aiokafka[lz4]<0.15,>=0.14; extra == 'issuer'`.
_REQUIREMENT: Final = re.compile(r"([\w.-]+)[^;]*; extra == ['\"]([\w-]+)['\"]")


def require(extra: str) -> None:
    """Raise ExtraMissing unless all distributions of this extra are installed."""
    missing = [name for name in brings(extra) if not _is_installed(name)]
    if missing:
        what = " and ".join([", ".join(missing[:-1]), missing[-1]] if missing[1:] else missing)
        raise ExtraMissing(
            f"This command needs {what}, which {'are' if missing[1:] else 'is'} not installed: "
            f'pip install "{_DISTRIBUTION}[{extra}]".'
        )


def brings(extra: str) -> list[str]:
    """The distributions that an extra requires, from this distribution's metadata."""
    found = (_REQUIREMENT.fullmatch(line) for line in requires(_DISTRIBUTION) or ())
    return [requirement[1] for requirement in found if requirement and requirement[2] == extra]


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
