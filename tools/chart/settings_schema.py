"""What `settings` of the chart's values may be: each setting of the services, with its type and bounds."""

from typing import Any, Final

from codewell.infra.config.secret_files import is_secret
from services.cli.settings_reference import READERS

# The chart sets these from values of their own, or they are not for a deployment.
_BY_OTHER_VALUES: Final = frozenset(
    {"allow_insecure", "api_host", "api_port", "failpoints", "health_host", "health_port", "public_url"}
    | {"reply_topics", "topic_prefix"}
)
_KEPT: Final = ("type", "enum", "const", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def settings_schema() -> dict[str, Any]:
    """The JSON Schema of the value `settings`; names as in the environment."""
    found: dict[str, Any] = {}
    for reader in READERS.values():
        described = reader.model_json_schema(by_alias=False)["properties"]
        for name, field in reader.model_fields.items():
            is_connection = name.startswith(("postgres_", "kafka_"))
            if not (is_connection or is_secret(field) or name in _BY_OTHER_VALUES):
                found[f"CODEWELL_{name.upper()}"] = _of(described[name])
    return {"type": "object", "additionalProperties": False, "properties": dict(sorted(found.items()))}


def _of(described: dict[str, Any]) -> dict[str, Any]:
    """One setting: what the variable's value may be, in YAML; null is to leave it out."""
    kinds = [kind for kind in described.get("anyOf", [described]) if kind.get("type") != "null"]
    kind = next((kind for kind in kinds if kind.get("type") in {"string", "array", "object"}), kinds[0])
    kept = {name: value for name, value in (kind | described).items() if name in _KEPT}
    if kept.get("type") == "array":
        kept["items"] = {"type": "string"}
    return kept | {"description": described["description"]}
