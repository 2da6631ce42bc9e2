"""The generator hears of what the console makes, and the console needs no Kafka to make it."""

import json

import pytest
from structlog.testing import capture_logs

from services.console.background import announcer
from services.console.background.announcer import Announcer
from services.standalone.ports import free_port
from tests.integration.console.test_api import console
from tests.support.consoles import settings
from tests.support.running import until
from tests.support.site import Site

ATTACH = "/api/v1/programs/SPRING/codes:attach"
GENERATE = "/api/v1/programs/SPRING/codes:generate"


async def test_a_program_that_is_made_is_announced_and_filled(site: Site) -> None:
    async with console(site) as client:
        made = (await client.post("/api/v1/programs", json=settings(campaign_can_create=True))).json()
        [record] = await site.came("program-changed", 1)
        assert record.key == str(made["id"]).encode()
        assert json.loads(record.value) == {"program_id": made["id"], "name": "SPRING"}
        assert dict(record.headers)["ce_type"] == b"dev.codewell.program-changed.v1"
        await client.post(GENERATE, json={"count": 5})
        assert len(await site.came("program-changed", 2)) == 2


@pytest.mark.parametrize("step", ["attach", "patch", "delete", "undo"])
async def test_each_way_to_take_a_code_from_the_pool_is_told(site: Site, step: str) -> None:
    made = await site.program("SPRING", 2, campaign_can_create=True, pool_max=2)
    async with console(site) as client:
        codes = (await client.get("/api/v1/programs/SPRING/codes")).json()["items"]
        path = f"/api/v1/programs/SPRING/codes/{codes[0]['code']}"
        match step:
            case "attach":
                done = await client.post(ATTACH, json={"profile_id": "p", "code": codes[0]["code"]})
            case "patch":
                done = await client.patch(path, json={"expires_at": "2020-01-01T00:00:00Z"})
            case "delete":
                done = await client.delete(path)
            case _:
                file = {"file": ("codes.csv", b"code\nA-1\nA-2\n")}
                begun = await client.post("/api/v1/programs/SPRING/imports", files=file, data={"column": "code"})
                url = f"/api/v1/imports/{begun.json()['id']}"

                async def imported() -> bool:
                    return bool((await client.get(url)).json()["state"] == "done")

                await until(imported, "import that is done")
                for one in codes:
                    await client.delete(f"/api/v1/programs/SPRING/codes/{one['code']}")
                done = await client.post(f"{url}:undo")
        assert done.status_code == 200
        demands = await site.came("pool-demand", 1)
    assert {record.key for record in demands} == {str(made.id).encode()}


async def test_i7_without_kafka_the_console_starts_answers_and_stops(site: Site) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    async with console(site, kafka_bootstrap=nowhere) as client:
        with capture_logs() as logs:
            assert (await client.post("/api/v1/programs", json=settings())).status_code == 201
            assert (await client.post(GENERATE, json={"count": 5})).status_code == 201

            async def lost() -> bool:
                return [entry["event"] for entry in logs].count("announcement_lost") == 2

            await until(lost, "loss that is logged")
        assert (await client.get("/readyz")).status_code == 200
    assert (await site.stock("SPRING")).made == 5


def test_what_nobody_takes_does_not_pile_up() -> None:
    with capture_logs() as logs:
        told = Announcer("127.0.0.1:1", "")
        for number in range(announcer._QUEUE_SIZE_MAX + 1):
            told.publish(number, "SPRING")
    assert [entry["event"] for entry in logs] == ["announcement_lost"]
