"""Checks resources against the schemas of Kubernetes and of the operators whose resources the chart makes."""

import json
import re
import zipfile
from functools import cache
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator

from tools.chart.helm import wheel

VERSIONS: Final = ("1.30", "1.31", "1.32", "1.33", "1.34")
OPERATORS: Final = Path(__file__).with_name("operators")
_FOLDER: Final = "kubernetes_validate/kubernetes-json-schema/v{}.0-local-strict"
_DEFINITIONS: Final = "/api/_definitions.json#"


def complaints(resource: dict[str, Any], kubernetes: str) -> list[str]:
    """What is wrong with a resource, as `Kind/name: place: sentence`; a field that no schema knows is wrong too."""
    who = f"{resource['kind']}/{resource['metadata']['name']}"
    validator = _validator(resource["apiVersion"], resource["kind"], kubernetes)
    if validator is None:
        return [f"{who}: no schema of {resource['apiVersion']} for Kubernetes {kubernetes}"]
    return [f"{who}: {error.json_path}: {error.message}" for error in validator.iter_errors(resource)]


@cache
def _validator(api_version: str, kind: str, kubernetes: str) -> Draft202012Validator | None:
    group, _, version = api_version.rpartition("/")
    operator = OPERATORS / f"{kind.lower()}.{group}.{version}.json"
    if operator.exists():
        return Draft202012Validator(json.loads(operator.read_text("utf-8")))
    return _kubernetes_validator(f"{kind.lower()}-{group.partition('.')[0]}-{version}".replace("--", "-"), kubernetes)


def _kubernetes_validator(name: str, kubernetes: str) -> Draft202012Validator | None:
    archive, folder = zipfile.ZipFile(wheel("kubernetes-validate")), _FOLDER.format(kubernetes)
    with archive:
        if f"{folder}/{name}.json" not in archive.namelist():
            return None
        schema = json.loads(archive.read(f"{folder}/{name}.json"))
    definitions = _definitions(kubernetes)
    # Only what it refers to: each reference into the whole would be looked up among thousands.
    reached: dict[str, Any] = {}
    waiting = _referred(schema)
    while waiting:
        if (one := waiting.pop()) not in reached:
            reached[one] = definitions[one]
            waiting += _referred(definitions[one])
    return Draft202012Validator(json.loads(json.dumps({**schema, "$defs": reached}).replace(_DEFINITIONS, "#")))


def _referred(schema: dict[str, Any]) -> list[str]:
    return re.findall(r'#/\$defs/([^"]+)"', json.dumps(schema))


@cache
def _definitions(kubernetes: str) -> dict[str, Any]:
    with zipfile.ZipFile(wheel("kubernetes-validate")) as archive:
        found: dict[str, Any] = json.loads(archive.read(f"{_FOLDER.format(kubernetes)}/_definitions.json"))["$defs"]
        return found
