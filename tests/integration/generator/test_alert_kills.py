"""A generator is killed between publishing events of alerts and noting that: they come again, with the same ids."""

import signal
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from codewell.alerts.alerts import clear_alerts, raise_alert
from codewell.audit.promises import audit
from tests.integration.generator.test_alert_events import CLEARED, RAISED, all_published, header, told
from tests.support.running import until
from tests.support.site import Site
from tests.support.worker_processes import running_workers

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="a worker that is left behind ends with the test on Linux only"
)
KEYS = 3


async def changes(site: Site, program_ids: list[int], rounds: int) -> None:
    """Raise and clear an alert of each key, `rounds` times; the last one stays open."""
    for _ in range(rounds):
        for id_ in program_ids:
            await clear_alerts(site.database, id_, "ana")
            for key in range(KEYS):
                await raise_alert(site.database, id_, "return-conflict", f"r-{key}")


async def test_i3_a_killed_generator_loses_no_event_of_an_alert_and_repeats_those_in_progress(
    site: Site, tmp_path: Path
) -> None:
    ids = [(await site.program(name, alerts=[])).id for name in ("SPRING", "AUTUMN")]
    await changes(site, ids, 2)
    in_progress = await site.database.fetchval("SELECT count(*) FROM alert_event")
    async with running_workers(tmp_path, site.environment("generator")) as workers:
        workers.at_next_start["generator-1"] = {"CODEWELL_FAILPOINTS": "alerts_published=kill"}
        await workers.start("generator-1")

        async def has_died() -> bool:
            return len(workers.deaths) == 1

        await until(has_died, "death at the failpoint", 60)
        await changes(site, ids, 2)
        await until(lambda: all_published(site), "all events are told", 60)
        assert [death.status for death in workers.deaths] == [-signal.SIGKILL]

    # As a reader does that knows nothing but the topic: what it has already, it drops.
    records = await site.all_of("alerts")
    seen: dict[str, tuple[str, dict[str, object]]] = {}
    histories: defaultdict[tuple[object, object], list[tuple[str, object]]] = defaultdict(list)
    for record, event in zip(records, told(records), strict=True):
        id_ = header(record, "ce_id")
        assert seen.setdefault(id_, event) == event, "an id stands for one event"
        if len(seen) > sum(map(len, histories.values())):
            kind, data = event
            histories[data["program"], data["key"]].append((kind, data["alert_id"]))
    noted = await site.database.fetch("SELECT id::text FROM alert_event")
    assert set(seen) == {row["id"] for row in noted}
    assert len(records) - len(seen) == in_progress
    assert len(histories) == len(ids) * KEYS
    for history in histories.values():
        assert [kind for kind, _ in history] == [RAISED, CLEARED] * 3 + [RAISED]
        alerts = [alert for _, alert in history]
        assert alerts[0:6:2] == alerts[1:6:2], "each is cleared after it was raised, and before the next one"
    assert await audit(site.database) == []
