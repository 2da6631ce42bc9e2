"""The lag of all consumer groups and the size of the dead-letter topics, as the broker says."""

import asyncio
from datetime import UTC, datetime
from typing import Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from codewell.errors import StackUnavailable
from codewell.infra.kafka import clients
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.diagnose import unreachable_error
from codewell.infra.kafka.reading import open_reader, partitions
from schemas import topics
from schemas.usage import Lag, Lags

READ_TIMEOUT_S: Final = 5.0
_RETRY_PAUSE_S: Final = 0.1
# Consumer group -> the topics that it reads, both without the deployment's prefix.
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "codewell-issuer": topics.REQUESTS,
    "codewell-issuer-retry": tuple(map(topics.retry_of, topics.REQUESTS)),
    **{f"codewell-issuer-{name}": (name,) for name in topics.REPORTS},
    **{f"codewell-issuer-{name}-retry": (topics.retry_of(name),) for name in topics.ANSWERED_REPORTS},
    "codewell-generator": (topics.POOL_DEMAND, topics.PROGRAM_CHANGED),
    "codewell-profiles": (topics.PROFILE_CHANGED,),
}
DEAD_LETTERS: Final = tuple(map(topics.dead_letters_of, topics.DECIDED))


async def read_lags(kafka_config: KafkaConfig, prefix: str) -> Lags:
    """The lag of each group on each of its topics, within READ_TIMEOUT_S. Raises StackUnavailable."""
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await _read(kafka_config, prefix)
    except (TimeoutError, KafkaError) as error:
        raise unreachable_error(kafka_config) from error


async def _read(kafka_config: KafkaConfig, prefix: str) -> Lags:
    consumed = {prefix + topic: prefix + group for group, names in GROUPS.items() for topic in names}
    dead = [prefix + topic for topic in DEAD_LETTERS]
    places = await partitions(kafka_config, [*consumed, *dead])
    committed: dict[TopicPartition, int] = {}
    async with clients.admin(kafka_config) as admin:
        for group in dict.fromkeys(consumed.values()):
            committed |= await _committed(admin, group)
    async with open_reader(kafka_config) as reader:
        ranges = await reader.offset_ranges(places)
    lags: dict[str, int] = {}
    for tp in places:
        if tp.topic in consumed and (tp in committed or ranges[tp].end > ranges[tp].start):
            # A group without an offset begins at the oldest record.
            behind = ranges[tp].end - max(committed.get(tp, 0), ranges[tp].start)
            lags[tp.topic] = lags.get(tp.topic, 0) + max(0, behind)
    letters = {name: sum(ranges[tp].end - ranges[tp].start for tp in places if tp.topic == name) for name in dead}
    return Lags(
        read_at=datetime.now(UTC),
        lags=[Lag(topic=topic, group=group, lag=lags.get(topic, 0)) for topic, group in consumed.items()],
        dead_letters=letters,
    )


async def _committed(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    while True:
        try:
            offsets = await admin.list_consumer_group_offsets(group)
        except GroupAuthorizationFailedError as error:
            raise StackUnavailable(
                f"Kafka does not let this user describe the group {group}: give it the rights that codewell topics "
                "--acls prints."
            ) from error
        except KafkaError as error:
            if not error.retriable:
                raise
            # A new broker makes its topic of offsets first.
            await asyncio.sleep(_RETRY_PAUSE_S)
        else:
            return {tp: one.offset for tp, one in offsets.items() if one.offset >= 0}
