"""The rules of `codewell doctor`: what each fault is called, how bad it is, and what to do."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from codewell.doctor import clock_rules, disk_rules, postgres_rules, setting_rules, topic_rules, work_rules
from codewell.doctor.check_result import CheckResult, error_of, is_well
from codewell.doctor.postgres_facts import PostgresFacts, Slot
from codewell.doctor.setting_rules import Given
from codewell.errors import StackUnavailable
from codewell.infra.kafka.cluster_facts import ClusterFacts, Permission, TopicFacts
from codewell.keys.rotation import RotationCounts
from schemas.topics import TOPICS, wanted_topics
from schemas.usage import Lag, Lags, Worker

NOW = datetime(2026, 12, 1, 10, tzinfo=UTC)
GIB = 1024**3
MASTER = "0011223344556677"
GOOD_SETTINGS = {
    "server_version_num": "180000", "transaction_read_only": "off", "synchronous_commit": "on",
    "synchronous_standby_names": "", "fsync": "on", "full_page_writes": "on", "wal_level": "replica",
    "max_connections": "100", "superuser_reserved_connections": "3", "max_slot_wal_keep_size": "-1",
}  # fmt: skip
GOOD_CONFIG = {
    "cleanup.policy": "delete", "retention.ms": "604800000", "retention.bytes": "-1", "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false", "max.message.bytes": "3145728", "compression.type": "uncompressed",
}  # fmt: skip
WANTED = wanted_topics("", [])


def postgres(settings: dict[str, str] | None = None, **changed: Any) -> PostgresFacts:
    given: dict[str, Any] = {
        "settings": GOOD_SETTINGS | (settings or {}), "connections_used": 5, "user": "owner", "is_superuser": False,
        "may_create": True, "roles": [], "missing_roles": [], "powerful": [], "slots": [],
        "offset_s": 0.0, "clock_error_s": 0.0,
    }  # fmt: skip
    return PostgresFacts(**given | changed)


def faults(findings: Iterable[CheckResult]) -> list[tuple[str, str, str | None]]:
    return [(one.level, one.says, one.mend) for one in findings if one.level != "well"]


def only(findings: Iterable[CheckResult]) -> tuple[str, str, str | None]:
    [fault] = faults(findings)
    return fault


@pytest.mark.parametrize(
    ("changed", "level", "says"),
    [
        ({"server_version_num": "140011"}, "error", "Postgres 14 is too old"),
        ({"transaction_read_only": "on"}, "error", "takes no writes"),
        ({"fsync": "off"}, "error", "fsync is off"),
        ({"full_page_writes": "off"}, "error", "full_page_writes is off"),
        ({"synchronous_commit": "off"}, "error", "synchronous_commit is off"),
        ({"synchronous_commit": "local", "synchronous_standby_names": "b"}, "error", "synchronous_commit is local"),
        ({"synchronous_commit": "remote_write", "synchronous_standby_names": "b"}, "error", "is remote_write"),
    ],
)
def test_a_setting_of_postgres_that_may_lose_a_commit_is_named(changed: dict[str, str], level: str, says: str) -> None:
    found = only(postgres_rules.server_findings(postgres(changed)))
    assert (found[0], says in found[1]) == (level, True)
    assert found[2]


def test_a_server_that_keeps_its_commits_has_no_fault() -> None:
    for settings in ({}, {"synchronous_commit": "local"}, {"synchronous_commit": "remote_apply"}):
        assert faults(postgres_rules.server_findings(postgres(settings))) == []


def test_pools_of_all_workers_must_fit_into_the_connections() -> None:
    most = {"issuer": 6, "console": 15}

    def found(facts: PostgresFacts, **running: int) -> list[tuple[str, str, str | None]]:
        return faults(postgres_rules.connection_findings(facts, running, most))

    assert found(postgres(), issuer=10, console=2) == []
    [(level, says, mend)] = found(postgres(), issuer=15, console=1)
    assert (level, says) == ("warning", "16 workers may open 105 connections, and there are 97")
    assert mend == "raise max_connections to 118"
    [(level, says, _)] = found(postgres(connections_used=88), issuer=1)
    assert (level, says) == ("error", "88 of 97 connections are used")
    [(_, says, _)] = found(postgres({"reserved_connections": "40"}), issuer=10)
    assert "there are 57" in says


def test_rights_that_are_missing_and_rights_that_are_too_many() -> None:
    assert faults(postgres_rules.user_findings(postgres())) == []
    level, says, _ = only(postgres_rules.user_findings(postgres(may_create=False, roles=["codewell_issuer"])))
    assert (level, says) == ("unseen", "user owner does not own the schema: it has codewell_issuer")
    level, _, mend = only(postgres_rules.user_findings(postgres(may_create=False)))
    assert (level, mend) == ("error", "create a user with codewell login")
    level, _, mend = only(postgres_rules.user_findings(postgres(missing_roles=["codewell_issuer"])))
    assert (level, mend) == ("error", "codewell migrate")
    level, says, _ = only(postgres_rules.user_findings(postgres(powerful=["codewell-issuer as postgres"])))
    assert (level, says) == ("warning", "with all rights runs codewell-issuer as postgres")


def slot(**changed: Any) -> Slot:
    return Slot("s", True, "reserved", True, 0)._replace(**changed)


def test_slots_that_are_lost_or_fill_the_disk() -> None:
    limited = {"max_slot_wal_keep_size": "4096", "wal_level": "logical"}

    def found(*slots: Slot, settings: dict[str, str] = limited, streams: bool = False) -> list[str]:
        facts = postgres(settings, slots=list(slots))
        return [f"{level}: {says}" for level, says, _ in faults(postgres_rules.slot_findings(facts, streams=streams))]

    assert found(slot(), slot(kept_bytes=GIB)) == []
    assert found(slot(wal_status="lost")) == ["error: replication slot s is lost: its reader misses changes"]
    assert found(slot(wal_status="unreserved"))[0].startswith("error: replication slot s will be lost")
    assert found(slot(kept_bytes=3 * GIB)) == ["warning: replication slot s keeps 3.0 GiB that its reader has not read"]
    assert "max_slot_wal_keep_size has no limit" in found(slot(), settings={"wal_level": "logical"})[0]
    assert found(streams=True, settings={"wal_level": "replica"}) == [
        "error: wal_level is replica, and the life-cycle stream needs logical"
    ]


@pytest.mark.parametrize(
    ("offset_s", "error_s", "level"),
    [(0.3, 0.0, "well"), (-0.9, 0.0, "well"), (3.0, 2.5, "well"), (-3.0, 0.1, "warning"), (61.0, 0.1, "error")],
)
def test_a_clock_is_off_only_by_more_than_the_comparison_may_be_wrong(
    offset_s: float, error_s: float, level: str
) -> None:
    [found] = clock_rules.clock_finding("Postgres", offset_s, error_s)
    assert found.level == level
    assert ("behind" in found.says) is (offset_s < 0 and level != "well")
    assert (found.mend is None) is (level == "well")


def test_a_clock_that_is_not_shown_is_said_so() -> None:
    assert [one.level for one in clock_rules.clock_finding("Kafka", None, 0)] == ["unseen"]


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [(0.5, 100, "error"), (5, 100, "warning"), (5, 20, "well"), (50, 10_000, "well"), (9, 200, "warning")],
)
def test_free_space(free: float, total: float, level: str) -> None:
    assert disk_rules.space_finding("x", int(free * GIB), int(total * GIB)).level == level


def test_a_folder_that_is_elsewhere_is_not_seen() -> None:
    for place in (None, Path("/nowhere/at/all")):
        assert [one.level for one in disk_rules.disk_finding("Postgres' data", place)] == ["unseen"]


def cluster(broker_count: int = 3, config: dict[str, str] | None = None, **changed: Any) -> ClusterFacts:
    """All topics as they should be, but `message-render`."""
    good = {
        name: TopicFacts(topic.partitions, 3, 3, 0, GOOD_CONFIG | dict(topic.config)) for name, topic in WANTED.items()
    }
    facts = {"partitions": 24, "replicas": 3, "in_sync": 3, "without_leader": 0}
    mine = {name: changed.pop(name, value) for name, value in facts.items()}
    good["message-render"] = TopicFacts(
        **mine, config=GOOD_CONFIG | dict(WANTED["message-render"].config) | (config or {})
    )
    given: dict[str, Any] = {
        "broker_count": broker_count, "topics": good, "hidden": (), "controller_offset_s": 0.0, "clock_error_s": 0.0,
        "permissions": (), "has_authorizer": True,
    }  # fmt: skip
    return ClusterFacts(**given | changed)


@pytest.mark.parametrize(
    ("changed", "level", "says"),
    [
        ({"partitions": 6}, "warning", "6 partitions instead of 24"),
        ({"without_leader": 2}, "error", "partitions without a leader"),
        ({"in_sync": 2}, "warning", "not in sync"),
        ({"replicas": 2, "in_sync": 2, "config": {"min.insync.replicas": "1"}}, "warning", "replicas: 2, with 3"),
        ({"config": {"min.insync.replicas": "1"}}, "warning", "min.insync.replicas is 1"),
        ({"config": {"min.insync.replicas": "3"}}, "warning", "min.insync.replicas is 3 of 3"),
        ({"config": {"unclean.leader.election.enable": "true"}}, "warning", "lacks records may lead"),
        ({"config": {"cleanup.policy": "compact,delete"}}, "error", "compacted"),
        ({"config": {"retention.ms": "3600000"}}, "warning", "kept for 1.00 h"),
        ({"config": {"retention.bytes": "1000"}}, "warning", "retention.bytes"),
        ({"config": {"max.message.bytes": "1048588"}}, "error", "max.message.bytes is too small"),
        ({"config": {"compression.type": "producer"}}, "error", "compression.type is producer"),
    ],
)
def test_a_topic_that_may_lose_or_refuse_records_is_named(changed: dict[str, Any], level: str, says: str) -> None:
    found = [one for one in topic_rules.topic_findings(cluster(**changed), WANTED) if one.level != "well"]
    assert [(one.level, says in one.says, "message-render" in one.says) for one in found][:1] == [(level, True, True)]
    assert all(one.mend for one in found)


def test_topics_as_they_should_be() -> None:
    assert faults(topic_rules.topic_findings(cluster(), WANTED)) == []
    kept_for_ever = cluster(config={"retention.ms": "-1"})
    assert faults(topic_rules.topic_findings(kept_for_ever, WANTED)) == []
    alone = cluster(broker_count=1, replicas=1, in_sync=1, config={"min.insync.replicas": "1"})
    assert not [one for one in topic_rules.topic_findings(alone, WANTED) if "message-render" in one.says]
    on_one_machine = cluster(broker_count=1, replicas=1, in_sync=1, config={"min.insync.replicas": "1"}, partitions=6)
    assert not [one for one in topic_rules.topic_findings(on_one_machine, WANTED) if "message-render" in one.says]


def test_topics_that_are_missing_or_hidden_and_profiles_that_are_not_compacted() -> None:
    there = cluster()
    topics = {name: one for name, one in there.topics.items() if name not in {"orders", "delivery"}}
    [missing, hidden] = faults(topic_rules.topic_findings(there._replace(topics=topics, hidden=("orders",)), WANTED))
    assert missing == ("error", "missing: delivery", "codewell topics")
    assert hidden[:2] == ("unseen", "Kafka does not show this user orders")
    profiles = there.topics["profile-changed"]._replace(config=GOOD_CONFIG)
    found = only(
        topic_rules.topic_findings(there._replace(topics={**there.topics, "profile-changed": profiles}), WANTED)
    )
    assert found[:2] == ("error", "not compacted, so old records vanish: profile-changed")


def test_reply_topics_of_senders_are_wanted_too() -> None:
    wanted = wanted_topics("p.", ["shop.answers"])
    assert len(wanted) == len(TOPICS) + 1
    assert wanted["shop.answers"].partitions == 24
    assert only(topic_rules.topic_findings(cluster(), WANTED | {"shop.answers": wanted["shop.answers"]}))[1] == (
        "missing: shop.answers"
    )


def test_permissions_that_everybody_has() -> None:
    def found(*, is_local: bool = False, **changed: Any) -> list[tuple[str, str, str | None]]:
        return faults(topic_rules.permission_findings(cluster(**changed), WANTED, is_local=is_local))

    assert found() == []
    [(level, says, _)] = found(has_authorizer=False, permissions=None)
    assert (level, "checks no permissions" in says) == ("warning", True)
    assert found(has_authorizer=False, permissions=None, is_local=True) == []
    assert [level for level, *_ in found(has_authorizer=None, permissions=None)] == ["unseen"]
    mine = Permission("User:campaign-sender", "message-render", False, 4)
    anybody = Permission("User:*", "message-render", True, 4)
    [(level, says, _)] = found(permissions=(mine, anybody))
    assert level == "error"
    assert "everybody may write to message-render, message-render.dlq" in says
    assert found(permissions=(mine, anybody._replace(operation=3))) == []


def worker(**changed: Any) -> Worker:
    given: dict[str, Any] = {
        "id": "0", "service": "issuer", "host": "a", "pid": 7, "version": "1", "started_at": NOW, "seen_at": NOW,
        "state": "running", "ready": True, "waiting_for": {}, "counters": {},
    }  # fmt: skip
    return Worker.model_validate(given | changed)


def test_old_answers_that_stay() -> None:
    none = {"earlier_workers": 0.0, "folder": 0.0, "database": 0.0}
    generators = [
        worker(service="generator"),
        worker(service="generator", counters={"archive_waiting": none}),
        worker(service="generator", counters={"archive_waiting": {**none, "folder": 1.0}}, host="b"),
        worker(service="generator", counters={"archive_waiting": {**none, "database": 1.0}}, state="lost"),
    ]
    level, says, mend = only(work_rules.retention_findings(generators))
    assert (level, says) == ("warning", "generator b:7: old answers stay, as their files cannot be written")
    assert mend is not None
    assert "CODEWELL_ARCHIVE_DIR" in mend


def test_workers_that_are_missing_lost_waiting_or_of_another_release() -> None:
    all_ = [worker(service=name) for name in ("issuer", "generator", "console")]
    assert faults(work_rules.worker_findings(all_)) == []
    lost = [*all_[1:], worker(state="lost")]
    assert faults(work_rules.worker_findings(lost))[0] == ("error", "no issuer runs", "start one: codewell issuer")
    assert faults(work_rules.worker_findings(lost))[1][1] == "issuer a:7 has not reported since 2026-12-01 10:00:00 UTC"
    waiting = [*all_, worker(ready=False, waiting_for={"postgres": "TimeoutError"})]
    assert only(work_rules.worker_findings(waiting))[:2] == ("error", "issuer a:7 waits for postgres (TimeoutError)")
    assert only(work_rules.version_findings([worker(), worker(version="2", state="lost"), worker(version="0")], "1"))[
        1
    ] == ("issuer a:7 has version 0, this command 1")


def count(master_key: str, *, given: bool = True, newest: bool = False, number: int = 2) -> RotationCounts:
    return RotationCounts("programs", number, master_key, given, newest)


def test_master_keys_that_are_missing_not_needed_or_not_in_use() -> None:
    assert faults(work_rules.key_findings([count(MASTER, newest=True)], 1)) == []
    level, says, _ = only(work_rules.key_findings([count(MASTER, given=False)], 0))
    assert (level, says) == ("error", f"2 keys of programs need the master key of id {MASTER}")
    level, _, mend = only(work_rules.key_findings([count("plain")], 0))
    assert (level, mend) == ("warning", "set CODEWELL_MASTER_KEY everywhere, then codewell keys rotate")
    assert only(work_rules.key_findings([count("plain")], 1))[2] == "codewell keys rotate"
    assert only(work_rules.key_findings([count(MASTER)], 2))[1] == "a previous master key wraps 2 keys"
    assert only(work_rules.key_findings([count(MASTER, newest=True)], 2))[1] == (
        "no stored key needs a previous master key"
    )
    assert only(work_rules.services_without_key(["codewell-issuer"], bytes(8)))[0] == "error"


def test_dead_letters_and_lag() -> None:
    def found(lag: int, letters: int, **there: int) -> list[tuple[str, str, str | None]]:
        lags = [Lag(topic="message-render", group="codewell-issuer", lag=lag)]
        read = Lags(read_at=NOW, lags=lags, dead_letters={"message-render.dlq": letters})
        return faults(work_rules.backlog_findings(read, there))

    assert found(10_000, 0) == []
    assert found(10_001, 0, issuer=1)[0][:2] == (
        "warning",
        "codewell-issuer is 10,001 records behind on message-render",
    )
    assert found(10_001, 0)[0][0] == "error"
    assert found(0, 1)[0][:2] == ("warning", "message-render.dlq holds 1 letter, handled ones too")


def test_settings_that_contradict_each_other() -> None:
    def found(**given: tuple[Any, str]) -> list[str]:
        settings = {f"CODEWELL_{name}": Given(*one) for name, one in given.items()}
        return [says for _, says, _ in faults(setting_rules.contradictions(settings))]

    assert found(POSTGRES_URL=("x", "environment"), KAFKA_BOOTSTRAP=("k", "environment")) == []
    assert found(POSTGRES_URL=("x", "stack"), KAFKA_BOOTSTRAP=("k", "stack")) == []
    [mixed] = found(POSTGRES_URL=("x", "file"), KAFKA_BOOTSTRAP=("k", "stack"))
    assert mixed.startswith("CODEWELL_POSTGRES_URL is set, and CODEWELL_KAFKA_BOOTSTRAP comes from the stack")
    [waits] = found(REMOTE_WAIT_S=(5.0, "environment"), REMOTE_TIMEOUT_S=(10.0, "default"))
    assert "refused after 5 s" in waits
    assert found(REMOTE_WAIT_S=(30.0, "default"), REMOTE_TIMEOUT_S=(10.0, "default")) == []
    [misses] = found(MISSES_PER_MINUTE=(60, "default"), TOKEN_MISSES_PER_MINUTE=(10, "environment"))
    assert "is below" in misses
    assert len(found(FAILPOINTS=("a", "environment"), ALLOW_INSECURE=(True, "environment"))) == 2


def test_an_errors_message_is_parted_into_what_is_wrong_and_what_to_do() -> None:
    given = StackUnavailable("Cannot reach Kafka at k:9092 (no route: x): start it, or set CODEWELL_KAFKA_BOOTSTRAP.")
    assert error_of("kafka", given) == CheckResult(
        "kafka",
        "error",
        "Cannot reach Kafka at k:9092 (no route: x)",
        "start it, or set CODEWELL_KAFKA_BOOTSTRAP",
    )
    assert error_of("kafka", StackUnavailable("Broken.")) == CheckResult("kafka", "error", "Broken", None)


def test_warnings_leave_the_status_at_0() -> None:
    assert is_well([CheckResult("a", "warning", "b"), CheckResult("a", "unseen", "b")])
    assert not is_well([CheckResult("a", "error", "b")])
