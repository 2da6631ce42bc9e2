"""Looks at everything at once. What is down or hidden becomes a finding; the rest is looked at all the same."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Final, NamedTuple

import asyncpg

from codewell.doctor import clock_rules, disk_rules, postgres_rules, topic_rules, work_rules
from codewell.doctor.check_result import CheckResult, error_of
from codewell.doctor.mail_server import look_at_mail_server
from codewell.doctor.postgres_facts import PostgresFacts, read_postgres
from codewell.errors import CodewellError
from codewell.infra.config.settings import StackSettings, home
from codewell.infra.config.urls import broker_hosts, is_local, postgres_hosts
from codewell.infra.kafka.cluster_facts import read_cluster
from codewell.infra.kafka.group_lag import read_lags
from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Connection, connection, outage_reason
from codewell.infra.postgres.logins import ROLES
from codewell.infra.postgres.migrations import check_schema, newer_version, schema_version
from codewell.keys import announcements, rotation
from codewell.keys.master_keys import MasterKeys
from codewell.usage.figures import workers as read_workers
from codewell.webhooks.settings import WebhookSettings
from schemas.topics import wanted_topics
from schemas.usage import Worker

NAME: Final = "codewell-doctor"
KAFKA: Final = "kafka"
SCHEMA: Final = "schema"
# The worker that publishes the stream of codes, and reads a slot for it.
_STREAM: Final = "lifecycle"
_ROLES: Final = tuple(f"codewell_{role}" for role in ROLES)
_DATABASE_ERRORS: Final = (*UNAVAILABLE_ERRORS, asyncpg.PostgresError)


class Databases(NamedTuple):
    """What the look at the database found, and the workers that it lists; None where it could not be read."""

    findings: Sequence[CheckResult]
    workers: Sequence[Worker] | None


async def examine(
    settings: StackSettings, reply_topics: Sequence[str], connections_max: Mapping[str, int],
    mail: WebhookSettings | None,
) -> list[CheckResult]:  # fmt: skip
    """All findings but those on settings. Reads only. `connections_max`: of one worker, by service.

    `mail` names the mail server; None where its settings can't be used.
    """
    database, kafka, mail_server = await asyncio.gather(
        _database(settings, connections_max), _kafka(settings, reply_topics), look_at_mail_server(mail)
    )
    backlog = await _backlog(settings, database.workers) if kafka.is_up else []
    place = home()
    own_disk = disk_rules.disk_finding("CODEWELL_HOME", place) if os.access(place, os.X_OK) else ()
    return [*database.findings, *kafka.findings, *backlog, *mail_server, *own_disk]


async def _database(settings: StackSettings, connections_max: Mapping[str, int]) -> Databases:
    url = settings.postgres_url.get_secret_value()
    try:
        async with connection(url, NAME) as opened:
            facts = await read_postgres(opened, _ROLES)
            schema = await _schema(opened)
            workers = await _workers(opened)
            keys = await _keys(opened, MasterKeys(*settings.all_master_keys), workers)
    except CodewellError as error:
        return Databases([error_of(postgres_rules.CHECK, error), *_unseen("schema", "workers", "keys")], None)
    except _DATABASE_ERRORS as error:
        says = f"Postgres failed while it was looked at ({outage_reason(error)})"
        return Databases([CheckResult(postgres_rules.CHECK, "error", says, "try again, and read its log")], None)
    there = {} if workers is None else work_rules.running(workers)
    findings = [
        *postgres_rules.server_findings(facts),
        *postgres_rules.connection_findings(facts, there, connections_max),
        *postgres_rules.user_findings(facts),
        *postgres_rules.slot_findings(
            facts, streams=_STREAM in there or any(slot.is_logical and slot.is_ours for slot in facts.slots)
        ),
        *schema,
        *(_unseen("workers", "versions") if workers is None else _of_workers(workers)),
        *keys,
        *clock_rules.clock_finding("Postgres", facts.offset_s, facts.clock_error_s),
        *_data_disk(facts, url),
    ]
    return Databases(findings, workers)


def _of_workers(workers: Sequence[Worker]) -> list[CheckResult]:
    return [
        *work_rules.worker_findings(workers),
        *work_rules.version_findings(workers, version("codewell")),
        *work_rules.retention_findings(workers),
    ]


def _data_disk(facts: PostgresFacts, url: str) -> list[CheckResult]:
    is_here = all(map(is_local, postgres_hosts(url)))
    return [*disk_rules.disk_finding("Postgres' data", facts.data_directory if is_here else None)]


async def _schema(opened: Connection) -> list[CheckResult]:
    try:
        await check_schema(opened)
    except CodewellError as error:
        return [error_of(SCHEMA, error)]
    of_later = "" if await newer_version(opened) is None else ", of a later release, which takes this one"
    return [CheckResult(SCHEMA, "well", f"version {await schema_version(opened)}{of_later}")]


async def _workers(opened: Connection) -> list[Worker] | None:
    try:
        return await read_workers(opened)
    except asyncpg.PostgresError:
        # An old schema, or a user without this right.
        return None


async def _keys(opened: Connection, keys: MasterKeys, workers: Sequence[Worker] | None) -> list[CheckResult]:
    try:
        counts = await rotation.status(opened, keys)
    except asyncpg.PostgresError:
        return _unseen(work_rules.KEYS)
    found = [*work_rules.key_findings(counts, len(keys.ids))]
    if keys.newest_id is not None and workers and work_rules.running(workers):
        lacking = await announcements.services_without(opened, keys.newest_id)
        found.extend(work_rules.services_without_key(lacking, keys.newest_id))
    return found


class _Kafka(NamedTuple):
    findings: Sequence[CheckResult]
    is_up: bool


async def _kafka(settings: StackSettings, reply_topics: Sequence[str]) -> _Kafka:
    wanted = wanted_topics(settings.topic_prefix, reply_topics)
    try:
        facts = await read_cluster(settings.kafka_config, wanted)
    except CodewellError as error:
        return _Kafka([error_of(KAFKA, error), *_unseen("topics", "backlog")], False)
    is_here = all(map(is_local, broker_hosts(settings.kafka_bootstrap)))
    findings = [
        *topic_rules.topic_findings(facts, wanted),
        *topic_rules.permission_findings(facts, wanted, is_local=is_here),
        *clock_rules.clock_finding("Kafka's controller", facts.controller_offset_s, facts.clock_error_s),
    ]
    return _Kafka(findings, True)


async def _backlog(settings: StackSettings, workers: Sequence[Worker] | None) -> list[CheckResult]:
    try:
        lags = await read_lags(settings.kafka_config, settings.topic_prefix)
    except CodewellError as error:
        return [error_of(work_rules.BACKLOG, error)._replace(level="unseen")]
    return [*work_rules.backlog_findings(lags, {} if workers is None else work_rules.running(workers))]


def _unseen(*checks: str) -> list[CheckResult]:
    return [
        CheckResult(check, "unseen", "not looked at: its server or this user's rights are missing") for check in checks
    ]
