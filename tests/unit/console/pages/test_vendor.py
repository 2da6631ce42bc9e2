"""Files of other authors are those that their authors published, and nothing else lies beside them."""

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[4] / "services" / "console" / "pages" / "static" / "vendor"
PACKAGES: list[dict[str, Any]] = tomllib.loads((FOLDER / "vendor.toml").read_text())["package"]
FILES = {file["to"]: file["sha256"] for package in PACKAGES for file in package["files"].values()}


@pytest.mark.parametrize("name", FILES)
def test_a_vendored_file_is_the_published_one(name: str) -> None:
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == FILES[name], f"{name}: run make vendor"


def test_each_file_is_listed() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*FILES, "vendor.toml"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package["name"])
def test_each_package_brings_its_licence(package: dict[str, Any]) -> None:
    assert any(name.startswith("LICENSE") for name in package["files"])
    assert package["licence"] in {"0BSD", "MIT"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"])
