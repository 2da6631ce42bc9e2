"""Requests that are too old are refused, and the others of their batch decided as ever. Pure."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from codewell.infra.id_times import first_of, is_before
from codewell.infra.uuid7 import uuid7
from codewell.issuing.decide import decide
from codewell.issuing.model import LockedStock, Request
from tests.support.factories import NOW, message, rules, stock

OLDEST = first_of(NOW - timedelta(days=35))


def _id(days: float, version: int = 7) -> UUID:
    moment = first_of(NOW - timedelta(days=days)).int >> 80
    return UUID(int=moment << 80 | version << 76 | uuid4().int & (1 << 76) - 1)


def _decided(ids: list[UUID], oldest: UUID | None = OLDEST) -> dict[UUID, str | None]:
    requests: list[Request] = [message("SPRING", request_id=id_) for id_ in sorted(ids)]
    spring: LockedStock = stock(10)
    decision = decide(requests, {"SPRING": rules()}, {1: spring}, {}, NOW, lambda *_: "PREVIEW", oldest=oldest)
    assert spring.left == 10 - sum(row.code is not None for row in decision.rows)
    return {row.request_id: row.refusals for row in decision.rows}


def test_requests_before_the_moment_are_refused_and_take_no_code() -> None:
    old, new = [_id(36), _id(400)], [_id(34), _id(0), _id(-400)]
    decided = _decided([*new, *old])
    assert all("request_too_old" in (decided[id_] or "") for id_ in old)
    assert [decided[id_] for id_ in new] == [None] * 3


@pytest.mark.parametrize("version", [0, 1, 4, 5, 6, 8, 15])
def test_ids_of_other_versions_are_never_too_old(version: int) -> None:
    id_ = _id(400, version)
    assert set(_decided([id_, _id(0), UUID(int=1)]).values()) == {None}


def test_without_a_moment_nothing_is_too_old() -> None:
    assert set(_decided([_id(4_000), _id(0)], None).values()) == {None}


def test_the_first_id_of_a_moment_is_before_all_that_are_made_in_it() -> None:
    now = uuid7()
    assert not is_before(first_of(NOW), first_of(NOW))
    assert is_before(_id(35.001), OLDEST)
    assert not is_before(_id(34.999), OLDEST)
    assert first_of(NOW).version == 7
    assert not is_before(now, first_of(NOW - timedelta(days=3_650)))
