"""What must hold for the topics: that they exist, what they lose and when, who may write to them."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Final, NamedTuple

from codewell.doctor.check_result import CheckResult, Level, named
from codewell.infra.kafka.cluster_facts import ClusterFacts, Permission, TopicFacts
from schemas import topics
from schemas.topics import Topic

CHECK: Final = "topics"
# Below it, a day without consumers or issuers loses unread records.
RETENTION_MIN: Final = timedelta(days=1)
_NO_LIMIT: Final = "-1"
_ALL, _WRITE = 2, 4


class _Fault(NamedTuple):
    """What is wrong with a topic; topics with the same fault are named together."""

    level: Level
    says: str
    mend: str


def topic_findings(facts: ClusterFacts, wanted: dict[str, Topic]) -> Iterator[CheckResult]:
    """Each kind of fault once, with the topics that have it."""
    faults: defaultdict[_Fault, list[str]] = defaultdict(list)
    missing = [name for name in wanted if name not in facts.topics and name not in facts.hidden]
    if missing:
        yield CheckResult(CHECK, "error", f"missing: {named(missing)}", "codewell topics")
    if facts.hidden:
        yield CheckResult(
            CHECK,
            "unseen",
            f"Kafka does not show this user {named(facts.hidden)}",
            "give it the rights that codewell topics --acls prints",
        )
    for name, one in facts.topics.items():
        for fault in _faults(one, wanted[name], facts.broker_count):
            faults[fault].append(name)
    for fault, names in faults.items():
        yield CheckResult(CHECK, fault.level, f"{fault.says}: {named(names)}", fault.mend)
    if not missing and not faults and facts.topics:
        yield CheckResult(CHECK, "well", f"{len(facts.topics)} topics as wanted, on {facts.broker_count} brokers")


def _faults(there: TopicFacts, wanted: Topic, broker_count: int) -> Iterator[_Fault]:
    partitions = topics.partitions_of(wanted, topics.PARTITIONS_ON_ONE_MACHINE if broker_count == 1 else None)
    if there.partitions < partitions:
        yield _Fault(
            "warning",
            f"{there.partitions} partitions instead of {partitions}, so at most as many workers share it",
            "stop its senders until nothing waits, then kafka-topics.sh --alter --partitions",
        )
    if there.without_leader:
        yield _Fault("error", "partitions without a leader", "bring their brokers back")
    elif there.in_sync < there.replicas:
        yield _Fault("warning", "replicas that are not in sync", "bring their brokers back, or wait")
    if there.replicas < min(broker_count, topics.REPLICAS):
        yield _Fault(
            "warning",
            f"replicas: {there.replicas}, with {broker_count} brokers",
            "add replicas with kafka-reassign-partitions.sh",
        )
    if there.config is None:
        yield _Fault(
            "unseen", "settings not shown to this user", "give it DescribeConfigs on topics to have them looked at"
        )
        return
    if there.replicas > 1:
        yield from _safety_faults(there, there.config)
    yield from _loss_faults(there.config, wanted)
    yield from _size_faults(there.config, dict(wanted.config))


def _safety_faults(there: TopicFacts, config: Mapping[str, str]) -> Iterator[_Fault]:
    in_sync_min = int(config["min.insync.replicas"])
    if in_sync_min < topics.IN_SYNC_MIN:
        yield _Fault(
            "warning",
            "min.insync.replicas is 1, so one broker's loss may lose acknowledged records",
            "codewell topics --raise-in-sync, once they have 3 replicas",
        )
    elif in_sync_min >= there.replicas:
        yield _Fault(
            "warning",
            f"min.insync.replicas is {in_sync_min} of {there.replicas} replicas, so one broker's stop ends all writes",
            f"set min.insync.replicas={there.replicas - 1}, or add replicas",
        )
    if config["unclean.leader.election.enable"] == "true":
        yield _Fault(
            "warning",
            "a replica that lacks records may lead (unclean.leader.election.enable)",
            "set unclean.leader.election.enable=false",
        )


def _loss_faults(config: Mapping[str, str], wanted: Topic) -> Iterator[_Fault]:
    is_compacted = "compact" in config["cleanup.policy"]
    if ("cleanup.policy", "compact") in wanted.config:
        if config["cleanup.policy"] != "compact":
            yield _Fault("error", "not compacted, so old records vanish", "set cleanup.policy=compact")
        return
    if is_compacted:
        yield _Fault("error", "compacted: of a key's records only the last stays", "set cleanup.policy=delete")
    if wanted.name == topics.POOL_DEMAND:
        return
    kept = config["retention.ms"]
    if kept != _NO_LIMIT and timedelta(milliseconds=int(kept)) < RETENTION_MIN:
        yield _Fault(
            "warning",
            f"records are kept for {int(kept) / 3_600_000:.2f} h; what no one read by then is lost",
            "set retention.ms to a day at least, above the longest outage of its readers",
        )
    if config["retention.bytes"] != _NO_LIMIT:
        yield _Fault("warning", "retention.bytes deletes records that no one read", "set retention.bytes=-1")


def _size_faults(config: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[_Fault]:
    least = int(wanted.get("max.message.bytes", 0))
    if int(config["max.message.bytes"]) < least:
        yield _Fault(
            "error", "max.message.bytes is too small, so a large record blocks its partition",
            f"set max.message.bytes={least}",
        )  # fmt: skip
    stored = wanted.get("compression.type", config["compression.type"])
    if config["compression.type"] != stored:
        yield _Fault(
            "error", f"compression.type is {config['compression.type']}, so limits on sizes do not hold",
            f"set compression.type={stored}",
        )  # fmt: skip


def permission_findings(facts: ClusterFacts, wanted: Collection[str], *, is_local: bool) -> Iterator[CheckResult]:
    """Who may write to the topics, as far as this user may see it."""
    if facts.has_authorizer is False and not is_local:
        yield CheckResult(
            CHECK,
            "warning",
            "Kafka checks no permissions: all who reach it may take codes and forget customers",
            "set an authorizer, then run what codewell topics --acls prints",
        )
    elif facts.permissions is None and facts.has_authorizer is not False:
        yield CheckResult(CHECK, "unseen", "Kafka's ACLs are not shown to this user", "give it Describe on the cluster")
    open_to_all = sorted(
        name
        for name in wanted
        for one in facts.permissions or ()
        if one.principal == "User:*" and one.operation in {_ALL, _WRITE} and _covers(one, name)
    )
    if open_to_all:
        yield CheckResult(
            CHECK,
            "error",
            f"everybody may write to {named(dict.fromkeys(open_to_all))}",
            "remove the ACLs of User:*, and add those that codewell topics --acls prints",
        )


def _covers(permission: Permission, name: str) -> bool:
    if permission.is_prefix:
        return name.startswith(permission.topic)
    return permission.topic in {name, "*"}
