"""In a session, a broker reads for each fetch what it would read for one that names all partitions."""

import random
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.protocol.fetch import FetchRequest_v10, FetchRequest_v11, FetchResponse_v11
from hypothesis import given
from hypothesis import strategies as st

from codewell.infra.kafka.fetch_sessions import EPOCH_MAX, FetchSession, Positions, SessionRequest

TPS = [TopicPartition(topic, number) for topic in "ab" for number in range(3)]
A, B = TPS[:2]
NOT_FOUND, WRONG_EPOCH, OTHER_ERROR = 70, 71, 56


class Broker:
    """The broker's side of KIP-227, for one consumer."""

    def __init__(self) -> None:
        self.sessions: dict[int, tuple[int, dict[TopicPartition, int]]] = {}
        self.gives_sessions = True
        self._last = 0

    def fetch(
        self, id_: int, epoch: int, named: Positions, ended: Iterable[TopicPartition]
    ) -> tuple[int, int, Positions]:
        """The error, the session and the positions that are read."""
        if epoch == 0:
            assert not ended
            self.sessions.pop(id_, None)
            if not self.gives_sessions:
                return 0, 0, named
            self._last += 1
            self.sessions[self._last] = 1, dict(named)
            return 0, self._last, named
        if id_ not in self.sessions:
            return NOT_FOUND, 0, {}
        wanted, positions = self.sessions[id_]
        if epoch != wanted:
            return WRONG_EPOCH, 0, {}
        positions.update(named)
        for tp in ended:
            del positions[tp]
        self.sessions[id_] = 1 if epoch == EPOCH_MAX else epoch + 1, positions
        return 0, id_, positions


def response(error: int, id_: int, tps: Iterable[TopicPartition]) -> FetchResponse_v11:
    return FetchResponse_v11(0, error, id_, [(tp.topic, [(tp.partition, 0, 9, 9, 0, [], -1, b"")]) for tp in tps])


def answered(session: FetchSession, broker: Broker, positions: Positions) -> tuple[int, Positions]:
    """Fetch once: the error, and what was named."""
    named, ended = session.begin(positions)
    error, id_, _ = broker.fetch(session.id, session.epoch, named, ended)
    session.end(response(error, id_, positions if session.epoch == 0 and not error else ()))
    return error, named


steps = st.tuples(
    st.dictionaries(st.sampled_from(TPS), st.integers(0, 2), min_size=1),
    st.sampled_from(["answered"] * 8 + ["lost before", "lost after", "forgotten", "no room", "closed", "error"]),
)  # fmt: skip


@given(st.lists(steps, max_size=30), st.sampled_from([1, EPOCH_MAX - 2]))
def test_the_broker_reads_what_a_fetch_of_all_partitions_names(
    taken: list[tuple[dict[TopicPartition, int], str]], epoch: int
) -> None:
    broker, session = Broker(), FetchSession()
    answered(session, broker, {A: 0})
    session._next, broker.sessions[session.id] = epoch, (epoch, broker.sessions[session.id][1])
    for positions, fate in taken:
        broker.gives_sessions = fate != "no room"
        if fate == "forgotten":
            broker.sessions.clear()
        named, ended = session.begin(positions)
        if fate == "lost before":
            continue
        error, id_, read = broker.fetch(session.id, session.epoch, named, ended)
        assert error in {0, NOT_FOUND}
        assert error or read == positions
        assert error == 0 or fate == "forgotten"
        if fate == "error":
            error, read = OTHER_ERROR, {}
        if fate != "lost after":
            found = read if session.epoch == 0 else set(read) & {A}
            session.end(response(error, 0 if fate == "closed" else id_, found))


def test_a_session_names_what_is_new_and_what_is_gone() -> None:
    broker, session = Broker(), FetchSession()
    assert answered(session, broker, {A: 1, B: 1}) == (0, {A: 1, B: 1})
    assert answered(session, broker, {A: 1, B: 1}) == (0, {})
    assert answered(session, broker, {A: 1, B: 2}) == (0, {B: 2})
    assert session.begin({B: 2}) == ({}, {A})


@pytest.mark.parametrize(("error", "kept"), [(NOT_FOUND, 0), (WRONG_EPOCH, 1), (OTHER_ERROR, 1)])
def test_after_an_error_a_new_session_takes_the_place_of_the_old_one(error: int, kept: int) -> None:
    broker, session = Broker(), FetchSession()
    answered(session, broker, {A: 1})
    session.begin({A: 1})
    # An error that is not of the session has its id.
    session.end(response(error, session.id if error == OTHER_ERROR else 0, []))
    assert session.begin({A: 1}) == ({A: 1}, ())
    assert (session.id, session.epoch) == (kept, 0)


def test_a_broker_without_room_is_asked_for_all_each_time() -> None:
    broker, session = Broker(), FetchSession()
    broker.gives_sessions = False
    for _ in range(2):
        assert answered(session, broker, {A: 1}) == (0, {A: 1})
        assert (session.id, session.epoch) == (0, 0)


@pytest.mark.parametrize("is_first", [True, False])
def test_what_a_fetch_is_not_for_is_left_out_and_ends_the_session(is_first: bool) -> None:
    broker, session = Broker(), FetchSession()
    if not is_first:
        answered(session, broker, {A: 1})
    session.begin({A: 1})
    found = response(0, 1, [A, B])
    session.end(found)
    assert [(topic, part[0]) for topic, parts in found.topics for part in parts] == [A]
    assert session.is_new


def test_a_first_response_without_all_partitions_begins_no_session() -> None:
    session = FetchSession()
    session.begin({A: 1, B: 1})
    session.end(response(0, 1, [A]))
    assert session.is_new


FETCHER: Any = SimpleNamespace(
    _max_partition_fetch_bytes=9, _fetch_max_wait_ms=500, _fetch_min_bytes=1, _fetch_max_bytes=99, _isolation_level=1,
    _client_rack=None,
)  # fmt: skip
POSITIONS = dict.fromkeys(TPS, 1)


@pytest.mark.parametrize("session", [None, FetchSession()])
def test_without_a_session_no_partition_is_always_the_last(session: FetchSession | None) -> None:
    random.seed(1)
    requests = [SessionRequest(FETCHER, POSITIONS, session).build(FetchRequest_v11) for _ in range(20)]
    assert {request.topics[-1][1][-1][0] for request in requests} == {0, 1, 2}
    assert all(sum(len(parts) for _, parts in request.topics) == len(TPS) for request in requests)


def test_a_broker_of_an_older_version_gets_no_session() -> None:
    session = FetchSession()
    request = SessionRequest(FETCHER, POSITIONS, session).build(FetchRequest_v10)
    assert (request.session_id, request.session_epoch) == (0, -1)
    assert sum(len(parts) for _, parts in request.topics) == len(TPS)
    assert session.is_new
