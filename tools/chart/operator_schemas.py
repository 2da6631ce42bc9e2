"""Writes the JSON Schemas of `operators/` from definitions of resources (CRDs): `operators/README.md` says from which.

Texts are left out, and a field that is not named is refused, as `kubectl apply` with strict validation does.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from tools.chart.kubernetes_schemas import OPERATORS

_TEXTS: Final = ("description", "x-kubernetes-validations", "example", "externalDocs")


def main(paths: list[str]) -> None:
    """Write a schema for each version of each definition that the files hold."""
    for path in paths:
        for definition in YAML(typ="safe", pure=True).load_all(Path(path)):
            names = definition["spec"]["names"]
            group = definition["spec"]["group"]
            for version in definition["spec"]["versions"]:
                schema = _strict(version["schema"]["openAPIV3Schema"], is_root=True)
                name = f"{names['kind'].lower()}.{group}.{version['name']}.json"
                (OPERATORS / name).write_text(json.dumps(schema, separators=(",", ":"), sort_keys=True) + "\n", "utf-8")


def _strict(schema: Any, is_root: bool = False) -> Any:
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if name not in _TEXTS or not isinstance(value, str | list)}
    strict: dict[str, Any] = {}
    for name, value in kept.items():
        if name == "properties":
            strict[name] = {key: _strict(of) for key, of in value.items() if not (is_root and key == "status")}
        else:
            strict[name] = _strict(value)
    if strict.pop("x-kubernetes-int-or-string", False):
        strict.pop("anyOf", None)
        strict["type"] = ["integer", "string"]
    is_open = strict.pop("x-kubernetes-preserve-unknown-fields", False)
    is_object = strict.get("type") == "object" and "properties" in strict
    if is_object and "additionalProperties" not in strict and not is_open:
        strict["additionalProperties"] = False
    if is_root:
        strict["properties"]["metadata"] = {"type": "object"}
    return {name: value for name, value in strict.items() if not name.startswith("x-")}


if __name__ == "__main__":
    main(sys.argv[1:])
