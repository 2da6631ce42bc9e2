"""Creates missing topics."""

from typing import Final

from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from codewell.errors import StackUnavailable
from codewell.infra.kafka.clients import admin
from codewell.infra.kafka.config import KafkaConfig
from schemas.topics import TOPICS

REPLICAS_DEFAULT: Final = 3


async def create_topics(kafka_config: KafkaConfig | str, prefix: str, replication: int | None = None) -> list[str]:
    """Create missing topics and return their names. Default replication: 3, or the number of brokers if fewer.

    Existing topics keep their partitions: more of them would move a profile's requests to other partitions. Raises
    StackUnavailable.
    """
    async with admin(kafka_config) as client:
        there = set(await client.list_topics())
        if replication is None:
            replication = min(REPLICAS_DEFAULT, len((await client.describe_cluster())["brokers"]))
        wanted = [
            NewTopic(prefix + topic.name, topic.partitions, replication, topic_configs=dict(topic.config))
            for topic in TOPICS
            if prefix + topic.name not in there
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
