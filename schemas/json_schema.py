"""The shapes as JSON Schema (2020-12), for those who write senders and remote services in other languages."""

import json

from pydantic import BaseModel

from schemas.events import DATA_OF_TYPE
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
            {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": name, **model.model_json_schema()},
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
        for name, model in models.items()
    }
