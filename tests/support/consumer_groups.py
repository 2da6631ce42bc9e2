"""Reads the state of the workers' consumer groups, and changes it as Kafka's own tools do."""

from collections.abc import Iterable
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.group import LeaveGroupRequest

from codewell.infra.kafka import clients

ISSUER = "codewell-issuer"
GENERATOR = "codewell-generator"


class Group(NamedTuple):
    """A group as its coordinator describes it; a dead member counts until its session has timed out."""

    state: str
    member_ids: list[str]


async def described(bootstrap: str, group: str) -> Group:
    """The current description of the group."""
    async with clients.admin(bootstrap) as admin:
        [answer] = await admin.describe_consumer_groups([group])
    [(_, _, state, _, _, members, *_)] = answer.groups
    return Group(state, [member[0] for member in members])


async def evict(bootstrap: str, group: str, member_ids: list[str]) -> None:
    """Remove members, as Kafka's admin client does for an operator without waiting for the session timeout.

    A living member among them is fenced in the middle of its batch, and has to rejoin.
    """
    async with clients.admin(bootstrap) as admin:
        coordinator = await admin.find_coordinator(group)
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        await client.bootstrap()
        await client.ready(coordinator)
        for member_id in member_ids:
            await client.send(coordinator, LeaveGroupRequest(group, member_id))
    finally:
        await client.close()


async def partitions(bootstrap: str, names: list[str]) -> list[TopicPartition]:
    """All partitions of these topics."""
    async with clients.admin(bootstrap) as admin:
        found = await admin.describe_topics(names)
    return [TopicPartition(topic["topic"], one["partition"]) for topic in found for one in topic["partitions"]]


async def end_offsets(bootstrap: str, names: list[str]) -> dict[TopicPartition, int]:
    """The end offset of each partition of these topics."""
    wanted = await partitions(bootstrap, names)
    assert wanted, f"no partition of {names}"
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        found: dict[TopicPartition, int] = await consumer.end_offsets(wanted)
        return found
    finally:
        await consumer.stop()


async def read_all(bootstrap: str, names: Iterable[str]) -> list[ConsumerRecord]:
    """All records of these topics, from the first one."""
    ends = {partition: end for partition, end in (await end_offsets(bootstrap, list(names))).items() if end > 0}
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    records: list[ConsumerRecord] = []
    try:
        consumer.assign(list(ends))
        await consumer.seek_to_beginning()
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for found in (await consumer.getmany(timeout_ms=1_000, max_records=5_000)).values():
                records += [
                    record for record in found if record.offset < ends[TopicPartition(record.topic, record.partition)]
                ]
    finally:
        await consumer.stop()
    return records
