"""Percentiles, and a reader that rejects duplicate answers and refusals."""

import json
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from benchmarks.latency import percentile
from benchmarks.paced_load import read_answers
from schemas.events import CODES_ATTACHED, CODES_REFUSED


class Topic:
    """Returns these records in one fetch, as a consumer would."""

    def __init__(self, *records: Any) -> None:
        self._records = list(records)

    async def getmany(self, **_limits: int) -> dict[str, list[Any]]:
        assert self._records, "there is nothing more to come"
        records, self._records = self._records, []
        return {"partition": records}


def answer(request_id: str, event_type: str = CODES_ATTACHED) -> Any:
    value = json.dumps({"request_id": request_id}, separators=(",", ":")).encode()
    return SimpleNamespace(value=value, headers=[("ce_type", event_type.encode())])


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_so_many_percent_do_not_exceed_it(percent: int, value: int) -> None:
    assert percentile([float(one) for one in range(100, 0, -1)], percent) == value


def test_the_only_value_is_every_percentile() -> None:
    assert percentile([7.0], 99) == 7.0


async def test_answers_are_known_by_their_request() -> None:
    ids = [str(uuid4()) for _ in range(3)]

    read = await read_answers(Topic(*map(answer, ids)), 3)

    assert set(read) == {one.encode() for one in ids}


async def test_a_second_answer_breaks_the_load_off() -> None:
    request_id = str(uuid4())
    with pytest.raises(ValueError, match=f"{request_id} was answered twice"):
        await read_answers(Topic(answer(request_id), answer(request_id)), 2)


async def test_a_refusal_breaks_the_load_off() -> None:
    with pytest.raises(ValueError, match="or refused"):
        await read_answers(Topic(answer(str(uuid4()), CODES_REFUSED)), 1)
