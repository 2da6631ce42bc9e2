"""`codewell schemas register` against a registry of Confluent's API that keeps schemas in memory.

It was run against Apicurio Registry 3.3.3 (`/apis/ccompat/v7`) as well, whose archive is too large for the suite.
"""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from schemas.subjects import subjects
from schemas.topics import TOPICS
from services.cli import codewell
from services.standalone.ports import free_port
from tests.unit.schemas.test_events import MESSAGE, STEP

USER = "Basic " + base64.b64encode(b"ana:pa:ss").decode()


class Registry(ThreadingHTTPServer):
    """One id for each schema; what it refuses is set by the test."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.schemas: dict[str, int] = {}
        self.subjects: dict[str, str] = {}
        self.user: str | None = None
        self.refusal: tuple[int, bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.server.refusal is not None:
            self._answer(*self.server.refusal)
        elif self.headers["authorization"] != self.server.user:
            self._answer(401, b'{"error_code": 40101, "message": "Unauthorized"}')
        else:
            _, base, subject, versions = self.path.split("/")
            assert (base, versions) == ("subjects", "versions")
            assert body.keys() == {"schemaType", "schema"}
            assert body["schemaType"] == "JSON"
            self.server.subjects[subject] = body["schema"]
            number = self.server.schemas.setdefault(body["schema"], len(self.server.schemas) + 1)
            self._answer(200, json.dumps({"id": number}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("location", "http://127.0.0.1:1/")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def register(*words: str, **variables: str) -> Result:
    return CliRunner(env=variables).invoke(codewell, ["schemas", "register", *words])


def test_every_topic_of_events_has_a_subject(registry: Registry) -> None:
    first = register("--registry", f"http://{registry.address}/", "--prefix", "eu.", "--json")
    again = register("--json", CODEWELL_REGISTRY_URL=f"http://{registry.address}", CODEWELL_TOPIC_PREFIX="eu.")

    assert first.exit_code == again.exit_code == 0, first.output
    assert first.output == again.output
    lines = [json.loads(line) for line in first.output.splitlines()]
    assert {line["subject"]: registry.schemas[registry.subjects[line["subject"]]] for line in lines} == {
        line["subject"]: line["id"] for line in lines
    }
    names = {topic.name for topic in TOPICS if topic.types and not topic.name.endswith(".retry")}
    assert registry.subjects.keys() == {f"eu.{name}-value" for name in names}


def test_a_password_is_sent_and_not_shown(registry: Registry) -> None:
    registry.user = USER
    assert register("--registry", f"http://ana:pa%3Ass@{registry.address}").exit_code == 0
    said = register("--registry", f"http://ana:wrong@{registry.address}")
    assert said.exit_code == 1
    assert "give user and password" in said.output
    assert "wrong" not in said.output


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((409, b'{"error_code": 409, "message": "Schema being registered is incompatible"}'), "is incompatible"),
        ((422, b'{"error_code": 42201, "message": "Invalid schema"}'), "422, Invalid schema"),
        ((500, b"<html>"), "500"),
        ((302, b""), "302"),
        ((200, b"<html>"), "does not answer"),
        ((200, b"[]"), "gave no id"),
    ],
)
def test_what_the_registry_refuses_is_one_sentence(registry: Registry, refusal: tuple[int, bytes], words: str) -> None:
    registry.refusal = refusal
    said = register("--registry", f"http://{registry.address}")
    assert said.exit_code == 1
    assert words in said.output
    assert said.output.startswith("Error: The registry at http://127.0.0.1:")
    assert said.output.count("\n") == 1


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "registry:8081", "http://", "", "http://u:secret@[::1"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    said = register("--registry", url)
    assert said.exit_code == 1
    assert "must be like" in said.output
    assert "secret" not in said.output


def test_a_registry_that_is_away_is_named() -> None:
    port = free_port()
    said = register("--registry", f"http://127.0.0.1:{port}")
    assert said.exit_code == 1
    assert f"127.0.0.1:{port} does not answer" in said.output


def test_without_a_url_the_usage_is_wrong() -> None:
    assert register().exit_code == 2


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        ("message-render", MESSAGE),
        ("scenario-step", STEP),
        (
            "message-render.reply",
            {"request_id": "r", "profile_id": "p", "outcome": "attached",
             "codes": [{"program": "A", "code": "x", "expires_at": None, "fields": {}}]},
        ),
        ("scenario-step.reply", {"request_id": "r", "profile_id": "p", "outcome": "refused", "refusals": []}),
    ],
)  # fmt: skip
def test_a_schema_is_that_of_the_topics_values(topic: str, value: dict[str, Any]) -> None:
    schema = json.loads(subjects()[f"{topic}-value"])
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    validator.validate(value)
    assert not validator.is_valid({**value, "profile_id": 7})
