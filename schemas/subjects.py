"""The subjects of a schema registry: the JSON Schema of each topic's values."""

import json
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from schemas.events import DATA_OF_TYPE, schema_uri
from schemas.topics import ANSWERED, TOPICS, Topic, retry_of

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REF: Final = "#/$defs/{model}"
_COPIES: Final = frozenset(map(retry_of, ANSWERED))


def subjects(prefix: str = "") -> dict[str, str]:
    """The schema of each subject as JSON text; a subject is a topic's name with `-value`.

    Topics whose values come from others as they are (retries, dead letters) have none.
    """
    return {
        f"{prefix}{topic.name}-value": json.dumps(_schema(topic), ensure_ascii=False)
        for topic in TOPICS
        if topic.types and topic.name not in _COPIES
    }


def _schema(topic: Topic) -> dict[str, Any]:
    if len(topic.types) == 1:
        [event_type] = topic.types
        return {"$schema": _DIALECT, "$id": schema_uri(event_type), **DATA_OF_TYPE[event_type].model_json_schema()}
    models = [DATA_OF_TYPE[event_type] for event_type in topic.types]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    names = [_REF.format(model=model.__name__) for model in models]
    return {
        "$schema": _DIALECT,
        "$id": schema_uri(topic.name),
        "title": topic.name,
        "oneOf": [{"$ref": name} for name in names],
        **definitions,
    }
