"""What must be true once a load has ended, whatever happened to the workers meanwhile."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord

from schemas.program import ProgramSettings
from tests.e2e import campaign, consumer_groups
from tests.e2e.campaign import Asked
from tests.e2e.commands import codewell, environment
from tests.e2e.load import HEAL_TIMEOUT_S, dead_letter_topics

_POLL_S = 0.1
_NOT_GIVEN = {"SCARCE": {"pool_empty", "maximum_reached"}, "UNHEARD_OF": {"program_unknown"}}


class Published(NamedTuple):
    """All there is of one answer; copies of it must be equal in all."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


def answers_by_request(records: Iterable[ConsumerRecord]) -> dict[str, list[Published]]:
    """Every copy of every answer that was ever published."""
    found = defaultdict(list)
    for record in records:
        published = Published(record.topic, record.key, record.value, tuple(record.headers))
        found[json.loads(record.value)["request_id"]].append(published)
    return dict(found)


def check_answers(asked: Mapping[str, Asked], answers: Mapping[str, list[Published]]) -> dict[str, dict[str, Any]]:
    """I2 and I3: each request has one answer, in however many copies. Returns the answers' data."""
    assert answers.keys() == asked.keys(), f"{len(asked.keys() - answers.keys())} requests have no answer"
    differing = {request_id: copies for request_id, copies in answers.items() if len(set(copies)) > 1}
    assert not differing, f"{len(differing)} requests have answers that differ: {next(iter(differing.items()))}"
    event_ids = {dict(copies[0].headers)["ce_id"] for copies in answers.values()}
    assert len(event_ids) == len(answers), "two answers have the same event id"
    given = {request_id: json.loads(copies[0].value) for request_id, copies in answers.items()}
    for request_id, data in given.items():
        _check_answer(asked[request_id], data)
    return given


def _check_answer(asked: Asked, data: dict[str, Any]) -> None:
    assert data["profile_id"] == asked.profile_id
    if data["outcome"] == "refused":
        for refusal in data["refusals"]:
            assert refusal["reason"] in _NOT_GIVEN.get(refusal["program"], ()), (asked, data)
        return
    assert tuple(code["program"] for code in data["codes"]) == asked.programs, (asked, data)
    if asked.has_template:
        template = json.loads(asked.request.value)["template"]
        assert data["rendered"] == campaign.rendered(
            template, {code["program"]: code["code"] for code in data["codes"]}
        )


def check_codes(given: Mapping[str, dict[str, Any]]) -> None:
    """I1: no code was ever given to two profiles, and each program keeps its own rule of giving."""
    requests: dict[str, dict[str, set[str]]] = {settings.name: defaultdict(set) for settings in campaign.ALL}
    profiles: dict[str, dict[str, set[str]]] = {settings.name: defaultdict(set) for settings in campaign.ALL}
    codes_of: dict[str, set[str]] = defaultdict(set)
    for request_id, data in given.items():
        for one in data.get("codes", ()):
            requests[one["program"]][one["code"]].add(request_id)
            profiles[one["program"]][one["code"]].add(data["profile_id"])
            if one["program"] == campaign.LOYAL.name:
                codes_of[data["profile_id"]].add(one["code"])
    for settings in campaign.ALL:
        if not settings.shared:
            _only_one_each(settings, "profiles", profiles[settings.name])
        if not settings.shared and settings.reuse == "request":
            _only_one_each(settings, "requests", requests[settings.name])
    _only_one_each(campaign.LOYAL, "codes for one profile", codes_of)
    assert len(requests[campaign.EVERYBODY.name]) == 1, "the shared code is not one"
    assert len(requests[campaign.SCARCE.name]) == campaign.SCARCE.codes_max, (
        "codes of a program that ran empty are lost"
    )


def _only_one_each(settings: ProgramSettings, what: str, found: Mapping[str, set[str]]) -> None:
    shared = {code: of for code, of in found.items() if len(of) > 1}
    assert not shared, f"{settings.name}: {len(shared)} have several {what}: {dict(list(shared.items())[:3])}"
    assert found, f"{settings.name} gave nothing, so nothing was tested"


async def check_offsets(bootstrap: str, prefix: str) -> None:
    """I7: everything read is committed, and nothing past the end."""
    for group in consumer_groups.READS:
        deadline = time.monotonic() + HEAL_TIMEOUT_S
        while True:
            found = await consumer_groups.committed_and_ends(bootstrap, prefix, group)
            past = {partition: offsets for partition, offsets in found.items() if offsets[0] > offsets[1]}
            assert not past, f"{group} has committed offsets past the end: {past}"
            behind = {partition: offsets for partition, offsets in found.items() if offsets[0] < offsets[1]}
            if not behind:
                break
            assert time.monotonic() < deadline, f"{group} lags behind: {behind}"
            await asyncio.sleep(_POLL_S)


async def check_dead_letters(bootstrap: str, prefix: str) -> None:
    """All requests could be read, so none is buried."""
    ends = await consumer_groups.end_offsets(bootstrap, dead_letter_topics(prefix))
    assert not any(ends.values()), f"dead letters: {ends}"


async def check_audit(env: Mapping[str, str], cwd: Path) -> None:
    """I1 to I6, as the product itself judges them."""
    [report] = (await codewell("audit", "--json", env=environment(**env), cwd=cwd)).objects
    assert report["clean"], report["findings"]
