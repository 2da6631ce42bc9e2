"""Kafka's configuration: JVM options, broker settings, and logging."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from services.standalone.ports import LOOPBACK

NODE_ID = 1

LOG4J2 = """\
status = WARN
# The console is one of the broker's own file; its hook only complains that it comes too late.
shutdownHook = disable
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c - %m%n
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
logger.groups.name = org.apache.kafka.coordinator.group
logger.groups.level = INFO
"""


class Listener(NamedTuple):
    """An additional listener of the broker, and its advertised port."""

    name: str
    port: int
    advertised_port: int
    protocol: str = "PLAINTEXT"
    advertised_host: str = LOOPBACK


@dataclass(frozen=True)
class KafkaSettings:
    """Kafka's settings for a stack on one machine; a path that is None is the user's default, shared by all homes."""

    port: int | None = None
    heap_initial: str = "128m"
    heap_max: str = "384m"
    optimized: bool = False
    """Whether the JVM optimizes hot code: worth a minute of its time for a broker that runs longer."""
    message_bytes_max: int = 3 * 1024 * 1024
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 60.0
    maven_repository: Path | None = None
    cache: Path | None = None
    listeners: tuple[Listener, ...] = ()
    controller_port: int | None = None
    cluster_id: str | None = None
    """A fixed one, for brokers that are one cluster."""
    more: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def jvm_options(settings: KafkaSettings) -> list[str]:
    """Options with which the JVM starts soon and needs little memory."""
    return [
        f"-Xms{settings.heap_initial}",
        f"-Xmx{settings.heap_max}",
        # The garbage collector and, by default, the compiler with the least memory and threads.
        "-XX:+UseSerialGC",
        *([] if settings.optimized else ["-XX:TieredStopAtLevel=1"]),
        "-XX:-UsePerfData",
        # The JVM's own warnings concern its class archive, which is optional.
        "-Xlog:disable",
        "-Xlog:all=error:stderr",
        "-Djava.awt.headless=true",
        "-Djava.io.tmpdir=tmp",
        "-Dlog4j2.configurationFile=log4j2.properties",
    ]


def server_properties(settings: KafkaSettings, port: int, controller_port: int) -> str:
    """Paths are relative to the working directory, as this format interprets commas and non-ASCII letters."""
    more = settings.listeners
    listened = {"PLAINTEXT": port, "CONTROLLER": controller_port} | {one.name: one.port for one in more}
    advertised = {"PLAINTEXT": f"{LOOPBACK}:{port}"}
    advertised |= {one.name: f"{one.advertised_host}:{one.advertised_port}" for one in more}
    protocols = dict.fromkeys(listened, "PLAINTEXT") | {one.name: one.protocol for one in more}
    properties = {
        "process.roles": "broker,controller",
        "node.id": NODE_ID,
        "controller.quorum.voters": f"{NODE_ID}@{LOOPBACK}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join(f"{name}://{LOOPBACK}:{at}" for name, at in listened.items()),
        "advertised.listeners": ",".join(f"{name}://{place}" for name, place in advertised.items()),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": "data",
        "auto.create.topics.enable": "false",
        "message.max.bytes": settings.message_bytes_max,
        # Internal topics and buffers are sized for one broker with little memory.
        "offsets.topic.num.partitions": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "log.cleaner.dedupe.buffer.size": 2 * 1024 * 1024,
        # A broker that restarts after a kill has to wait until its previous session expires, 9 s by default.
        "broker.heartbeat.interval.ms": 500,
        "broker.session.timeout.ms": 3_000,
        # A change of topics or rights is written at once: few come at a time, and 25 ms are longer than the write.
        "controller.quorum.append.linger.ms": 0,
        # A group's first member does not wait for others, as few join.
        "group.initial.rebalance.delay.ms": 0,
    }
    return "".join(f"{name}={value}\n" for name, value in {**properties, **settings.more}.items())
