"""`python -m schemas` writes the JSON Schema of every event to `schemas/json/`, and the AsyncAPI document."""

from pathlib import Path

from schemas import asyncapi
from schemas.json_schema import documents

for name, text in documents().items():
    (Path(__file__).parent / "json" / name).write_text(text, "utf-8")

(Path(__file__).parent / "asyncapi.yaml").write_text(asyncapi.text(), "utf-8")
