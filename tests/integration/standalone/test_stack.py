"""The life of one home, with a real Postgres and a real Kafka, in the order that costs the fewest starts."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from codewell.errors import StackUnavailable
from services.standalone.home import Endpoints, Home, read_endpoints
from services.standalone.jars import class_path, local_repository, pinned_jars
from services.standalone.java import find_java
from services.standalone.kafka import KafkaBroker
from services.standalone.kafka_config import LOG4J2, KafkaSettings, server_properties
from services.standalone.kafka_storage import CHECKPOINT, META, format_storage
from services.standalone.servers import running_servers
from tests.support.postgres_settings import FOR_TESTS
from tests.support.processes import processes_in, until

TOPIC = "kept"
# As long as a message may be.
VALUE = os.urandom(2 * 1024 * 1024)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")


async def wait_for_endpoints(path: Path) -> Endpoints:
    await until(lambda: read_endpoints(path) is not None, "stack", timeout_s=60)
    endpoints = read_endpoints(path)
    assert endpoints is not None
    return endpoints


async def keep_a_row(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("CREATE TABLE kept (word text)")
    await connection.execute("INSERT INTO kept VALUES ('Ünïcode')")
    await connection.close()


async def kept_row(postgres_url: str) -> str:
    connection = await asyncpg.connect(postgres_url)
    word: str = await connection.fetchval("SELECT upper(word) FROM kept")
    await connection.close()
    return word


async def keep_a_message(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
    await admin.close()
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, max_request_size=len(VALUE) + 1024
    )
    await producer.start()
    await producer.send_and_wait(TOPIC, VALUE)
    await producer.stop()


async def kept_message(bootstrap: str) -> bytes:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(TOPIC, 0)])
    await consumer.seek_to_beginning()
    message = await asyncio.wait_for(consumer.getone(), 10)
    await consumer.stop()
    value: bytes = message.value
    return value


@pytest_asyncio.fixture
async def owner(tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.support.stack_process", str(tmp_path))
    yield process
    if process.returncode is None:
        process.kill()
        await process.wait()


async def test_the_stack_after_a_killed_one_has_its_data_and_ports(
    tmp_path: Path, owner: asyncio.subprocess.Process
) -> None:
    endpoints = await wait_for_endpoints(tmp_path)
    with pytest.raises(StackUnavailable, match=f"pid {owner.pid} already runs in {tmp_path}"):
        await Home.open(tmp_path)
    # Made before a group asks for it.
    await until((tmp_path / "kafka" / "data" / "__consumer_offsets-0").exists, "topic of offsets")
    await keep_a_row(endpoints.postgres_url)
    await keep_a_message(endpoints.kafka_bootstrap)
    killed = processes_in(tmp_path)

    # The new one starts while the old one is still ending.
    owner.kill()
    await owner.wait()
    assert read_endpoints(tmp_path) is None
    async with running_servers(tmp_path, FOR_TESTS) as servers:
        assert not killed.keys() & processes_in(tmp_path).keys()
        assert servers.postgres.url == endpoints.postgres_url
        assert servers.kafka.bootstrap.startswith("127.0.0.1:")
        assert await kept_row(servers.postgres.url) == "ÜNÏCODE"
        assert await kept_message(servers.kafka.bootstrap) == VALUE
        await servers.kafka.stop()
        await servers.postgres.stop()
    assert processes_in(tmp_path) == {}


async def test_a_broker_records_its_classes_once_and_leaves_a_port_to_whoever_was_quicker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = KafkaSettings(cache=tmp_path / "cache")
    home = await Home.open(tmp_path / "a home, of ünusual name")
    broker = KafkaBroker(home, settings)
    await broker.start()
    await broker.stop()
    (archive,) = (tmp_path / "cache").iterdir()
    recorded_at = archive.stat().st_mtime_ns

    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        home.ports.remember("Kafka", taken)
        monkeypatch.setattr("services.standalone.ports.is_free", lambda _: True)
        await broker.start()
        assert broker.bootstrap != f"127.0.0.1:{taken}"
        await broker.stop()
    home.close()
    assert archive.stat().st_mtime_ns == recorded_at
    assert processes_in(tmp_path) == {}


def test_the_storage_is_what_kafkas_own_tool_writes(tmp_path: Path) -> None:
    (tmp_path / "server.properties").write_text(server_properties(KafkaSettings(), 9092, 9093))
    (tmp_path / "log4j2.properties").write_text(LOG4J2)
    jars = os.pathsep.join(str(jar) for jar in class_path(local_repository(), pinned_jars()))
    words = ["kafka.tools.StorageTool", "format", "--cluster-id=5PsSJPpqS1mJUeu8xpXcZg", "--config=server.properties"]
    subprocess.run([find_java(), "-cp", jars, *words], cwd=tmp_path, check=True, capture_output=True)
    format_storage(tmp_path / "ours", "5PsSJPpqS1mJUeu8xpXcZg", "1")

    theirs, ours = tmp_path / "data", tmp_path / "ours"
    assert sorted(path.name for path in ours.iterdir()) == sorted(path.name for path in theirs.iterdir())
    assert without_times((ours / CHECKPOINT).read_bytes()) == without_times((theirs / CHECKPOINT).read_bytes())
    kept = {"version=1", "node.id=1", "cluster.id=5PsSJPpqS1mJUeu8xpXcZg"}
    for written in (ours, theirs):
        lines = {line for line in (written / META).read_text().splitlines() if not line.startswith("#")}
        assert {line for line in lines if not line.startswith("directory.id=")} == kept
        assert len(lines) == len(kept) + 1


def without_times(batches: bytes) -> bytes:
    """Kafka's record batches without their times, and the checksums over these."""
    kept = b""
    while batches:
        end = 12 + int.from_bytes(batches[8:12])
        kept += batches[:17] + batches[21:27] + batches[43:end]
        batches = batches[end:]
    return kept


async def test_if_one_can_not_start_the_other_does_not_stay(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = KafkaSettings(port=other.getsockname()[1])
        with pytest.raises(StackUnavailable, match=rf"Kafka cannot listen on 127.0.0.1:{settings.port}.*another port"):
            async with running_servers(tmp_path, FOR_TESTS, settings):
                pytest.fail("it started")

    await until(lambda: not processes_in(tmp_path), "end of what was started")
    (await Home.open(tmp_path)).close()
