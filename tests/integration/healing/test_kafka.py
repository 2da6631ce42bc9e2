"""I7: what Kafka does to issuer and generator, what they say of it, and that they get over it."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from codewell.infra.kafka import broker_watchdog, clients
from schemas.topics import TOPICS
from services.standalone.home import Home
from services.standalone.kafka import KafkaBroker
from tests.integration.healing.all_workers import workers
from tests.integration.healing.conftest import end_faust_waits
from tests.support.running import no_task_left
from tests.support.site import open_site

_PREFIX = "h."
# The least that a broker grants.
_SESSION_TIMEOUT_MS = 6_000


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[KafkaBroker]:
    home = await Home.open(tmp_path)
    started = KafkaBroker(home)
    try:
        await started.start()
        admin = AIOKafkaAdminClient(bootstrap_servers=started.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(_PREFIX + t.name, 2, 1, topic_configs=dict(t.config)) for t in TOPICS])
        await admin.close()
        yield started
    finally:
        await started.stop()
        home.close()


@pytest.mark.usefixtures("impatient")
async def test_i7_workers_bear_a_broker_that_pauses_past_the_session_and_one_that_restarts(
    database_url: str, broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "SESSION_TIMEOUT_MS", _SESSION_TIMEOUT_MS)
    monkeypatch.setattr(clients, "HEARTBEAT_INTERVAL_MS", 500)
    monkeypatch.setattr(clients, "REQUEST_TIMEOUT_MS", 2_000)
    monkeypatch.setattr(clients, "EXCHANGE_TIMEOUT_S", 10.0)
    monkeypatch.setattr(broker_watchdog, "SILENT_AFTER_S", 1.0)
    monkeypatch.setattr(broker_watchdog, "SILENT_MAX_S", 3.0)
    async with no_task_left():
        async with open_site(database_url, broker.bootstrap, _PREFIX) as site, workers(site) as running:
            assert broker.child is not None
            broker.child._process.send_signal(signal.SIGSTOP)
            # Silence is noticed, and then each new connection says it too.
            await running.wait_for("kafka", "Unable to bootstrap", "issuer", "generator")
            assert (await running.attach()).is_success
            broker.child._process.send_signal(signal.SIGCONT)
            await running.heal()

            await broker.child.stop(signal.SIGKILL)
            await running.wait_for("kafka", "Unable to bootstrap", "issuer", "generator")
            # Codes are made without Kafka too, for those who take them over HTTP.
            await running.pools_are_filled()
            await broker.start()
            await running.heal()
            await running.check()
        end_faust_waits()
