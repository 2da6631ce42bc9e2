"""What a cluster says about itself: brokers, topics with their settings, permissions, the controller's clock."""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DescribeAclsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from codewell.infra.kafka.clients import admin
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.diagnose import unreachable_error

READ_TIMEOUT_S: Final = 15.0
# Numbers of the protocol.
_UNKNOWN_TOPIC: Final = 3
_TOPIC_RESOURCE, _ANY, _ALLOW = 2, 1, 3
_SECURITY_DISABLED: Final = 54
_METADATA_TOPIC: Final = "__cluster_metadata"


class TopicFacts(NamedTuple):
    """A topic as the cluster describes it."""

    partitions: int
    replicas: int
    """Of the partition that has the fewest."""
    in_sync: int
    """Replicas in sync, of the partition that has the fewest."""
    without_leader: int
    """Partitions that take no reads and writes now."""
    config: Mapping[str, str] | None
    """Its settings, defaults of the broker among them; None where this user may not read them."""


class Permission(NamedTuple):
    """An ACL that allows something with topics."""

    principal: str
    topic: str
    is_prefix: bool
    operation: int
    """The protocol's number: 2 all, 3 read, 4 write."""


class ClusterFacts(NamedTuple):
    """What was read of a cluster."""

    broker_count: int
    topics: Mapping[str, TopicFacts]
    hidden: tuple[str, ...]
    """Topics that this user may not describe, or that are not there: a broker does not say which."""
    controller_offset_s: float | None
    """How far the controller's clock is ahead of this machine's; None where Kafka does not say."""
    clock_error_s: float
    """The most by which that may be wrong."""
    permissions: tuple[Permission, ...] | None
    """ACLs on topics; None where this user may not read them."""
    has_authorizer: bool | None
    """Whether the cluster checks permissions at all; None where Kafka does not say."""


async def read_cluster(kafka_config: KafkaConfig, wanted: Collection[str]) -> ClusterFacts:
    """Describe the cluster and these topics; changes nothing. Raises StackUnavailable."""
    try:
        async with asyncio.timeout(READ_TIMEOUT_S), admin(kafka_config) as client:
            return await _read(client, wanted)
    except (TimeoutError, KafkaError) as error:
        raise unreachable_error(kafka_config) from error


async def _read(client: AIOKafkaAdminClient, wanted: Collection[str]) -> ClusterFacts:
    broker_count = len((await client.describe_cluster())["brokers"])
    # As `describe_topics`, which would have a broker make those that are missing.
    described = (await _send(client, MetadataRequest(list(wanted), False)))["topics"]
    there = {one["topic"]: one["partitions"] for one in described if one["error_code"] == 0}
    denied = {one["topic"] for one in described if one["error_code"] not in {0, _UNKNOWN_TOPIC}}
    configs = await _configs(client, there) if there else {}
    offset, error = await _controller_clock(client)
    permissions, has_authorizer = await _permissions(client)
    return ClusterFacts(
        broker_count,
        {name: _topic(partitions, configs.get(name)) for name, partitions in there.items()},
        tuple(sorted(denied)),
        offset,
        error,
        permissions,
        has_authorizer,
    )


def _topic(partitions: list[Mapping[str, Any]], config: Mapping[str, str] | None) -> TopicFacts:
    return TopicFacts(
        len(partitions),
        min(len(one["replicas"]) for one in partitions),
        min(len(one["isr"]) for one in partitions),
        sum(one["leader"] < 0 for one in partitions),
        config,
    )


async def _configs(client: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found = {}
    for answer in await client.describe_configs(asked):
        for code, _, _, name, entries in answer.resources:
            if code == 0:
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found


async def _permissions(client: AIOKafkaAdminClient) -> tuple[tuple[Permission, ...] | None, bool | None]:
    """The ACLs on topics, and whether there is an authorizer."""
    try:
        answer = await _send(client, DescribeAclsRequest(_TOPIC_RESOURCE, None, _ANY, None, None, _ANY, _ANY))
    except (KafkaError, NotImplementedError):
        return None, None
    if answer["error_code"]:
        return None, False if answer["error_code"] == _SECURITY_DISABLED else None
    return tuple(
        Permission(acl["principal"], one["resource_name"], one["resource_pattern_type"] != 3, acl["operation"])
        for one in answer["resources"]
        for acl in one["acls"]
        if acl["permission_type"] == _ALLOW
    ), True


async def _controller_clock(client: AIOKafkaAdminClient) -> tuple[float | None, float]:
    """How far the controller's clock is ahead (s), and the error of that. A follower's fetch is old; its own is now."""
    sent = time.time()
    try:
        answer = await _send(client, _QuorumRequest())
    except (KafkaError, NotImplementedError):
        return None, 0.0
    took = time.time() - sent
    for topic in answer["topics"]:
        for part in topic["partitions"]:
            for voter in part["voters"]:
                if voter["replica_id"] == part["leader_id"] and voter["last_caught_up_timestamp"] > 0:
                    return voter["last_caught_up_timestamp"] / 1000 - (sent + took / 2), took / 2
    return None, 0.0


async def _send(client: AIOKafkaAdminClient, request: Request[Any]) -> dict[str, Any]:
    # aiokafka has no public call for these requests.
    answer: dict[str, Any] = (await client._send_request(request)).to_object()
    return answer


# DescribeQuorum (KIP-836), which aiokafka lacks: the leader of the metadata answers with its own clock.
_REPLICA: Final = (
    ("replica_id", Int32),
    ("log_end_offset", Int64),
    ("last_fetch_timestamp", Int64),
    ("last_caught_up_timestamp", Int64),
    ("tags", TaggedFields),
)


class _QuorumResponse(Response):
    API_KEY = 55
    API_VERSION = 1
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "topics",
            CompactArray(
                ("topic_name", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition_index", Int32),
                        ("error_code", Int16),
                        ("leader_id", Int32),
                        ("leader_epoch", Int32),
                        ("high_watermark", Int64),
                        ("voters", CompactArray(*_REPLICA)),
                        ("observers", CompactArray(*_REPLICA)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _QuorumStruct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 55
    API_VERSION = 1
    RESPONSE_TYPE = _QuorumResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_name", CompactString("utf-8")),
                ("partitions", CompactArray(("partition_index", Int32), ("tags", TaggedFields))),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _QuorumRequest(Request[_QuorumStruct]):
    API_KEY = 55

    def build(self, request_struct_class: type[_QuorumStruct]) -> _QuorumStruct:
        return request_struct_class([(_METADATA_TOPIC, [(0, {})], {})], {})
