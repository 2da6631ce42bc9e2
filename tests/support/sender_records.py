"""Requests as senders publish them, and answers as they read them."""

import json
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from aiokafka import ConsumerRecord

from codewell.client.exchange import OutgoingRequest, build_request

STRUCTURED = b"application/cloudevents+json; charset=UTF-8"


def message(profile_id: str, *names: str, request_id: UUID | None = None, **data: object) -> OutgoingRequest:
    """A message-render request for these programs."""
    given = {"profile_id": profile_id, "campaign_id": "spring", "programs": names, **data}
    return build_request("message-render", given, request_id)


def step(profile_id: str, name: str, request_id: UUID | None = None, **data: object) -> OutgoingRequest:
    """A scenario-step request for this program."""
    given = {"profile_id": profile_id, "scenario_id": "welcome", "step_id": "s-3", "program": name, **data}
    return build_request("scenario-step", given, request_id)


def messages(count: int, *names: str) -> list[OutgoingRequest]:
    """Requests for as many profiles."""
    return [message(f"p-{number}", *names) for number in range(count)]


def renamed(request: OutgoingRequest, request_id: UUID) -> OutgoingRequest:
    """A copy of the request with another id."""
    headers = dict(request.headers) | {"ce_id": str(request_id).encode()}
    return request._replace(request_id=request_id, headers=list(headers.items()))


def with_headers(request: OutgoingRequest, *headers: tuple[str, bytes]) -> OutgoingRequest:
    return request._replace(headers=[*request.headers, *headers])


def structured(request: OutgoingRequest) -> OutgoingRequest:
    """The same request in structured mode, with some additional attributes."""
    headers = dict(request.headers)
    event = {
        "specversion": "1.0",
        "id": headers["ce_id"].decode(),
        "source": headers["ce_source"].decode(),
        "type": headers["ce_type"].decode(),
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "time": "2026-12-01T10:00:00Z",
        "data": json.loads(request.value),
    }
    return request._replace(value=json.dumps(event).encode(), headers=[("content-type", STRUCTURED)])


def data_of(record: ConsumerRecord) -> dict[str, Any]:
    """An answer's data, from either mode."""
    value: dict[str, Any] = json.loads(record.value)
    is_structured = dict(record.headers)["content-type"].startswith(b"application/cloudevents+json")
    return value["data"] if is_structured else value


def by_request(records: Iterable[ConsumerRecord]) -> dict[str, dict[str, Any]]:
    """The answers' data by request id. Two answers to one request fail the test."""
    found = [data_of(record) for record in records]
    answers = {data["request_id"]: data for data in found}
    assert len(answers) == len(found), "a request was answered twice"
    return answers


def answered(requests: Iterable[OutgoingRequest], records: Iterable[ConsumerRecord]) -> list[dict[str, Any]]:
    """The one answer to each of these requests, in their order; there are no other answers."""
    answers = by_request(records)
    asked = [str(request.request_id) for request in requests]
    assert answers.keys() == set(asked)
    return [answers[request_id] for request_id in asked]


def codes(answers: Iterable[dict[str, Any]]) -> list[str]:
    """All codes in these answers. A refusal among them fails the test."""
    return [code["code"] for answer in answers for code in answer["codes"]]


def copies(records: Sequence[ConsumerRecord]) -> dict[str, set[tuple[bytes, tuple[tuple[str, bytes], ...]]]]:
    """The published answers of each request: every distinct value with its headers."""
    found: dict[str, set[tuple[bytes, tuple[tuple[str, bytes], ...]]]] = {}
    for record in records:
        found.setdefault(data_of(record)["request_id"], set()).add((record.value, record.headers))
    return found
