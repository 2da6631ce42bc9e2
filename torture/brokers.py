"""Kafka as a cluster: brokers that are controllers too, each with a rack of its own, its data, and its death."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaError

from codewell.errors import StackUnavailable
from codewell.infra.kafka.clients import admin
from services.standalone.child import Child
from services.standalone.home import Home
from services.standalone.kafka import KafkaBroker
from services.standalone.kafka_config import KafkaSettings, Listener
from services.standalone.kafka_storage import new_id
from services.standalone.ports import LOOPBACK, free_ports

COUNT: Final = 3
_DISK_FREE_BYTES_MIN: Final = 32 * 1024 * 1024
_POLL_S: Final = 0.1
_START_LIMIT_S: Final = 240.0
_JOIN_LIMIT_S: Final = 240.0
_SYNC_LIMIT_S: Final = 300.0


def rack_of(number: int) -> str:
    """The rack of the broker with this node id."""
    return f"rack-{number}"


class Brokers:
    """One broker or several of one cluster. Node ids begin at 1."""

    def __init__(self, homes: Sequence[Home], brokers: Sequence[KafkaBroker]) -> None:
        self._homes = homes
        self._brokers = brokers

    @property
    def ids(self) -> range:
        return range(1, len(self._brokers) + 1)

    @property
    def bootstrap(self) -> str:
        """All of them, without a proxy."""
        return ",".join(broker.bootstrap for broker in self._brokers)

    @property
    def data(self) -> list[Path]:
        """The data directory of each."""
        return [home.path / "kafka" / "data" for home in self._homes]

    def pid(self, number: int) -> int:
        return self._child(number).pid

    def _child(self, number: int) -> Child:
        child = self._brokers[number - 1].child
        assert child is not None
        return child

    async def start(self) -> None:
        """Start all and wait until they are one cluster."""
        await asyncio.gather(*(broker.start() for broker in self._brokers))
        async with asyncio.timeout(_JOIN_LIMIT_S):
            for broker in self._brokers:
                while await _known_brokers(broker.bootstrap) < len(self._brokers):
                    await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """Stop all. They need each other to hand over in order, so that one that is left alone is killed."""
        await asyncio.gather(*(self.end(number, signal.SIGKILL) for number in self.ids[1:]))
        if len(self._brokers) == 1:
            await self._brokers[0].stop()
        else:
            await self.end(1, signal.SIGKILL)
        for home in self._homes:
            home.close()

    async def end(self, number: int, how: signal.Signals) -> None:
        """End one with a signal; it stays away until `begin`."""
        child = self._brokers[number - 1].child
        if child is not None:
            await child.stop(how, timeout_s=30)

    async def begin(self, number: int) -> None:
        """Start one again on its data."""
        await self._brokers[number - 1].start()

    async def begin_all(self) -> None:
        """Start those that are away."""
        away = [number for number in self.ids if self._child(number).returncode is not None]
        await asyncio.gather(*(self.begin(number) for number in away))

    async def led(self, prefix: str) -> Counter[int]:
        """How many partitions of the topics with this prefix each leads; -1 for those without a leader."""
        async with admin(self.bootstrap) as client:
            names = [name for name in await client.list_topics() if name.startswith(prefix)]
            found = await client.describe_topics(names)
        return Counter(one["leader"] for topic in found for one in topic["partitions"])

    async def wait_until_in_sync(self, prefix: str) -> None:
        """Wait until no replica of these topics lags behind. Raises TimeoutError."""
        async with asyncio.timeout(_SYNC_LIMIT_S):
            while not await self._in_sync(prefix):
                await asyncio.sleep(_POLL_S)

    async def _in_sync(self, prefix: str) -> bool:
        try:
            async with admin(self.bootstrap) as client:
                names = [name for name in await client.list_topics() if name.startswith(prefix)]
                found = await client.describe_topics(names)
        except (StackUnavailable, KafkaError, OSError):
            return False
        parts = [one for topic in found for one in topic["partitions"]]
        return bool(parts) and all(len(one["isr"]) == len(one["replicas"]) for one in parts)


async def _known_brokers(bootstrap: str) -> int:
    async with admin(bootstrap) as client:
        return len((await client.describe_cluster())["brokers"])


@asynccontextmanager
async def cluster(folders: Sequence[Path]) -> AsyncIterator[Brokers]:
    """A running cluster with one broker in each of these folders."""
    count = len(folders)
    ports = free_ports(2 * count)
    controllers = ports[count:]
    voters = ",".join(f"{number}@{LOOPBACK}:{port}" for number, port in enumerate(controllers, 1))
    cluster_id = new_id()
    homes = [await Home.open(folder, _DISK_FREE_BYTES_MIN) for folder in folders]
    brokers = [
        KafkaBroker(
            home,
            KafkaSettings(
                port=port,
                controller_port=controller,
                cluster_id=cluster_id,
                start_timeout_s=_START_LIMIT_S,
                more=_of_cluster(number, voters),
            ),
        )
        for number, (home, port, controller) in enumerate(zip(homes, ports[:count], controllers, strict=True), 1)
    ]
    running = Brokers(homes, brokers)
    try:
        await running.start()
        yield running
    finally:
        await running.stop()


@asynccontextmanager
async def alone(folder: Path, listener: Listener, port: int) -> AsyncIterator[Brokers]:
    """One broker, with another listener."""
    home = await Home.open(folder)
    running = Brokers([home], [KafkaBroker(home, KafkaSettings(port=port, listeners=(listener,)))])
    try:
        await running.start()
        yield running
    finally:
        await running.stop()


def _of_cluster(number: int, voters: str) -> dict[str, str]:
    replicated = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
    return {
        "node.id": str(number),
        "broker.rack": rack_of(number),
        "controller.quorum.voters": voters,
        "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
        "offsets.topic.num.partitions": "4",
        **{f"{name}.replication.factor": str(COUNT) for name in replicated},
        # Of the internal topics; ours have what `codewell topics` gives them.
        "transaction.state.log.min.isr": "2",
        "share.coordinator.state.topic.min.isr": "2",
        "replica.lag.time.max.ms": "10000",
        # Kafka's own values, or more: with the short ones of a broker that is alone, a busy machine fences all.
        "broker.session.timeout.ms": "9000",
        "broker.heartbeat.interval.ms": "1000",
        "controller.quorum.fetch.timeout.ms": "5000",
        "controller.quorum.election.timeout.ms": "3000",
    }
