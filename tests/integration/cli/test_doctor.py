"""`codewell doctor` names each fault of a real Postgres and a real Kafka, and goes on where a part is down."""

import asyncio
import os
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from codewell.doctor import postgres_facts
from codewell.infra.kafka import cluster_facts
from codewell.keys.announcements import announce
from codewell.keys.master_keys import MasterKeys, key_id_of
from codewell.pool.minter_cache import Minters
from tests.integration.console.test_dead_letters import bury
from tests.integration.issuer.conftest import site
from tests.support.command_result import Said
from tests.support.commands import environment
from tests.support.factories import program
from tests.support.in_process import codewell
from tests.support.running import until
from tests.support.servers import as_role
from tests.support.site import Site

__all__ = ["site"]

REPORT = """
    INSERT INTO worker (id, service, host, pid, version, started_at, report, seen_at, state, waiting_for, counters)
    VALUES (gen_random_uuid(), $1, 'here', $2, $3, now(), 1, now() - make_interval(secs => $4), 'running', $5, '{}')
    """
OWN = "0.1.0"


class Doctor:
    """Runs the command against one site."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._env = {
            "CODEWELL_POSTGRES_URL": site.postgres_url,
            "CODEWELL_KAFKA_BOOTSTRAP": site.bootstrap,
            "CODEWELL_TOPIC_PREFIX": site.prefix,
        }
        self._folder = folder

    async def run(self, *words: str, **more: str) -> Said:
        return await codewell("doctor", *words, env=environment(**self._env | more), cwd=self._folder)

    async def findings(self, **more: str) -> dict[str, list[tuple[str, str]]]:
        """What it says, by check: level and sentence."""
        said = await self.run("--json", **more)
        [printed] = said.objects
        assert said.status == (0 if printed["well"] else 1)
        found: dict[str, list[tuple[str, str]]] = {}
        for one in printed["findings"]:
            assert one["level"] not in {"error", "warning"} or one["mend"], one
            found.setdefault(one["check"], []).append((one["level"], one["says"]))
        return found


@pytest.fixture
def doctor(site: Site, tmp_path: Path) -> Doctor:
    return Doctor(site, tmp_path)


@asynccontextmanager
async def server_that_says(greeting: bytes) -> AsyncIterator[int]:
    """A server that takes connections and says no more than this; yields its port."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def has(found: list[tuple[str, str]], level: str, *parts: str) -> bool:
    return any(one == level and all(part in says for part in parts) for one, says in found)


async def test_each_fault_of_the_database_is_named(site: Site, doctor: Doctor) -> None:
    old_key, new_key = os.urandom(32), os.urandom(32)
    await program(site.database, Minters(old_key), "A")
    await program(site.database, Minters(None), "B")
    await site.database.execute(REPORT, "issuer", 1, OWN, 0, '{"kafka": "no broker answers"}')
    await site.database.execute(REPORT, "generator", 2, "0.0.9", 0, "{}")
    await site.database.execute(REPORT, "issuer", 3, OWN, 60, "{}")
    database = await site.database.fetchval("SELECT current_database()")
    await site.database.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")

    found = await doctor.findings(CODEWELL_MASTER_KEY=b64encode(new_key).decode())

    assert has(found["postgres"], "error", "synchronous_commit is off")
    assert has(found["postgres"], "error", "fsync is off"), "the servers of the tests are not durable"
    assert has(found["postgres"], "well", "connections", "28 at most by workers")
    assert found["schema"][0][0] == "well"
    assert has(found["workers"], "error", "no console runs")
    assert has(found["workers"], "error", "issuer here:1 waits for kafka (no broker answers)")
    assert has(found["workers"], "warning", "issuer here:3 has not reported")
    assert found["versions"] == [("warning", f"generator here:2 has version 0.0.9, this command {OWN}")]
    assert has(found["keys"], "error", "1 key of programs", key_id_of(old_key).hex())
    assert has(found["keys"], "warning", "1 key of programs", "stored in plain")
    assert has(found["clocks"], "well", "the clock of Postgres")
    assert has(found["disk"], "well", "Postgres' data") or has(found["disk"], "warning", "Postgres' data")
    text = str(found)
    assert b64encode(new_key).decode() not in text
    assert new_key.hex() not in text


async def test_a_service_without_the_newest_master_key_is_named(
    site: Site, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codewell.keys.announcements._ATTEMPTS", 1)
    mine, another = os.urandom(32), os.urandom(32)
    for service in ("issuer", "generator", "console"):
        await site.database.execute(REPORT, service, 1, OWN, 0, "{}")
    await site.database.execute("SET application_name = 'codewell-issuer'")
    await announce(site.database, MasterKeys(another))

    found = await doctor.findings(CODEWELL_MASTER_KEY=b64encode(mine).decode())

    assert has(found["keys"], "error", f"codewell-issuer runs without the master key of id {key_id_of(mine).hex()}")
    assert has(found["postgres"], "warning", "with all rights runs codewell-issuer")


async def test_each_fault_of_the_topics_is_named_and_no_topic_is_made(site: Site, doctor: Doctor) -> None:
    async def configure(topic: str, **values: str) -> None:
        given = {name.replace("_", "."): value for name, value in values.items()}
        await site.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, site.prefix + topic, given)])

    await configure("message-render.reply", retention_ms="60000", max_message_bytes="3145728")
    await configure("scenario-step", cleanup_policy="compact", compression_type="zstd", max_message_bytes="1000")
    await configure("profile-changed", cleanup_policy="delete")
    await site.admin.delete_topics([site.prefix + "orders"])
    await bury(site, "p-1")

    async def found_all() -> bool:
        found = (await doctor.findings())["topics"]
        return has(found, "error", "not compacted", "profile-changed") and has(found, "error", "missing", "orders")

    await until(found_all, "the changes")
    findings = await doctor.findings(CODEWELL_REPLY_TOPICS="shop.answers")
    found = findings["topics"]

    assert has(found, "error", f"missing: shop.answers, {site.prefix}orders")
    assert "shop.answers" not in await site.admin.list_topics()
    assert has(found, "warning", "kept for 0.02 h", f"{site.prefix}message-render.reply")
    assert has(found, "error", "compacted: of a key's records", f"{site.prefix}scenario-step")
    assert has(found, "error", "max.message.bytes is too small", f"{site.prefix}scenario-step")
    assert has(found, "error", "compression.type is zstd", f"{site.prefix}scenario-step")
    assert has(found, "warning", "2 partitions instead of 6", " and ")
    assert has(findings["clocks"], "well", "the clock of Kafka's controller")
    # The lag cannot be read while a topic is missing.
    assert findings["backlog"][0][0] == "unseen"
    text = (await doctor.run()).out
    assert "-> codewell topics" in text


async def test_dead_letters_are_named(site: Site, doctor: Doctor) -> None:
    await bury(site, "p-1")
    await bury(site, "p-2")
    found = await doctor.findings()
    assert found["backlog"] == [("warning", f"{site.prefix}message-render.dlq holds 2 letters, handled ones too")]


async def test_clocks_that_disagree_are_named(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, off in ((postgres_facts, 90.0), (cluster_facts, -5.0)):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda off=off: time.time() + off))
    found = (await doctor.findings())["clocks"]
    assert has(found, "error", "the clock of Postgres is 90.0 s behind this machine's") or has(
        found, "error", "the clock of Postgres is 89.9 s behind this machine's"
    )
    assert has(found, "warning", "the clock of Kafka's controller", "s ahead of this machine's")


async def test_a_part_that_is_down_does_not_hide_the_others(site: Site, doctor: Doctor) -> None:
    without_postgres = await doctor.findings(CODEWELL_POSTGRES_URL="postgresql://u:secret@127.0.0.1:1/x")
    assert has(without_postgres["postgres"], "error", "Cannot reach Postgres at 127.0.0.1:1/x")
    assert "secret" not in str(without_postgres)
    assert {level for name in ("schema", "workers", "keys") for level, _ in without_postgres[name]} == {"unseen"}
    assert has(without_postgres["topics"], "warning", "2 partitions instead of 24")
    assert has(without_postgres["clocks"], "well", "Kafka's controller")

    without_kafka = await doctor.findings(CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1")
    assert has(without_kafka["kafka"], "error", "Cannot reach Kafka at 127.0.0.1:1")
    assert {level for name in ("topics", "backlog") for level, _ in without_kafka[name]} == {"unseen"}
    assert has(without_kafka["schema"], "well", "version")

    neither = await doctor.run(CODEWELL_POSTGRES_URL="postgresql://u@127.0.0.1:1/x", CODEWELL_KAFKA_BOOTSTRAP="::")
    assert neither.status == 1
    assert neither.out.startswith("error    settings  CODEWELL_KAFKA_BOOTSTRAP is invalid")


async def test_a_mail_server_that_does_not_answer_is_named(doctor: Doctor) -> None:
    assert "mail" not in await doctor.findings()
    env = {
        "CODEWELL_SMTP_HOST": "127.0.0.1", "CODEWELL_SMTP_FROM": "codewell@example.com",
        "CODEWELL_SMTP_PASSWORD": "a-password", "CODEWELL_WEBHOOK_TIMEOUT_S": "0.2",
    }  # fmt: skip
    for greeting, level, says in (
        (b"", "warning", "does not answer within 0.2 s"),
        (b"554 no\r\n", "warning", "does not greet as a mail server does"),
        (b"220 here\r\n", "well", "answers"),
    ):
        async with server_that_says(greeting) as port:
            found = await doctor.findings(**env, CODEWELL_SMTP_PORT=str(port))
        assert found["mail"] == [(level, f"the mail server at 127.0.0.1:{port} {says}")]
    away = await doctor.findings(**env, CODEWELL_SMTP_PORT="1")
    assert has(away["mail"], "warning", "127.0.0.1:1 cannot be reached")
    assert "a-password" not in str(away)
    without_sender = await doctor.findings(CODEWELL_SMTP_HOST="127.0.0.1")
    assert has(without_sender["settings"], "error", "CODEWELL_SMTP_FROM is not set")
    assert "mail" not in without_sender


async def test_a_schema_of_another_version_and_a_user_without_rights_are_named(site: Site, doctor: Doctor) -> None:
    latest = await site.database.fetchval("SELECT max(number) FROM migration")
    await site.database.execute("INSERT INTO migration VALUES ($1, 'later')", latest + 1)
    found = await doctor.findings()
    assert has(found["schema"], "error", f"version {latest + 1}", f"this program has version {latest}")
    await site.database.execute("UPDATE migration SET min_worker = number - 1 WHERE number > $1", latest)
    found = await doctor.findings()
    assert has(found["schema"], "well", f"version {latest + 1}, of a later release, which takes this one")
    await site.database.execute("DELETE FROM migration WHERE number >= $1", latest)
    found = await doctor.findings()
    assert has(found["schema"], "error", f"needs version {latest}")

    found = await doctor.findings(CODEWELL_POSTGRES_URL=as_role(site.postgres_url, "auditor"))
    assert has(found["postgres"], "unseen", "codewell_auditor does not own the schema")
    assert found["keys"][0][0] == "unseen"


async def test_settings_that_are_unknown_or_contradict_are_named(doctor: Doctor, tmp_path: Path) -> None:
    away: dict[str, Any] = {"CODEWELL_POSTGRES_URL": "postgresql://u@127.0.0.1:1/x", "CODEWELL_KAFKA_BOOTSTRAP": "h:1"}
    found = (await doctor.findings(**away, CODEWELL_BATCH_SIZ_MAX="1", CODEWELL_RETRIES_MAX="0"))["settings"]
    assert has(found, "warning", "CODEWELL_BATCH_SIZ_MAX is no setting")
    assert has(found, "error", "CODEWELL_KAFKA_SECURITY_PROTOCOL is invalid")
    home = tmp_path / "home"
    home.mkdir()
    (home / "endpoints.json").write_text('{"postgres_url": "postgresql://u@127.0.0.1:1/x", "kafka_bootstrap": "h:1"}')
    env = {"CODEWELL_HOME": str(home), "CODEWELL_KAFKA_BOOTSTRAP": "127.0.0.1:1", "CODEWELL_RETRIES_MAX": "0"}
    said = await codewell("doctor", "--json", env=environment(**env), cwd=tmp_path)
    [printed] = said.objects
    says = [one["says"] for one in printed["findings"] if one["check"] == "settings"]
    assert any("CODEWELL_RETRIES_MAX is invalid" in one for one in says)
    assert any("CODEWELL_KAFKA_BOOTSTRAP is set, and CODEWELL_POSTGRES_URL comes from the stack" in one for one in says)
    assert any(one["check"] == "disk" and str(home) in one["says"] for one in printed["findings"])
