"""The OpenAPI document: what FastAPI makes of the endpoints, in the form that linters and generators want."""

import json
from collections.abc import Iterable
from typing import Any, Final

from fastapi import APIRouter
from fastapi.routing import APIRoute

from schemas.api import Problem
from services.console.http import problems

DESCRIPTION: Final = (
    "Programs, codes, imports, exports and profiles of Codewell. Each request needs a bearer token from "
    "`codewell token create`. Each error is a problem (RFC 9457) whose `reason` programs branch on."
)
LICENSE: Final = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
CONTACT: Final = {"name": "The operator of this Codewell"}
# Relative to the place of the document, so that a client finds the console that served it.
SERVERS: Final = [{"url": "/", "description": "The console that served this document"}]
TAGS: Final = [
    {"name": "alerts", "description": "What people have to know about a program, until somebody clears it."},
    {"name": "audit log", "description": "What people did, in a hash chain that detects changes."},
    {"name": "codes", "description": "Codes of a program: generate, browse, attach, activate, change, delete, export."},
    {"name": "dead letters", "description": "Events that could not be read or decided: list, replay, purge."},
    {"name": "imports", "description": "Files of codes: upload, preview, progress, rejected rows, undo."},
    {"name": "profiles", "description": "Stored fields of profiles, and their erasure."},
    {"name": "programs", "description": "Programs: their settings, switches and stock."},
    {"name": "receipts", "description": "What became of messages: codes of failed sends come back."},
    {"name": "remote service", "description": "Remote services of programs: state and signing secrets."},
    {"name": "reservations", "description": "Codes set aside for a campaign or scenario: make, change, release."},
    {"name": "tokens", "description": "Tokens of this API: list, make, revoke."},
    {"name": "usage", "description": "What programs gave, by time; the workers, and their lag."},
    {"name": "webhooks", "description": "Receivers of events by HTTP, Slack and e-mail, and what was sent to them."},
]
_UPLOAD: Final = "application/octet-stream"


def operation_id(route: APIRoute) -> str:
    """The endpoint's function in camel case, which generators turn into each language's form."""
    first, *others = route.name.split("_")
    return first + "".join(word.capitalize() for word in others)


def finish(document: dict[str, Any], prefix: str, routers: Iterable[APIRouter]) -> None:
    """Complete FastAPI's document of these routers in place."""
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                for method in route.methods or ():
                    _restore_examples(document["paths"][prefix + route.path_format][method.lower()], route)
    components = document["components"]
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"] |= schema.pop("$defs") | {"Problem": schema}
    for schema in components["schemas"].values():
        for field in schema.get("properties", {}).values():
            if field.get("contentMediaType") == _UPLOAD:
                # Generators of clients know an upload by this word of OpenAPI 3.0.
                field["format"] = "binary"
    # An example that no path has is a warning of linters.
    text = json.dumps(document["paths"])
    components["examples"] = {
        reason: example for reason, example in problems.examples().items() if f'/examples/{reason}"' in text
    }


def _restore_examples(operation: dict[str, Any], route: APIRoute) -> None:
    """Put the examples in as they are: FastAPI leaves out what is null in them."""
    for status, response in route.responses.items():
        for media_type, content in response.get("content", {}).items():
            if "example" in content:
                operation["responses"][str(status)]["content"][media_type]["example"] = content["example"]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None and route.body_field is not None and route.body_field.field_info.examples:
        body["schema"]["examples"] = route.body_field.field_info.examples
