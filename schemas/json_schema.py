"""The shapes as JSON Schema (2020-12), for those who write senders and remote services in other languages."""

import json
from typing import Any

from pydantic import BaseModel

from schemas.events import DATA_OF_TYPE, schema_uri
from schemas.program import ProgramSettings
from schemas.remote import RemoteAnswer, RemoteRequest


def documents() -> dict[str, str]:
    """The text of each file in `schemas/json/`: event types, a program's settings, what remote services speak."""
    models: dict[str, type[BaseModel]] = {
        **DATA_OF_TYPE,
        "program": ProgramSettings,
        "remote-request": RemoteRequest,
        "remote-answer": RemoteAnswer,
    }
    return {
        f"{name}.json": json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "$id": schema_uri(name),
                **_plain(model.model_json_schema()),
            },
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
        for name, model in models.items()
    }


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Without `discriminator`, which is a word of OpenAPI: validators of JSON Schema refuse it."""
    plain: dict[str, Any] = json.loads(json.dumps(schema), object_hook=_without_discriminator)
    return plain


def _without_discriminator(node: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name != "discriminator" or "oneOf" not in node}
