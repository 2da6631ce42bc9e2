"""Creates Kafka clients, each with its timeouts and limits."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from codewell.errors import StackUnavailable
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.diagnose import connect_error
from schemas.topics import DEAD_LETTER_BYTES_MAX

log = structlog.get_logger()

REQUEST_TIMEOUT_MS: Final = 15_000
# Without this limit aiokafka retries a broker that is gone for ever; after it, the connection is created again.
EXCHANGE_TIMEOUT_S: Final = 30.0
SESSION_TIMEOUT_MS: Final = 15_000
HEARTBEAT_INTERVAL_MS: Final = 3_000
REBALANCE_TIMEOUT_MS: Final = 30_000
MAX_POLL_INTERVAL_MS: Final = 300_000
# Bounds the prefetched bytes, so that a worker's memory does not depend on the backlog.
FETCH_BYTES_MAX: Final = 8 * 1024 * 1024
PARTITION_FETCH_BYTES_MAX: Final = 512 * 1024
# How long a broker holds a fetch that finds no record.
_FOLLOW_WAIT_MS: Final = 500
_END_WAIT_MS: Final = 10
_START_PAUSE_S: Final = 0.2
_NO_RIGHTS: Final = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError)
_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
CLOSE_TIMEOUT_S: Final = 3.0
BATCH_BYTES_MAX: Final = 512 * 1024
RACK_REPLICA_MS: Final = 15_000


def producer(kafka_config: KafkaConfig | str) -> AIOKafkaProducer:
    """An idempotent producer: an acknowledged record is on all replicas, once, in order."""
    return AIOKafkaProducer(
        **KafkaConfig.parse(kafka_config).client_options(),
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES_MAX,
        max_request_size=DEAD_LETTER_BYTES_MAX,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )


# Of every consumer. Records of aborted and open transactions are not read; offsets end at the last stable one.
ISOLATION: Final = "read_committed"


def _read_options(kafka_config: KafkaConfig) -> dict[str, Any]:
    return {
        **kafka_config.client_options(),
        "client_rack": kafka_config.rack,
        # A reader stays that long with the replica in its rack, also while that lags behind its leader.
        **({"metadata_max_age_ms": RACK_REPLICA_MS} if kafka_config.rack else {}),
        "isolation_level": ISOLATION,
        "enable_auto_commit": False,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "fetch_max_bytes": FETCH_BYTES_MAX,
        "max_partition_fetch_bytes": PARTITION_FETCH_BYTES_MAX,
        # TCP has its own checksum, and the broker verified the record's CRC on receipt.
        "check_crcs": False,
    }


def consumer(kafka_config: KafkaConfig | str, group_id: str) -> AIOKafkaConsumer:
    """A member of a consumer group, without auto-commit, that starts at the oldest record."""
    return AIOKafkaConsumer(
        **_read_options(KafkaConfig.parse(kafka_config)),
        group_id=group_id,
        auto_offset_reset="earliest",
        session_timeout_ms=SESSION_TIMEOUT_MS,
        rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
        heartbeat_interval_ms=HEARTBEAT_INTERVAL_MS,
        max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
    )


def reader(kafka_config: KafkaConfig | str, *, from_start: bool, follows: bool = False) -> AIOKafkaConsumer:
    """A consumer without a group, for a command that assigns partitions and seeks.

    The consumer's own offset reset, which `from_start` chooses, may override a seek. With `follows` it is for records
    that are to come: the broker holds a fetch at the end of a partition, and what is asked next on that connection.
    """
    return AIOKafkaConsumer(
        **_read_options(KafkaConfig.parse(kafka_config)),
        auto_offset_reset="earliest" if from_start else "latest",
        fetch_max_wait_ms=_FOLLOW_WAIT_MS if follows else _END_WAIT_MS,
    )


@asynccontextmanager
async def admin(kafka_config: KafkaConfig | str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client for one command. Raises StackUnavailable, with a message for users."""
    client = AIOKafkaAdminClient(
        **KafkaConfig.parse(kafka_config).client_options(), request_timeout_ms=REQUEST_TIMEOUT_MS
    )
    try:
        async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
            await client.start()
        yield client
    except _NO_RIGHTS as error:
        raise StackUnavailable(f"Kafka refused the command ({outage_reason(error)}).") from error
    except (KafkaError, TimeoutError) as error:
        raise await connect_error(kafka_config) from error
    finally:
        await client.close()


@asynccontextmanager
async def started_producer(kafka_config: KafkaConfig | str) -> AsyncIterator[AIOKafkaProducer]:
    """A producer for one command. Raises StackUnavailable, with a message for users."""
    client = producer(kafka_config)
    # A start that is cancelled leaves connections too.
    try:
        try:
            await asyncio.wait_for(client.start(), EXCHANGE_TIMEOUT_S)
        except (KafkaError, TimeoutError) as error:
            raise await connect_error(kafka_config) from error
        yield client
    finally:
        await stop(client)


# Clients whose stop exceeded the timeout and continues in the background.
_stopping: Final[set[asyncio.Task[None]]] = set()


async def stop(*clients: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Stop the clients, and wait for it up to a timeout; a stop that an unavailable broker delays continues as a task.

    A cancelled stop would leak the client's tasks and connections, since a second call does nothing.
    """
    stopping = {asyncio.create_task(_stop(client)) for client in clients}
    _stopping.update(stopping)
    for task in stopping:
        task.add_done_callback(_stopping.discard)
    await asyncio.wait(stopping, timeout=2 * CLOSE_TIMEOUT_S)


async def _stop(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait((stopping,), timeout=CLOSE_TIMEOUT_S)
    if not stopping.done() and isinstance(client, AIOKafkaProducer):
        # An idempotent producer retries its buffered records until the broker returns.
        client._message_accumulator.fail_all(KafkaTimeoutError())
    await asyncio.wait((stopping,))
    if not stopping.cancelled() and (error := stopping.exception()) is not None:
        log.warning("close_failed", error=repr(error))
    # An error during the stop would leak the connections and the metadata task.
    connections = client.client if isinstance(client, AIOKafkaProducer) else client._client
    await connections.close()


def outage_reason(error: BaseException) -> str:
    """The reason to report while Kafka is unavailable."""
    name, said = type(error).__name__, str(error)
    reason = said if name in said else f"{name}: {said}" if said else name
    # A refused topic says why by its cause.
    causes = error, error.__cause__
    if any(isinstance(one, _NO_RIGHTS) for one in causes):
        return f"{reason}: give the principal the rights that codewell topics --acls prints"
    if any(isinstance(one, _TOO_LARGE) for one in causes):
        return f"{reason}: set the topic's max.message.bytes to what codewell doctor says"
    return reason


async def wait_until_up(
    kafka_config: KafkaConfig | str, topics: Iterable[str], timeout_s: float, waits: Callable[[str], None] | None = None
) -> None:
    """Wait until Kafka answers and has the topics, or raise StackUnavailable after `timeout_s` (s); NotTrusted at once.

    `waits` is called with the reason of each failure.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return await _check_topics(kafka_config, topics)
        except StackUnavailable as error:
            if not error.retriable or time.monotonic() + _START_PAUSE_S > deadline:
                raise
            if waits is not None:
                waits(str(error))
        await asyncio.sleep(_START_PAUSE_S)


async def _check_topics(kafka_config: KafkaConfig | str, topics: Iterable[str]) -> None:
    async with admin(kafka_config) as client:
        missing = sorted(set(topics) - set(await client.list_topics()))
    if missing:
        given = KafkaConfig.parse(kafka_config)
        if not (given.with_sasl or given.cert_file):
            raise StackUnavailable(f"Kafka has no topic {missing[0]}: run codewell topics, or create it.")
        # A broker does not say which topics a principal may not see.
        who = given.sasl_username or "the client certificate's principal"
        raise StackUnavailable(
            f"Kafka has no topic {missing[0]}, or {who} has no right to it: run codewell topics, or give the rights "
            "that codewell topics --acls prints."
        )
