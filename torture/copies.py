"""Copies of the product, which a run changes and puts before the product on the import path."""

import shutil
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[1]


def copied(directory: Path) -> Path:
    """Copy the packages of the product into the directory."""
    for name in ("codewell", "services", "schemas"):
        shutil.copytree(_ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    return directory
