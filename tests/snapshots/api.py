"""The OpenAPI document of the console, and the paths that every process serves beside it."""

import json
from typing import Any, cast

from codewell.infra.telemetry.health import Health, Probes
from schemas.api import Problem
from services.console.api import create_api
from services.console.context import Context
from services.console.settings import ConsoleSettings


def files() -> dict[str, str]:
    """The document with its keys in order, and the paths."""
    settings = ConsoleSettings(
        postgres_url="postgresql://localhost/codewell",
        kafka_bootstrap="localhost:9092",
    )
    api = create_api(Context.of(settings, cast("Any", None)))
    document = api.openapi()
    of_errors = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    assert document["components"]["schemas"]["Problem"] == {k: v for k, v in of_errors.items() if k != "$defs"}
    paths = sorted(f"{path} {method.upper()}" for path, methods in document["paths"].items() for method in methods)
    health = sorted(f"{path} {method}" for path in Probes(Health()).paths for method in ("GET", "HEAD"))
    return {
        "api/openapi.json": json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n",
        "api/paths.txt": "\n".join([*paths, *health]) + "\n",
    }
