"""What happens to codes, from the transaction to a receiver: the life-cycle worker and a generator's sender."""

import json
from collections import Counter

from standardwebhooks import Webhook as Verifier

from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import pool
from codewell.issuing.claim import Claims
from codewell.pool.minter_cache import Minters
from codewell.redemption import till
from tests.integration.webhooks.conftest import Sending, states, subscribe
from tests.support.remote_server import Asked, RemoteServer, Reply, remote_server, reply
from tests.support.running import until
from tests.support.site import open_site
from tests.support.stream_worker import attach, header, records, until_ready, worker

LIMIT_S = 60.0


async def test_what_happens_to_codes_reaches_a_webhook_through_the_life_cycle_worker(
    database_url: str, kafka_bootstrap: str, prefix: str, sending: Sending
) -> None:
    async def say(_: Asked, __: RemoteServer) -> Reply:
        return reply(b"fine")

    minters = Minters(None)
    async with (
        open_site(database_url, kafka_bootstrap, prefix) as site,
        remote_server(say) as server,
        pool(database_url, "codewell-test", 4) as opened,
    ):
        spring = await site.program("SPRING", 20, groups=["shop"])
        await site.program("OTHER", 20)
        types = ["code-attached", "code-activated"]
        webhook, secret = await subscribe(site.database, server.url, types=types, groups=["shop"])
        async with worker(site), sending():
            await until_ready(site)
            await attach(Claims(opened, minters), 2)
            await attach(Claims(opened, minters), 1, "OTHER", first=5)
            code = await site.database.fetchval("SELECT code FROM answer WHERE program_id = $1 LIMIT 1", spring.id)
            await till.activate(ProgramCodes(site.database, minters, spring.id), code, order_id="o-1")

            async def delivered() -> bool:
                return await states(site.database, webhook.id) == ["delivered"] * 3

            await until(delivered, "three deliveries", LIMIT_S)
        published = {header(one, "ce_id"): one for partition in await records(site) for one in partition}
    assert secret is not None
    bodies = [Verifier(secret).verify(asked.body, asked.headers) for asked in server.asked]
    assert Counter(body["type"] for body in bodies) == {
        "dev.codewell.code-attached.v1": 2, "dev.codewell.code-activated.v1": 1,
    }  # fmt: skip
    for asked, body in zip(server.asked, bodies, strict=True):
        # The event of the stream, under its id, with its data.
        record = published[asked.headers["webhook-id"]]
        assert header(record, "ce_type") == body["type"]
        assert json.loads(record.value) == body["data"]
        assert body["data"]["program"] == "SPRING"
