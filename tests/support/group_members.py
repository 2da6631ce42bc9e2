"""Members of the issuers' groups, observed and controlled."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from schemas import topics
from services.issuer import rebalance, worker
from services.issuer.decode import Decoder
from services.issuer.received_request import PlainRequest
from tests.support.running import soon, until
from tests.support.site import Site


class Watch:
    """Observes the assignment of request partitions to the issuers of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = asyncio.Event()
        self.given_up = asyncio.Event()
        self.assignments = 0
        self.left_empty = asyncio.Event()
        revoked, assigned = (
            rebalance.RebalanceListener.on_partitions_revoked,
            rebalance.RebalanceListener.on_partitions_assigned,
        )
        watch = self

        async def on_revoked(listener: rebalance.RebalanceListener, partitions: Iterable[TopicPartition]) -> None:
            fresh = are_fresh(partitions)
            if fresh:
                watch.asked.set()
            await revoked(listener, partitions)
            if fresh:
                watch.given_up.set()

        async def on_assigned(listener: rebalance.RebalanceListener, partitions: Iterable[TopicPartition]) -> None:
            await assigned(listener, partitions)
            watch.assignments += are_fresh(partitions)
            if not list(partitions):
                watch.left_empty.set()

        monkeypatch.setattr(rebalance.RebalanceListener, "on_partitions_revoked", on_revoked)
        monkeypatch.setattr(rebalance.RebalanceListener, "on_partitions_assigned", on_assigned)

    async def assigned(self, times: int) -> None:
        """Wait until issuers were assigned partitions `times` times in total."""

        async def there() -> bool:
            return self.assignments >= times

        await until(there, f"{times} assignments")


def are_fresh(partitions: Iterable[TopicPartition]) -> bool:
    return any(tp.topic.endswith(tuple(topics.REQUESTS)) for tp in partitions)


class Leader(ConsumerRebalanceListener):
    """The first member and so the group's leader, which assigns all partitions: to itself, or to the others."""

    def __init__(self, site: Site, *, retries: bool = False) -> None:
        self.has_all = True
        self.assigned = asyncio.Event()
        self._topics = [site.prefix + (topics.retry_of(name) if retries else name) for name in topics.REQUESTS]
        leader = self

        class Dictated(RoundRobinPartitionAssignor):
            @classmethod
            def assign(
                cls, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
            ) -> dict[str, ConsumerProtocolMemberAssignment]:
                own = {name: member for name, member in members.items() if member.user_data == b"leader"}
                others = {name: member for name, member in members.items() if name not in own}
                wanted = own if leader.has_all or not others else others
                nothing = ConsumerProtocolMemberAssignment(0, [], b"")
                shared_out: dict[str, ConsumerProtocolMemberAssignment] = super().assign(cluster, wanted)
                return dict.fromkeys(members, nothing) | shared_out

            @classmethod
            def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
                return ConsumerProtocolMemberMetadata(0, list(topics), b"leader")

        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=site.bootstrap,
            group_id=f"{site.prefix}codewell-issuer" + ("-retry" if retries else ""),
            enable_auto_commit=False,
            heartbeat_interval_ms=100,
            partition_assignment_strategy=(Dictated,),
        )

    async def on_partitions_revoked(self, _: Iterable[TopicPartition]) -> None:
        self.assigned.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        if list(assigned):
            self.assigned.set()

    async def begin(self) -> None:
        """Join, and take all partitions."""
        self.consumer.subscribe(self._topics, listener=self)
        await soon(self.assigned)

    def share_out(self, *, has_all: bool) -> None:
        """Start a rebalance after which it has all partitions, or none."""
        self.has_all = has_all
        self.consumer._coordinator.request_rejoin()


class Gate:
    """Blocks the retry worker's current batch until it is opened; later batches pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self.passed = asyncio.Event()
        self.read_ahead = asyncio.Event()
        """Set by a record that is read while others are in progress."""
        gate = self
        read = Decoder.decode_plain

        def watched_read(decoder: Decoder, records: Sequence[ConsumerRecord]) -> list[PlainRequest | None]:
            if records and gate.reached.is_set():
                gate.read_ahead.set()
            return read(decoder, records)

        async def let_wait(one: worker.IssuerWorker, *_: object) -> None:
            if one._name == "retry":
                gate.reached.set()
                await gate.opened.wait()
                gate.passed.set()

        monkeypatch.setattr(worker.IssuerWorker, "_wait_until_due", let_wait)
        monkeypatch.setattr(Decoder, "decode_plain", watched_read)
