"""Files of the chart that are made from others of this repository; `make docs` writes them."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from codewell.infra.kafka.acls import acls
from codewell.infra.kafka.group_lag import GROUPS
from schemas import topics
from tools.chart.settings_schema import settings_schema

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "deploy" / "chart"
SCHEMA: Final = CHART / "values.schema.json"
_BEGIN: Final = "<!-- values: begin -->\n"
_END: Final = "<!-- values: end -->\n"
_SETTINGS: Final = '    "settings": {'


def generated() -> dict[Path, str]:
    """The text of each generated file."""
    deploy = ROOT / "deploy"
    return {
        CHART / "files" / "codewell.rules.yaml": (deploy / "prometheus" / "codewell.rules.yaml").read_text("utf-8"),
        CHART / "files" / "codewell.json": (deploy / "grafana" / "codewell.json").read_text("utf-8"),
        CHART / "files" / "topics.json": _lines(_topics()),
        CHART / "files" / "scaling.json": _lines(_scaling()),
        CHART / "examples" / "kafka-users.yaml": _kafka_users(),
        SCHEMA: _with_settings(SCHEMA.read_text("utf-8")),
        CHART / "README.md": _with_table((CHART / "README.md").read_text("utf-8")),
    }


def _lines(rows: list[dict[str, Any]]) -> str:
    return "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n]\n"


def _topics() -> list[dict[str, Any]]:
    return [
        {"name": topic.name, "partitions": topic.partitions, "config": dict(topic.config)} for topic in topics.TOPICS
    ]


def _scaling() -> list[dict[str, Any]]:
    """The groups and topics whose lag says how many issuers there have to be."""
    wanted = {*topics.REQUESTS, *map(topics.retry_of, topics.REQUESTS)}
    return [{"group": group, "topic": topic} for group, names in GROUPS.items() for topic in names if topic in wanted]


def _kafka_users() -> str:
    """A KafkaUser for each principal, with its rights, as YAML."""
    said = [
        "# Made by `make docs`: what `codewell topics --acls` prints, for Strimzi, whose Secrets have the same names."
    ]
    for principal, of in groupby(acls(""), lambda acl: acl.principal):
        said += [
            "---",
            "apiVersion: kafka.strimzi.io/v1",
            "kind: KafkaUser",
            "metadata:",
            f"  name: {principal}",
            "  labels: {strimzi.io/cluster: codewell}",
            "spec:",
            "  authentication: {type: scram-sha-512}",
            "  authorization:",
            "    type: simple",
            "    acls:",
        ]
        by_resource: dict[tuple[str, str, bool], list[str]] = {}
        for acl in of:
            by_resource.setdefault((acl.resource, acl.name, acl.is_prefix), []).append(acl.operation)
        for (kind, name, is_prefix), operations in by_resource.items():
            pattern = "prefix" if is_prefix else "literal"
            resource = f"{{type: {kind}, name: {name}, patternType: {pattern}}}"
            said.append(f"      - {{resource: {resource}, operations: [{', '.join(operations)}]}}")
    return "\n".join(said) + "\n"


def _with_settings(schema: str) -> str:
    """The schema with what `settings` may be; the rest of it is written by a person and stays as it is."""
    before = schema[: schema.rindex(_SETTINGS)]
    indented = json.dumps(settings_schema(), indent=2, ensure_ascii=False).replace("\n", "\n    ")
    return f'{before}    "settings": {indented}\n  }}\n}}\n'


def _with_table(page: str) -> str:
    before, rest = page.split(_BEGIN)
    _, after = rest.split(_END)
    return before + _BEGIN + values_table() + _END + after


def values_table() -> str:
    """Every value with its default and its meaning, as a Markdown table."""
    schema = json.loads(SCHEMA.read_text("utf-8"))
    values = YAML(typ="safe", pure=True).load(CHART / "values.yaml")
    rows = _rows("", schema, values, schema["definitions"])
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _rows(path: str, schema: dict[str, Any], values: Any, definitions: dict[str, Any]) -> list[str]:
    described = schema.get("description", "")
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
        described = described or schema.get("description", "")
    if not path or (schema.get("properties") and not path.endswith(("settings", "resources"))):
        row = [f"| `{path}` | | {described} |"] if path and described else []
        inner = schema["properties"].items()
        return row + [
            line
            for name, of in inner
            if name != "global"
            for line in _rows(f"{path}.{name}".strip("."), of, values[name], definitions)
        ]
    return [f"| `{path}` | {_default(values)} | {described} |"]


def _default(value: Any) -> str:
    return "" if value in ("", [], {}) else f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def write() -> None:
    """Write all generated files: the schema first, as the table reads it."""
    for path, text in generated().items():
        path.write_text(text, "utf-8")
