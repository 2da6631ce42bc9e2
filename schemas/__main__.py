"""`python -m schemas` writes the JSON Schema of every event to `schemas/json/`."""

from pathlib import Path

from schemas.json_schema import documents

for name, text in documents().items():
    (Path(__file__).parent / "json" / name).write_text(text, "utf-8")
