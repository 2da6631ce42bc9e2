"""The OpenAPI document is what generators of clients and validators take: examples fit, words are JSON Schema's."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from codewell.reasons import PROBLEMS
from tests.snapshots.api import files

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    served: dict[str, Any] = json.loads(files()["api/openapi.json"])
    return served


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in METHODS:
                yield f"{method} {path}", operation


def contents(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for one in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from one.get("content", {}).values()


def nodes(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(one)


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    checked = 0
    for name, operation in operations(document):
        places = [*contents(operation), *operation.get("parameters", ())]
        for place in places:
            schema = place.get("schema", {})
            named = [document["components"]["examples"][reason]["value"] for reason in place.get("examples", {})]
            for example in [*([place["example"]] if "example" in place else []), *schema.get("examples", []), *named]:
                checked += 1
                wrong = list(Draft202012Validator({**document, **schema}).iter_errors(example))
                assert not wrong, (name, wrong[0].message)
    for name, schema in document["components"]["schemas"].items():
        for field, properties in schema.get("properties", {}).items():
            for example in properties.get("examples", []):
                wrong = list(Draft202012Validator({**document, **properties}).iter_errors(example))
                assert not wrong, (name, field, wrong[0].message)
    assert checked > 100


def test_examples_keep_what_is_null(document: dict[str, Any]) -> None:
    codes = document["paths"]["/api/v1/programs/{name}/codes"]["get"]["responses"]["200"]["content"]
    assert codes["application/json"]["example"]["items"][0]["activated_at"] is None
    change = document["paths"]["/api/v1/programs/{name}"]["patch"]["requestBody"]["content"]["application/json"]
    assert change["schema"]["examples"][0]["valid_until"] is None


def test_operation_ids_are_short_verbs(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+){0,3}", one) for one in ids), ids
    assert {"attachCode", "listPrograms", "exportCodes", "importFile"} <= set(ids)


def test_tags_and_servers_are_declared(document: dict[str, Any]) -> None:
    used = {tag for _, operation in operations(document) for tag in operation["tags"]}
    assert used == {tag["name"] for tag in document["tags"]}
    assert all(tag["description"] for tag in document["tags"])
    assert document["servers"] == [{"url": "/", "description": "The console that served this document"}]
    assert document["info"]["license"]["identifier"] == "Apache-2.0"


def test_what_has_a_default_may_be_left_out(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert set(schemas["ProgramSettings"]["required"]) == {"name", "source", "codes_max"}
    assert "pool_max" in schemas["Program"]["required"]


def test_uploads_are_binary(document: dict[str, Any]) -> None:
    uploads = [
        content["schema"]["$ref"].rpartition("/")[2]
        for _, operation in operations(document)
        for kind, content in operation.get("requestBody", {}).get("content", {}).items()
        if kind == "multipart/form-data"
    ]
    assert uploads
    for name in uploads:
        assert document["components"]["schemas"][name]["properties"]["file"]["format"] == "binary"


def test_no_word_is_pythons_and_no_value_is_a_control_character(document: dict[str, Any]) -> None:
    for node in nodes(document):
        # A property may have any name; a bound has a plain value.
        assert not {name for name in ("ge", "gt", "le", "lt") if isinstance(node.get(name), str | int | float)}, node
        for value in node.get("enum", []):
            assert str(value).isprintable(), node


def test_every_operation_lists_the_problems_of_every_request(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        reasons = {
            reason
            for answer in operation["responses"].values()
            for reason in answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
        }
        assert {"token_invalid", "scope_missing", "field_invalid", "internal_error", "unavailable"} <= reasons, name
        for status, answer in operation["responses"].items():
            listed = answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
            assert all(PROBLEMS[reason].status == int(status) for reason in listed)
