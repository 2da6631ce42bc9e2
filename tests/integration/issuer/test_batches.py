"""I3: a batch is sent once the broker has it, and not before; what it refuses is never taken for sent."""

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from codewell.infra.kafka.clients import started_producer
from codewell.infra.kafka.record_batches import RecordBatches, TopicRefused
from codewell.infra.kafka.record_encoding import encode_headers

TAKEN_BYTES_MAX = 1_000


async def test_a_record_that_the_broker_refuses_is_not_sent(kafka_bootstrap: str, prefix: str) -> None:
    topic = f"{prefix}small"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    try:
        limit = {"max.message.bytes": str(TAKEN_BYTES_MAX)}
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=limit)])
        async with started_producer(kafka_bootstrap) as producer:
            await producer.partitions_for(topic)
            batches = RecordBatches(producer)
            batches.add(topic, 0, b"p-1", b"small", encode_headers([]))
            await batches.send()
            batches.add(topic, 0, b"p-1", bytes(2 * TAKEN_BYTES_MAX), encode_headers([]))
            with pytest.raises(TopicRefused, match="MessageSizeTooLarge"):
                await batches.send()
    finally:
        await admin.delete_topics([topic])
        await admin.close()
