"""Workers, their versions and keys, what waits in Kafka, and dead letters."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from codewell.doctor.check_result import CheckResult, named
from codewell.keys.rotation import RotationCounts
from codewell.plurals import counted
from schemas.usage import Lags, Worker

WORKERS: Final = "workers"
VERSIONS: Final = "versions"
KEYS: Final = "keys"
RETENTION: Final = "retention"
BACKLOG: Final = "backlog"
NEEDED: Final = ("issuer", "generator", "console")
# As in the alert CodewellLagGrows.
LAG_RECORDS_MAX: Final = 10_000
# Why old answers stay, as generators report it.
_ANSWERS_STAY: Final = {
    "earlier_workers": (
        "a worker of a release that knows no retention runs, or died within a day",
        "finish the upgrade; a day after the last of them they leave",
    ),
    "folder": ("their files cannot be written", "make CODEWELL_ARCHIVE_DIR writable, and free space there"),
    "database": ("Postgres refused", "see answers_not_archived in the log of the generator; it tries again"),
}


def running(workers: Sequence[Worker]) -> Mapping[str, int]:
    """How many workers of each service report."""
    return Counter(one.service for one in workers if one.state in {"running", "stopping"})


def worker_findings(workers: Sequence[Worker]) -> Iterator[CheckResult]:
    """Services without a worker, workers that wait or were lost."""
    there = running(workers)
    for service in NEEDED:
        if service not in there:
            yield CheckResult(WORKERS, "error", f"no {service} runs", f"start one: codewell {service}")
    for one in workers:
        place = f"{one.service} {one.host}:{one.pid}"
        if one.state == "lost":
            yield CheckResult(
                WORKERS,
                "warning",
                f"{place} has not reported since {one.seen_at:%Y-%m-%d %H:%M:%S} UTC",
                "its last log line says why; its supervisor has to start it again",
            )
        elif one.waiting_for:
            what = named(f"{name} ({why})" for name, why in one.waiting_for.items())
            yield CheckResult(
                WORKERS, "error", f"{place} waits for {what}", "bring that back; the worker goes on by itself"
            )
    if all(service in there for service in NEEDED):
        yield CheckResult(WORKERS, "well", named(f"{counted(number, service)}" for service, number in there.items()))


def version_findings(workers: Sequence[Worker], own: str) -> Iterator[CheckResult]:
    """Workers of another release than this command's."""
    others = [one for one in workers if one.state == "running" and one.version != own]
    for one in others:
        yield CheckResult(
            VERSIONS,
            "warning",
            f"{one.service} {one.host}:{one.pid} has version {one.version}, this command {own}",
            "finish the upgrade: restart it with the new release",
        )


def retention_findings(workers: Sequence[Worker]) -> Iterator[CheckResult]:
    """Why old answers stay in the database although they may leave."""
    for one in workers:
        reasons = one.counters.get("archive_waiting")
        if one.state == "running" and isinstance(reasons, dict):
            for why in filter(reasons.get, _ANSWERS_STAY):
                says, mend = _ANSWERS_STAY[why]
                place = f"{one.service} {one.host}:{one.pid}"
                yield CheckResult(RETENTION, "warning", f"{place}: old answers stay, as {says}", mend)


def key_findings(counts: Sequence[RotationCounts], given: int) -> Iterator[CheckResult]:
    """Stored keys by the master key that wraps them, of which this process has `given`. Ids only, never a key."""
    lacking = [one for one in counts if not one.is_given]
    for one in lacking:
        yield CheckResult(
            KEYS,
            "error",
            f"{counted(one.number, 'key')} of {one.keys_of} need the master key of id {one.master_key}",
            "add it to CODEWELL_MASTER_KEY_PREVIOUS, or to CODEWELL_MASTER_KEY if none is set",
        )
    plain = sum(one.number for one in counts if one.master_key == "plain")
    if plain:
        yield CheckResult(
            KEYS,
            "warning",
            f"{counted(plain, 'key')} of programs and remote services {'is' if plain == 1 else 'are'} stored in plain",
            "codewell keys rotate" if given else "set CODEWELL_MASTER_KEY everywhere, then codewell keys rotate",
        )
    older = sum(one.number for one in counts if one.is_given and not one.is_newest and one.master_key != "plain")
    if older:
        yield CheckResult(
            KEYS, "warning", f"a previous master key wraps {counted(older, 'key')}", "codewell keys rotate"
        )
    elif given > 1 and not lacking:
        yield CheckResult(
            KEYS,
            "warning",
            "no stored key needs a previous master key",
            "remove CODEWELL_MASTER_KEY_PREVIOUS, and keep it with old backups",
        )
    if counts and all(one.is_newest for one in counts):
        yield CheckResult(KEYS, "well", f"all keys are wrapped by the master key of id {counts[0].master_key}")


def services_without_key(names: Sequence[str], key_id: bytes) -> Iterator[CheckResult]:
    """Services that run without the newest master key, of this id."""
    if names:
        yield CheckResult(
            KEYS,
            "error",
            f"{named(names)} runs without the master key of id {key_id.hex()}",
            "restart it with this key in CODEWELL_MASTER_KEY or CODEWELL_MASTER_KEY_PREVIOUS",
        )


def backlog_findings(lags: Lags, there: Mapping[str, int]) -> Iterator[CheckResult]:
    """Dead letters, and records that are not consumed yet. `there` counts workers by service."""
    for topic, number in lags.dead_letters.items():
        if number:
            yield CheckResult(
                BACKLOG,
                "warning",
                f"{topic} holds {counted(number, 'letter')}, handled ones too",
                "codewell dlq list shows why; replay them or purge them",
            )
    for one in lags.lags:
        service = "issuer" if "codewell-issuer" in one.group else "generator"
        if one.lag > LAG_RECORDS_MAX:
            yield CheckResult(
                BACKLOG,
                "warning" if there.get(service) else "error",
                f"{one.group} is {one.lag:,} records behind on {one.topic}",
                f"start more {service}s, up to one for each partition",
            )
    if not any(lags.dead_letters.values()) and all(one.lag <= LAG_RECORDS_MAX for one in lags.lags):
        yield CheckResult(BACKLOG, "well", f"{sum(one.lag for one in lags.lags):,} records wait, no dead letters")
