"""Generators are killed between a receiver's answer and its record: the event comes again, with the same webhook-id."""

import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from codewell.audit.promises import audit
from codewell.keys.master_keys import MasterKeys
from codewell.webhooks import endpoints
from codewell.webhooks.leases import PER_ENDPOINT_MAX
from schemas.webhooks import NewWebhook
from tests.integration.webhooks.conftest import event, publish, states
from tests.support.remote_server import Asked, RemoteServer, Reply, remote_server, reply
from tests.support.running import until
from tests.support.site import Site
from tests.support.worker_processes import running_workers

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="a worker that is left behind ends with the test on Linux only"
)
EVENTS = 12
TIMEOUT_S = 1


async def test_i7_a_killed_generator_loses_no_delivery_and_repeats_those_in_progress(
    site: Site, tmp_path: Path
) -> None:
    async def fine(_: Asked, __: RemoteServer) -> Reply:
        return reply(b"ok")

    async with remote_server(fine) as server:
        new = NewWebhook.model_validate({"target": server.url})
        async with site.database.transaction():
            webhook, _ = await endpoints.create(site.database, MasterKeys(), new)
        ids = await publish(site.database, *(event() for _ in range(EVENTS)))
        env = site.environment("generator") | {
            "CODEWELL_REMOTE_ALLOW": "127.0.0.0/8", "CODEWELL_WEBHOOK_TIMEOUT_S": str(TIMEOUT_S),
        }  # fmt: skip
        async with running_workers(tmp_path, env) as workers:
            workers.at_next_start["generator-1"] = {"CODEWELL_FAILPOINTS": "notified=kill@3"}
            await workers.start("generator-1")

            async def all_delivered() -> bool:
                return await states(site.database, webhook.id) == ["delivered"] * EVENTS

            await until(all_delivered, "delivery of all", 60)
            assert [death.status for death in workers.deaths] == [-signal.SIGKILL]
    sent = Counter(asked.headers["webhook-id"] for asked in server.asked)
    assert set(sent) == {str(one) for one in ids}
    # At most those that were in progress came again.
    assert 1 <= sum(sent.values()) - EVENTS <= PER_ENDPOINT_MAX
    assert await audit(site.database) == []
