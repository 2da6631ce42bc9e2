"""I3 and I7: partitions go from issuer to issuer while requests flow, and each request still has its one answer."""

import asyncio
from collections.abc import Iterable, Mapping

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from schemas import topics
from services.client.exchange import Outgoing
from services.issuer import worker
from services.kafka import clients
from tests.integration.issuer.asking import answered, codes, copies, message, messages
from tests.integration.issuer.faults import stuck_claim, until_committed, until_stuck
from tests.integration.issuer.running import LIMIT_S, until
from tests.integration.issuer.site import Site

REPLY = "message-render.reply"


@pytest.fixture(autouse=True)
def quick_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member learns of a rebalance with its next heartbeat."""
    monkeypatch.setattr(clients, "HEARTBEAT_INTERVAL_MS", 100)


class Watch:
    """What happens to the partitions of fresh requests at the issuers of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = asyncio.Event()
        self.given_up = asyncio.Event()
        self.assignments = 0
        revoked, assigned = worker._Rebalance.on_partitions_revoked, worker._Rebalance.on_partitions_assigned
        watch = self

        async def on_revoked(listener: worker._Rebalance, partitions: Iterable[TopicPartition]) -> None:
            fresh = are_fresh(partitions)
            if fresh:
                watch.asked.set()
            await revoked(listener, partitions)
            if fresh:
                watch.given_up.set()

        async def on_assigned(listener: worker._Rebalance, partitions: Iterable[TopicPartition]) -> None:
            await assigned(listener, partitions)
            watch.assignments += are_fresh(partitions)

        monkeypatch.setattr(worker._Rebalance, "on_partitions_revoked", on_revoked)
        monkeypatch.setattr(worker._Rebalance, "on_partitions_assigned", on_assigned)

    async def assigned(self, times: int) -> None:
        """Wait until issuers were given partitions so often altogether."""

        async def there() -> bool:
            return self.assignments >= times

        await until(there, f"{times} assignments")


def are_fresh(partitions: Iterable[TopicPartition]) -> bool:
    return any(not tp.topic.endswith(".retry") for tp in partitions)


class Leader(ConsumerRebalanceListener):
    """A member of the issuers' group who was there first, and so says who has the partitions: all he, or all they."""

    def __init__(self, site: Site) -> None:
        self.has_all = True
        self.assigned = asyncio.Event()
        self._topics = [site.prefix + name for name in topics.REQUESTS]
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
            group_id=f"{site.prefix}codewell-issuer",
            enable_auto_commit=False,
            heartbeat_interval_ms=100,
            partition_assignment_strategy=(Dictated,),
        )

    async def on_partitions_revoked(self, _: Iterable[TopicPartition]) -> None:
        self.assigned.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        if list(assigned):
            self.assigned.set()

    def share_out(self, *, has_all: bool) -> None:
        """Begin a rebalance after which it has all partitions, or none."""
        self.has_all = has_all
        self.consumer.subscribe(self._topics, listener=self)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(LIMIT_S):
        await event.wait()


async def test_issuers_come_and_go_while_requests_flow(site: Site, watch: Watch) -> None:
    await site.program("A", 5_000)
    requests: list[Outgoing] = []
    stop = asyncio.Event()

    async def flow() -> None:
        while not stop.is_set():
            await site.came(REPLY, len(requests))
            requests.extend(message(f"p-{len(requests)}-{number}", "A") for number in range(25))
            await site.publish(requests[-25:])

    async with site.issuer(batch_size_max=10):
        flowing = asyncio.create_task(flow())
        await watch.assigned(1)
        for joined in (3, 6):
            async with site.issuer(batch_size_max=10):
                await watch.assigned(joined)
            await watch.assigned(joined + 1)
        stop.set()
        await flowing
        await site.came(REPLY, len(requests))
    sent = copies(await site.all_of(REPLY))
    assert sent.keys() == {str(request.request_id) for request in requests}
    assert all(len(different) == 1 for different in sent.values())
    assert (await site.stock("A")).attached == len(requests)
    assert await site.uncommitted() == 0


async def test_i7_a_batch_in_hand_is_committed_before_its_partitions_go(
    site: Site, connection: asyncpg.Connection, watch: Watch
) -> None:
    await site.program("A", 100)
    requests = messages(20, "A")
    async with site.issuer(), stuck_claim(connection) as claim:
        await site.publish(requests, 0)
        await until_stuck(site)
        async with site.issuer():
            await soon(watch.asked)
            assert not watch.given_up.is_set()
            assert await site.uncommitted() == 20
            await claim.rollback()
            await soon(watch.given_up)
            assert await site.uncommitted() == 0
            await site.came(REPLY, 20)
    assert len(set(codes(answered(requests, await site.all_of(REPLY))))) == 20


async def test_i7_an_issuer_that_lost_its_partitions_in_mid_batch_goes_on(
    site: Site, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.issuer.worker.REVOKE_TIMEOUT_S", 0.2)
    await site.program("A", 100)
    requests = messages(10, "A")
    leader = Leader(site)
    leader.share_out(has_all=True)
    async with leader.consumer:
        await soon(leader.assigned)
        async with site.issuer():
            async with stuck_claim(connection):
                leader.share_out(has_all=False)
                await site.publish(requests, 0)
                await until_stuck(site)
                leader.share_out(has_all=True)
                await soon(leader.assigned)
            await site.came(REPLY, 10)
            assert await site.uncommitted() == 10
            leader.share_out(has_all=False)
            more = message("p-more", "A")
            await site.publish([more], 1)
            await until_committed(site)
    sent = copies(await site.all_of(REPLY))
    assert sent.keys() == {str(one.request_id) for one in (*requests, more)}
    assert all(len(different) == 1 for different in sent.values())
    assert (await site.stock("A")).attached == 11
