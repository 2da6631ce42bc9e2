"""The services of `deploy/compose.yaml` as commands of Podman, one by one.

The images of Postgres and Kafka can't be pulled here, so both run as processes of this machine: the containers share
its network, and get these addresses and free ports in place of those in the file. All else is as the file says.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from deploy.check.image.engine import ROOT, ULIMITS

# Each takes one value, and its name is Podman's.
_OPTIONS: Final = {
    "mem_limit": "memory",
    "pids_limit": "pids-limit",
    "shm_size": "shm-size",
    "user": "user",
}
_LISTS: Final = {"tmpfs": "tmpfs", "cap_drop": "cap-drop", "cap_add": "cap-add", "security_opt": "security-opt"}


def services() -> dict[str, dict[str, Any]]:
    """The services of the file, with what they share filled in."""
    loaded = YAML(typ="safe", pure=True).load(ROOT / "deploy" / "compose.yaml")
    found: dict[str, dict[str, Any]] = loaded["services"]
    return found


def options(service: Mapping[str, Any]) -> Iterator[str]:
    """What limits a service, as options of Podman."""
    yield from ULIMITS
    if service.get("read_only"):
        yield "--read-only"
    if service.get("init"):
        yield "--init"
    for name, option in _OPTIONS.items():
        if name in service:
            yield f"--{option}={service[name]}"
    for name, option in _LISTS.items():
        for value in service.get(name, ()):
            yield f"--{option}={value}"
    # Those with a name are the caller's to make.
    yield from (f"--volume={place}" for place in service.get("volumes", ()) if ":" not in place)
    log = service["logging"]
    yield f"--log-driver={log['driver']}"
    for name, value in log.get("options", {}).items():
        yield f"--log-opt={name}={value}"


def environment(service: Mapping[str, Any], changed: Mapping[str, str]) -> Iterator[str]:
    """Its variables, those without a value left out, with some of them changed."""
    given = {name: value for name, value in service["environment"].items() if value is not None}
    for name, value in {**given, **changed}.items():
        yield f"--env={name}={value}"


def secrets(service: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Its secrets, mounted as Compose mounts them: with the file's own mode."""
    for name in service["secrets"]:
        yield f"--volume={folder / name}:/run/secrets/{name}:ro"


def command(service: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Its entrypoint as an option, and the words after the image."""
    first, *more = service.get("entrypoint", [""])
    return [f"--entrypoint={first}"] if first else [], [*more, *service["command"]]
