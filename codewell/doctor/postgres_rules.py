"""What must hold for Postgres' settings, its users and its replication slots."""

from collections.abc import Iterator, Mapping
from typing import Final

from codewell.doctor.check_result import CheckResult, named
from codewell.doctor.postgres_facts import PostgresFacts, Slot
from codewell.plurals import counted

CHECK: Final = "postgres"
_VERSION_MIN: Final = 150_000
_USED_SHARE_MAX: Final = 0.9
_UNREAD_GIB_MAX: Final = 1


def server_findings(facts: PostgresFacts) -> Iterator[CheckResult]:
    """The server's version and durability."""
    given = facts.settings
    if int(given["server_version_num"]) < _VERSION_MIN:
        yield CheckResult(
            CHECK, "error", f"Postgres {int(given['server_version_num']) // 10_000} is too old", "upgrade it to 15"
        )
    if given["transaction_read_only"] == "on":
        yield CheckResult(
            CHECK,
            "error",
            "this server takes no writes",
            "name all hosts in CODEWELL_POSTGRES_URL, or promote a standby",
        )
    for name, lost in (("fsync", "a power cut may destroy the database"), ("full_page_writes", "as does a torn page")):
        if given[name] == "off":
            yield CheckResult(CHECK, "error", f"{name} is off: {lost}", f"set {name} = on")
    yield from _commit_findings(given["synchronous_commit"], given["synchronous_standby_names"])


def _commit_findings(commit: str, standbys: str) -> Iterator[CheckResult]:
    if commit == "off":
        yield CheckResult(
            CHECK,
            "error",
            "synchronous_commit is off: a crash loses answers that are published, and their codes are given again",
            "set synchronous_commit = on for the database and its users",
        )
    elif standbys and commit in {"local", "remote_write"}:
        yield CheckResult(
            CHECK,
            "error",
            f"synchronous_commit is {commit}: a standby may lack commits whose answers are published",
            "set synchronous_commit = on",
        )


def connection_findings(
    facts: PostgresFacts, running: Mapping[str, int], most: Mapping[str, int]
) -> Iterator[CheckResult]:
    """Whether the workers' pools fit. `running` counts workers by service, `most` a worker's connections."""
    given = facts.settings
    kept = int(given["superuser_reserved_connections"]) + int(given.get("reserved_connections", 0))
    there = int(given["max_connections"]) - kept
    wanted = sum(number * most.get(service, 0) for service, number in running.items())
    if facts.connections_used >= there * _USED_SHARE_MAX:
        yield CheckResult(
            CHECK,
            "error",
            f"{facts.connections_used} of {there} connections are used",
            f"raise max_connections above {wanted + kept}, or end what else connects (pg_stat_activity)",
        )
    elif wanted > there:
        yield CheckResult(
            CHECK,
            "warning",
            f"{counted(sum(running.values()), 'worker')} may open {wanted} connections, and there are {there}",
            f"raise max_connections to {wanted + kept + 10}",
        )
    else:
        yield CheckResult(
            CHECK, "well", f"{there} connections, {facts.connections_used} used, {wanted} at most by workers"
        )


def user_findings(facts: PostgresFacts) -> Iterator[CheckResult]:
    """The rights of this command's user, and of the services that are connected."""
    if facts.missing_roles:
        yield CheckResult(
            CHECK,
            "error",
            f"the roles {named(facts.missing_roles)} are missing, as after a restore",
            "codewell migrate",
        )
    if not (facts.may_create or facts.is_superuser):
        role = f"it has {named(facts.roles)}" if facts.roles else "it has no role of Codewell"
        yield CheckResult(
            CHECK,
            "unseen" if facts.roles else "error",
            f"user {facts.user} does not own the schema: {role}",
            "run commands as the owner of the schema" if facts.roles else "create a user with codewell login",
        )
    if facts.powerful:
        yield CheckResult(
            CHECK,
            "warning",
            f"with all rights runs {named(facts.powerful)}",
            "give each service a user of its own: codewell login",
        )


def slot_findings(facts: PostgresFacts, *, streams: bool) -> Iterator[CheckResult]:
    """Replication slots, which may fill the disk. `streams`: the life-cycle stream is in use."""
    level, slots = facts.settings["wal_level"], facts.slots
    if streams and level != "logical":
        yield CheckResult(
            CHECK,
            "error",
            f"wal_level is {level}, and the life-cycle stream needs logical",
            "set wal_level = logical and restart Postgres",
        )
    for slot in slots:
        yield from _slot_findings(slot)
    if slots and facts.settings["max_slot_wal_keep_size"] == "-1":
        yield CheckResult(
            CHECK,
            "warning",
            "max_slot_wal_keep_size has no limit: a slot whose reader is away fills the disk",
            "set max_slot_wal_keep_size to what the disk can spare",
        )


def _slot_findings(slot: Slot) -> Iterator[CheckResult]:
    kept = (slot.kept_bytes or 0) / 1024**3
    if slot.wal_status == "lost":
        yield CheckResult(
            CHECK,
            "error",
            f"replication slot {slot.name} is lost: its reader misses changes",
            f"SELECT pg_drop_replication_slot('{slot.name}'), then start its reader anew",
        )
    elif slot.wal_status == "unreserved":
        yield CheckResult(
            CHECK,
            "error",
            f"replication slot {slot.name} will be lost at the next checkpoint",
            "start its reader, or raise max_slot_wal_keep_size",
        )
    elif kept > _UNREAD_GIB_MAX:
        yield CheckResult(
            CHECK,
            "warning",
            f"replication slot {slot.name} keeps {kept:,.1f} GiB that its reader has not read",
            f"start its reader, or SELECT pg_drop_replication_slot('{slot.name}')",
        )
