import tomllib
from collections.abc import Iterator
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.deployment import DEPLOY, ROOT, image_arguments

FILES = ("constraints.txt", "build-constraints.txt")


def pins(path: str) -> list[Requirement]:
    lines = (ROOT / path).read_text().splitlines()
    return [Requirement(line.rstrip("\\")) for line in lines if line and not line.startswith((" ", "#"))]


def wanted(file: str) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    if file == "build-constraints.txt":
        return [str(one) for one in project["build-system"]["requires"]]
    extras = project["project"]["optional-dependencies"]
    found = [*project["project"]["dependencies"]]
    for extra in image_arguments()["EXTRAS"].split(","):
        # An extra that names another one of this distribution stands beside it here.
        found += [one for one in extras[extra] if Requirement(one).name != project["project"]["name"]]
    return found


def with_all_below(requirements: list[str]) -> set[str]:
    """The names of what these need on this machine, as what is installed here says."""
    found: set[tuple[str, str]] = set()

    def below(requirement: Requirement) -> Iterator[tuple[str, str]]:
        for extra in ("", *requirement.extras):
            yield canonicalize_name(requirement.name), extra

    left = [name for line in requirements for name in below(Requirement(line))]
    while left:
        name, extra = one = left.pop()
        if one in found:
            continue
        found.add(one)
        for line in requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                left += below(needed)
    return {name for name, _ in found}


@pytest.mark.parametrize("file", FILES)
def test_pins_are_those_that_are_tested(file: str) -> None:
    tested = {pin.name: str(pin.specifier) for pin in pins("constraints.txt")}
    pinned = {pin.name: str(pin.specifier) for pin in pins(f"deploy/{file}")}
    if file == "constraints.txt":
        assert pinned.keys() <= tested.keys(), "pin again as deploy/README.md says"
    other = {name for name, version in pinned.items() if version != tested.get(name, version)}
    assert not other, "pin again as deploy/README.md says"


@pytest.mark.parametrize("file", FILES)
def test_all_that_is_needed_is_pinned_and_nothing_else(file: str) -> None:
    pinned = {pin.name for pin in pins(f"deploy/{file}") if pin.marker is None or pin.marker.evaluate()}
    needed = with_all_below(wanted(file))
    if file == "build-constraints.txt":
        # Most of it builds images and is not installed where tests run, so what is below it is not known here.
        tools = {pin.name for pin in pins("deploy/build-requirements.txt")}
        assert tools | needed <= pinned, "pin again as deploy/README.md says"
    else:
        assert pinned == needed, "pin again as deploy/README.md says"


@pytest.mark.parametrize("file", FILES)
def test_no_address_is_recorded(file: str) -> None:
    assert "://" not in (DEPLOY / file).read_text()
