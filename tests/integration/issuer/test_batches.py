"""I3: a batch is sent once the broker has it, and not before; what it refuses is never taken for sent."""

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from codewell.infra.kafka.clients import BATCH_BYTES_MAX, admin, reader, started_producer
from codewell.infra.kafka.record_batches import RecordBatches, TopicRefused
from codewell.infra.kafka.record_encoding import encode_headers

TAKEN_BYTES_MAX = 1_000


async def test_what_is_too_much_for_one_batch_is_sent_in_several(kafka_bootstrap: str, prefix: str) -> None:
    topic = f"{prefix}large"
    record = ("p-1", "x" * (BATCH_BYTES_MAX * 2 // 5), "\0")
    async with admin(kafka_bootstrap) as client, started_producer(kafka_bootstrap) as producer:
        await client.create_topics([NewTopic(topic, 1, 1)])
        await producer.partitions_for(topic)
        batches = RecordBatches(producer)
        batches.add_texts(topic, 0, [record] * 3)
        batches.add_texts(topic, 0, [record] * 2)
        await batches.send()
        reading = reader(kafka_bootstrap, from_start=True)
        async with reading:
            partition = TopicPartition(topic, 0)
            assert await reading.end_offsets([partition]) == {partition: 5}
        await client.delete_topics([topic])


async def test_a_record_that_the_broker_refuses_is_not_sent(kafka_bootstrap: str, prefix: str) -> None:
    topic = f"{prefix}small"
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await client.start()
    try:
        limit = {"max.message.bytes": str(TAKEN_BYTES_MAX)}
        await client.create_topics([NewTopic(topic, 1, 1, topic_configs=limit)])
        async with started_producer(kafka_bootstrap) as producer:
            await producer.partitions_for(topic)
            batches = RecordBatches(producer)
            batches.add(topic, 0, b"p-1", b"small", encode_headers([]))
            await batches.send()
            batches.add(topic, 0, b"p-1", bytes(2 * TAKEN_BYTES_MAX), encode_headers([]))
            with pytest.raises(TopicRefused, match="MessageSizeTooLarge"):
                await batches.send()
    finally:
        await client.delete_topics([topic])
        await client.close()
