"""The deployment's files, read as what runs them reads them."""

import json
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
DOCKERFILE: Final = DEPLOY / "Dockerfile"
COMPOSE: Final = DEPLOY / "compose.yaml"

# Contract, section 2.
COMMANDS: Final = frozenset(
    {"standalone", "demo", "issuer", "generator", "console", "migrate", "topics"}
    | {"program", "code", "send", "dlq", "audit", "bench"}
    # Beyond the contract.
    | {"login", "lifecycle"}
)


class Instruction(NamedTuple):
    """One line of the Dockerfile, with the number of its stage."""

    stage: int
    name: str
    value: str

    @property
    def words(self) -> list[str]:
        """The words of its exec form."""
        words: list[str] = json.loads(self.value[self.value.index("[") :])
        return words


def instructions() -> list[Instruction]:
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    stage, found = -1, []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, value = line.split(None, 1)
        stage += name == "FROM"
        found.append(Instruction(stage, name, " ".join(value.split())))
    return found


def final(name: str) -> list[Instruction]:
    """The instructions of this name in the last stage, the one that is shipped."""
    found = instructions()
    return [one for one in found if one.name == name and one.stage == found[-1].stage]


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for one in final("ENV") for pair in one.value.split())


def image_arguments() -> dict[str, str]:
    """What may be chosen when an image is built, and what it is otherwise."""
    return dict(one.value.split("=", 1) for one in instructions() if one.name == "ARG" and "=" in one.value)


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(COMPOSE)
    return loaded


def services() -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"]
    return found


def own_services() -> list[str]:
    return [name for name, service in services().items() if "build" in service]


def seconds(duration: str) -> float:
    found = re.fullmatch(r"(\d+)s", duration)
    assert found is not None, duration
    return float(found[1])
