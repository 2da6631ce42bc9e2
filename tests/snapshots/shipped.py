"""The packages that users install, and their modules."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

PACKAGES: Final = ("codewell", "services", "schemas")
_ROOT: Final = Path(__file__).parents[2]


def modules() -> Iterator[tuple[str, Path]]:
    """The name and the file of each module."""
    for package in PACKAGES:
        for path in sorted((_ROOT / package).rglob("*.py")):
            parts = path.relative_to(_ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            yield name, path


def trees() -> Iterator[ast.Module]:
    """The syntax tree of each module."""
    for _, path in modules():
        yield ast.parse(path.read_text("utf-8"))


def import_all() -> None:
    """Import each module, except those that are run as a program."""
    for name, _ in modules():
        if not name.endswith("__main__"):
            import_module(name)


def is_shipped(module: str) -> bool:
    """Whether a module is in one of the packages."""
    return module.partition(".")[0] in PACKAGES
