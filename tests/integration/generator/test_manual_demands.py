"""People and the generator together: a pool that is attached dry by HTTP or command is filled at once."""

import json
from pathlib import Path

from structlog.testing import capture_logs

from tests.integration.console.test_api import console
from tests.support.commands import environment
from tests.support.in_process import codewell
from tests.support.site import Site

ATTACH = "/api/v1/programs/SPRING/codes:attach"


async def test_a_pool_that_is_attached_dry_by_http_is_filled_at_once(site: Site) -> None:
    made = await site.program("SPRING", 2, campaign_can_create=True, pool_max=2)
    async with console(site) as client:
        for number in range(2):
            answer = await client.post(ATTACH, json={"profile_id": f"p-{number}"})
            assert answer.status_code == 200
        [record] = await site.came("pool-demand", 1)
        assert record.key == str(made.id).encode()
        assert json.loads(record.value)["program_id"] == made.id
        headers = dict(record.headers)
        assert (headers["ce_type"], headers["ce_specversion"]) == (b"dev.codewell.pool-demand.v1", b"1.0")
        async with site.generator():
            # Faster than the generator: each of these waits for it.
            answers = [await client.post(ATTACH, json={"profile_id": f"q-{number}"}) for number in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5


async def test_attaching_from_an_empty_pool_waits_for_the_generator(site: Site, tmp_path: Path) -> None:
    await site.program("SPRING", campaign_can_create=True, pool_max=5)
    env = environment(
        CODEWELL_POSTGRES_URL=site.postgres_url,
        CODEWELL_KAFKA_BOOTSTRAP=site.bootstrap,
        CODEWELL_TOPIC_PREFIX=site.prefix,
    )
    with capture_logs():
        async with site.generator():
            said = await codewell("code", "attach", "SPRING", "p-1", "--json", env=env, cwd=tmp_path)
    [attached] = said.is_done().objects
    assert attached["state"] == "attached"
