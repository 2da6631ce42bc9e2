"""Creates missing topics, and raises what an acknowledgement means where it is too little."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from codewell.errors import StackUnavailable
from codewell.infra.kafka.clients import admin
from codewell.infra.kafka.cluster_facts import TopicFacts, read_cluster
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.topic_settings import set_on_topics
from schemas.topics import IN_SYNC_MIN, REPLICAS, TOPICS, partitions_of, wanted_topics

IN_SYNC: Final = "min.insync.replicas"


async def create_topics(
    kafka_config: KafkaConfig | str, prefix: str, replication: int | None = None, reply_topics: Iterable[str] = (),
    partitions_max: int | None = None,
) -> list[str]:  # fmt: skip
    """Create missing topics and return their names. Default replication: 3, or the number of brokers if fewer.

    With 3 replicas or more a record is acknowledged once 2 have it. `reply_topics` are the full names of topics that
    requests may name for their answers. `partitions_max` is for a cluster with all workers on one machine.

    Existing topics keep their partitions: more of them would move a profile's requests to other partitions. Raises
    StackUnavailable.
    """
    async with admin(kafka_config) as client:
        there = set(await client.list_topics())
        if replication is None:
            replication = min(REPLICAS, len((await client.describe_cluster())["brokers"]))
        safety = {IN_SYNC: str(IN_SYNC_MIN)} if replication >= REPLICAS else {}
        wanted = [
            NewTopic(
                name, partitions_of(topic, partitions_max), replication, topic_configs={**dict(topic.config), **safety}
            )
            for name, topic in wanted_topics(prefix, reply_topics).items()
            if name not in there
        ]
        if not wanted:
            return []
        answer = await client.create_topics(wanted)
    made = []
    for name, code, *rest in answer.topic_errors:
        error = for_code(code)
        if code == 0:
            made.append(name)
        elif error is not TopicAlreadyExistsError:
            raise StackUnavailable(
                f"Kafka did not create topic {name} ({rest[0] or error.__name__}): correct the cause and run "
                "codewell topics again."
            )
    return made


class InSync(NamedTuple):
    """Topics with replicas enough to lose a broker, whose records one broker alone may acknowledge."""

    weak: list[str]
    raised: list[str]
    """Those that were changed now."""


async def check_in_sync(
    kafka_config: KafkaConfig | str, prefix: str, reply_topics: Iterable[str] = (), *, raise_it: bool
) -> InSync:
    """Find topics that may lose acknowledged records with one broker; with `raise_it`, have 2 replicas acknowledge.

    Topics whose settings this user may not read are not looked at. Raises StackUnavailable.
    """
    config = KafkaConfig.parse(kafka_config)
    names = dict.fromkeys([*(prefix + topic.name for topic in TOPICS), *reply_topics])
    weak = _weak((await read_cluster(config, names)).topics)
    if not weak or not raise_it:
        return InSync(weak, [])
    await set_on_topics(config, weak, IN_SYNC, str(IN_SYNC_MIN))
    return InSync([], weak)


def _weak(topics: Mapping[str, TopicFacts]) -> list[str]:
    """Those with 3 replicas or more whose records are acknowledged before 2 have them."""
    return [
        name
        for name, one in topics.items()
        if one.replicas >= REPLICAS and one.config is not None and int(one.config[IN_SYNC]) < IN_SYNC_MIN
    ]
