"""What topics are made with, and which existing ones may lose acknowledged records with one broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import InvalidTimestampError, MessageSizeTooLargeError, NotEnoughReplicasError

from codewell.infra.kafka import topics
from codewell.infra.kafka.cluster_facts import ClusterFacts, TopicFacts
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.record_batches import TopicRefused
from schemas import lifecycle
from schemas.topics import TOPICS

IN_SYNC = "min.insync.replicas"


class FakeAdmin:
    def __init__(self, brokers: int) -> None:
        self.brokers = brokers
        self.made: list[NewTopic] = []

    async def list_topics(self) -> list[str]:
        return []

    async def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": [{}] * self.brokers}

    async def create_topics(self, wanted: list[NewTopic]) -> Any:
        self.made = wanted
        return type("Answer", (), {"topic_errors": [(one.name, 0) for one in wanted]})


def given(monkeypatch: pytest.MonkeyPatch, brokers: int) -> FakeAdmin:
    client = FakeAdmin(brokers)

    @asynccontextmanager
    async def admin(_: object) -> AsyncIterator[FakeAdmin]:
        yield client

    monkeypatch.setattr(topics, "admin", admin)
    return client


async def test_one_machine_gets_fewer_partitions_but_the_stream_all_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    client = given(monkeypatch, 1)
    await topics.create_topics("broker:9092", "x.", reply_topics=["other"], partitions_max=6)
    made = {one.name: one.num_partitions for one in client.made}
    assert made.pop("x.code-lifecycle") == lifecycle.PARTITIONS
    # An answer goes to the partition of its request.
    assert set(made.values()) == {6}


@pytest.mark.parametrize(
    ("brokers", "asked", "replicas", "in_sync"),
    [(1, None, 1, None), (2, None, 2, None), (3, None, 3, "2"), (9, None, 3, "2"), (9, 5, 5, "2"), (9, 1, 1, None)],
)
async def test_two_brokers_acknowledge_where_there_are_three_replicas(
    monkeypatch: pytest.MonkeyPatch, brokers: int, asked: int | None, replicas: int, in_sync: str | None
) -> None:
    client = given(monkeypatch, brokers)
    made = await topics.create_topics("broker:9092", "x.", asked, ["other"])
    assert len(made) == len(TOPICS) + 1
    assert {one.replication_factor for one in client.made} == {replicas}
    assert {one.topic_configs.get(IN_SYNC) for one in client.made} == {in_sync}
    [requests] = [one for one in client.made if one.name == "x.message-render"]
    assert requests.topic_configs["compression.type"] == "uncompressed"


@pytest.mark.parametrize("raise_it", [True, False])
async def test_weak_topics_are_named_and_raised_when_asked(monkeypatch: pytest.MonkeyPatch, raise_it: bool) -> None:
    there = {
        "x.orders": TopicFacts(24, 3, 3, 0, {IN_SYNC: "1"}),
        "x.alerts": TopicFacts(6, 3, 3, 0, {IN_SYNC: "2"}),
        "x.delivery": TopicFacts(24, 2, 2, 0, {IN_SYNC: "1"}),
        "other": TopicFacts(24, 3, 3, 0, None),
    }
    was_set = []

    async def read(_: KafkaConfig, names: dict[str, None]) -> ClusterFacts:
        assert {"x.orders", "other"} <= names.keys()
        return ClusterFacts(3, there, (), None, 0.0, None, None)

    async def set_on(_: KafkaConfig, names: list[str], setting: str, value: str) -> None:
        was_set.append((names, setting, value))

    monkeypatch.setattr(topics, "read_cluster", read)
    monkeypatch.setattr(topics, "set_on_topics", set_on)
    found = await topics.check_in_sync("broker:9092", "x.", ["other"], raise_it=raise_it)
    assert found == (topics.InSync([], ["x.orders"]) if raise_it else topics.InSync(["x.orders"], []))
    assert was_set == ([(["x.orders"], IN_SYNC, "2")] if raise_it else [])


def test_a_topic_is_not_given_up_for_a_wrong_clock_or_a_broker_that_is_away() -> None:
    """Else requests that name it for their answers became dead letters."""
    assert TopicRefused("replies", MessageSizeTooLargeError()).is_final
    assert not TopicRefused("replies", InvalidTimestampError()).is_final
    assert not TopicRefused("replies", NotEnoughReplicasError()).is_final
