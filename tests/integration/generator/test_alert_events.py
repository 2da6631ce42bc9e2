"""A generator publishes what happened to alerts: in order, at least once, and once where nothing fails."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka import ConsumerRecord

from codewell.alerts import alert_events, alerts
from codewell.infra.telemetry.health import Health
from schemas import events
from services.generator.notifier import Notifier
from services.generator.settings import GeneratorSettings
from tests.support.running import until
from tests.support.site import Site

RAISED, CLEARED = events.ALERT_RAISED, events.ALERT_CLEARED


def header(record: ConsumerRecord, name: str) -> str:
    return bytes(dict(record.headers)[name]).decode()


def told(records: list[ConsumerRecord]) -> list[tuple[str, dict[str, Any]]]:
    """Type and data of each event, checked against its shape."""
    found = []
    for record in records:
        kind = header(record, "ce_type")
        events.DATA_OF_TYPE[kind].model_validate_json(record.value)
        found.append((kind, json.loads(record.value)))
    return found


async def test_an_alert_is_published_when_it_is_raised_reminded_of_and_cleared(site: Site) -> None:
    program = await site.program("SPRING", alerts=[])
    async with site.generator(public_url="https://codes.example.com/"):
        await alerts.raise_alert(site.database, program.id, "returns-stopped", details={"returned": 120})
        # Counted, and not told again.
        await alerts.raise_alert(site.database, program.id, "returns-stopped", details={"returned": 130})
        await site.came("alerts", 1)
        await site.database.execute("UPDATE alert SET raised_at = raised_at - interval '25 hours'")
        await site.came("alerts", 2)
        await alerts.clear_alerts(site.database, program.id, "ana")
        await alerts.raise_alert(site.database, program.id, "returns-stopped")
        records = await site.came("alerts", 4)

    found = told(records)
    assert [kind for kind, _ in found] == [RAISED, RAISED, CLEARED, RAISED]
    first, reminder, cleared, again = (data for _, data in found)
    assert (first["program"], first["rule"], first["level"], first["reminder"], first["count"]) == (
        "SPRING", "returns-stopped", "critical", False, 1,
    )  # fmt: skip
    assert first["figures"] == {"returned": 120}
    assert first["link"] == "https://codes.example.com/programs/SPRING"
    assert "Codes of failed sends wait" in first["action"]
    assert (reminder["reminder"], reminder["count"], reminder["figures"]) == (True, 2, {"returned": 130})
    assert (cleared["cleared_by"], cleared["alert_id"]) == ("ana", first["alert_id"])
    assert again["alert_id"] != first["alert_id"]
    assert {record.key for record in records} == {str(program.id).encode()}
    ids = [UUID(header(record, "ce_id")) for record in records]
    assert len(set(ids)) == 4
    assert {one.version for one in ids} == {7}
    assert ids == sorted(ids)


async def test_generators_that_tell_at_once_tell_each_event_once(site: Site) -> None:
    program = await site.program("SPRING", alerts=[])
    async with site.generator(), site.generator():
        for number in range(20):
            await alerts.raise_alert(site.database, program.id, "return-conflict", f"r-{number}")
            await asyncio.sleep(0.05)
        await site.came("alerts", 20)
        await until(lambda: all_published(site), "all events are published")

    assert [data["key"] for _, data in told(await site.all_of("alerts"))] == [f"r-{number}" for number in range(20)]


async def test_events_wait_for_kafka_and_webhooks_do_not(site: Site) -> None:
    program = await site.program("SPRING", alerts=[])
    await alerts.raise_alert(site.database, program.id, "returns-stopped")
    async with site.generator(kafka_bootstrap=site.bootstrap):
        await site.came("alerts", 1)
        # Only then it is marked: one that stops before would publish it again.
        await until(lambda: all_published(site), "event is published")
    settings = GeneratorSettings(**site.settings("generator") | {"kafka_bootstrap": "127.0.0.1:1"})
    async with asyncpg.create_pool(settings.postgres_url.get_secret_value(), min_size=1, max_size=2) as pool:
        await alerts.clear_alerts(site.database, program.id, "ana")
        away = Notifier(pool, settings, Health())
        stop = asyncio.Event()
        running = asyncio.create_task(away.run(stop, 0.01))
        await until(lambda: all_handed(site), "webhooks have the event")
        stop.set()
        await running
        [waiting] = await alert_events.unpublished(site.database)
        assert waiting.change == "cleared"
    async with site.generator():
        await site.came("alerts", 2)


async def all_published(site: Site) -> bool:
    return await alert_events.pending(site.database) == (False, False)


async def all_handed(site: Site) -> bool:
    return not (await alert_events.pending(site.database)).unhanded


async def test_published_events_are_deleted_when_they_are_old(site: Site) -> None:
    program = await site.program("SPRING", alerts=[])
    for number in range(2):
        await alerts.raise_alert(site.database, program.id, "return-conflict", f"r-{number}")
    await site.database.execute("UPDATE alert_event SET occurred_at = occurred_at - $1::interval", timedelta(days=36))
    await alert_events.set_published(site.database, (await alert_events.unpublished(site.database))[:1])
    async with site.database.transaction():
        await alert_events.set_handed(site.database, (await alert_events.take_unhanded(site.database))[:1])

    await alert_events.delete_old(site.database)

    assert [one.key for one in await alert_events.unpublished(site.database)] == ["r-1"]
