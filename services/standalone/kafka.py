"""A real Kafka on loopback: one KRaft broker that is its own controller, in one JVM."""

import asyncio
import contextlib
import os
import shutil
import signal
import time

import structlog
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError

from codewell.errors import StackUnavailable
from services.standalone.child import Child
from services.standalone.class_archive import ClassArchive, user_cache
from services.standalone.home import Home
from services.standalone.jars import Progress, class_path, local_repository, pinned_jars
from services.standalone.java import find_java, java_major
from services.standalone.kafka_config import LOG4J2, NODE_ID, KafkaSettings, jvm_options, server_properties
from services.standalone.kafka_storage import META, format_storage, new_id
from services.standalone.ports import LOOPBACK, free_port, is_free, taken

NAME = "Kafka"
CLIENT_ID = "codewell-standalone"
CONTROLLER = "Kafka's controller"
STARTS_MAX = 2
READY_POLL_S = 0.02
LEFT_TIMEOUT_S = 10.0
METADATA_TIMEOUT_MS = 5_000

# The exit status of a JVM after SIGTERM and all its shutdown hooks.
_STOPPED_IN_ORDER = 128 + signal.SIGTERM
_PORT_TAKEN = "Address already in use"
_BROKER_LEFT = "Failed to acquire lock on file .lock"

log = structlog.get_logger()


class KafkaBroker:
    """Kafka on a home's data. `start` once, `stop` once or more often; the data stays in the home."""

    def __init__(self, home: Home, settings: KafkaSettings | None = None, progress: Progress | None = None) -> None:
        self._settings = settings or KafkaSettings()
        self._progress = progress
        self._ports = home.ports
        self._directory = home.path / "kafka"
        self._data = self._directory / "data"
        self._temporary = self._directory / "tmp"
        self._log_path = home.logs / "kafka.log"
        self._archive: ClassArchive | None = None
        self._child: Child | None = None
        self._port = 0
        self._is_cancelled = False

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    @property
    def child(self) -> Child | None:
        return self._child

    async def start(self) -> str:
        """Start it and wait until it responds; returns the bootstrap address."""
        began = time.monotonic()
        try:
            java = await asyncio.to_thread(self._prepare)
        except asyncio.CancelledError:
            # The thread goes on, and the process would wait for it.
            self._is_cancelled = True
            raise
        await self._start_on_a_port(java)
        log.info("kafka ready", port=self._port, took_s=round(time.monotonic() - began, 3))
        return self.bootstrap

    async def stop(self) -> None:
        """Stop it cleanly: the next start has no logs to recover."""
        if self._child is None or self._archive is None:
            return
        if self._child.returncode is None and not self._archive.is_kept:
            log.info("kafka records its classes for the starts to come, once for this machine")
        returncode = await self._child.stop(signal.SIGTERM, self._settings.stop_timeout_s)
        if returncode == _STOPPED_IN_ORDER:
            await asyncio.to_thread(self._archive.keep)

    def _prepare(self) -> list[str]:
        """Resolve Java and the jars, write the configuration, and return the common start of all command lines."""
        settings = self._settings
        java = find_java()
        jars = class_path(settings.maven_repository or local_repository(), pinned_jars(), self._on_jar)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir()
        (self._directory / "log4j2.properties").write_text(LOG4J2)
        joined = os.pathsep.join(str(jar) for jar in jars)
        recording = self._temporary / "classes"
        self._archive = ClassArchive(settings.cache or user_cache(), recording, java, java_major(java), joined)
        return [str(java), *jvm_options(settings), *self._archive.use_options(), "-cp", joined]

    def _on_jar(self, done: int, total: int) -> None:
        if self._is_cancelled:
            raise StackUnavailable("The start of Kafka was cancelled.")
        if self._progress is not None:
            self._progress(done, total)

    async def _start_on_a_port(self, java: list[str]) -> None:
        deadline = time.monotonic() + LEFT_TIMEOUT_S
        starts = 0
        while True:
            controller_port = self._choose_ports(again=starts > 0)
            properties = server_properties(self._settings, self._port, controller_port)
            (self._directory / "server.properties").write_text(properties)
            if not (self._data / META).exists():
                self._format()
            self._child = await self._spawn_broker(java)
            try:
                if await self._is_ready(self._child):
                    self._ports.remember(NAME, self._port)
                    self._ports.remember(CONTROLLER, controller_port)
                    return
            except BaseException:
                await self._child.stop(signal.SIGKILL)
                raise
            said = "\n".join(self._child.log_tail())
            if _PORT_TAKEN in said:
                starts += 1
                if starts == STARTS_MAX or self._settings.port is not None:
                    raise taken(NAME, self._port)
            elif _BROKER_LEFT not in said or time.monotonic() > deadline:
                # The broker of a killed stack is about to end too.
                raise self._not_started(self._child)

    def _choose_ports(self, *, again: bool) -> int:
        """Choose the broker's ports and return the controller's, which only the broker itself uses."""
        if self._settings.port is None:
            self._port = free_port() if again else self._ports.choose(NAME)
        elif is_free(self._settings.port):
            self._port = self._settings.port
        else:
            raise taken(NAME, self._settings.port)
        if self._settings.controller_port is not None:
            return self._settings.controller_port
        controller = free_port() if again else self._ports.choose(CONTROLLER)
        # Nothing listens on the first port yet, so that the second choice may be the same.
        while controller == self._port:
            controller = free_port()
        return controller

    def _format(self) -> None:
        log.info("formatting kafka log directory", path=str(self._data))
        # Without its meta.properties the storage was never formatted completely.
        shutil.rmtree(self._data, ignore_errors=True)
        cluster_id = self._settings.cluster_id or new_id()
        format_storage(self._data, cluster_id, self._settings.more.get("node.id", str(NODE_ID)))

    async def _spawn_broker(self, java: list[str]) -> Child:
        record = self._archive.record_options() if self._archive is not None and not self._archive.is_kept else []
        return await self._spawn(NAME, [java[0], *record, *java[1:], "kafka.Kafka", "server.properties"])

    async def _spawn(self, name: str, words: list[str]) -> Child:
        return await Child.start(
            name,
            words,
            log_path=self._log_path,
            # UTF-8, or the JVM can't open paths with other than English letters.
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            cwd=self._directory,
        )

    async def _is_ready(self, child: Child) -> bool:
        """Whether metadata requests reach a broker; False if the child has ended before."""
        try:
            return await child.is_ready(self._wait_for_metadata(), self._settings.start_timeout_s)
        except TimeoutError:
            raise self._not_started(child) from None

    async def _wait_for_metadata(self) -> None:
        while True:
            if await self._listens() and await self._has_broker():
                return
            await asyncio.sleep(READY_POLL_S)

    async def _listens(self) -> bool:
        """Probed first, as the client would log each refused connection as an error."""
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self._port)
            writer.close()
            await writer.wait_closed()
        except OSError:
            return False
        return True

    async def _has_broker(self) -> bool:
        client = AIOKafkaClient(
            bootstrap_servers=self.bootstrap, client_id=CLIENT_ID, request_timeout_ms=METADATA_TIMEOUT_MS
        )
        try:
            await client.bootstrap()
            if client.cluster.brokers():
                # The first question for a coordinator makes it create the topic of offsets, for which groups wait.
                with contextlib.suppress(KafkaError):
                    await client.coordinator_lookup(CoordinationType.GROUP, CLIENT_ID)
            return bool(client.cluster.brokers())
        except KafkaError:
            return False
        finally:
            await client.close()

    def _not_started(self, child: Child) -> StackUnavailable:
        if self._archive is not None:
            self._archive.drop()
        return StackUnavailable(f"Kafka did not start ({child.last_words()}): check {self._log_path}, and start again.")
