"""A worker of the stream that is killed at each of its steps loses no event, and tells none out of order."""

from pathlib import Path

import pytest

from codewell.issuing.claim import Claims
from codewell.lifecycle.records import StreamPlace
from tests.support.running import until
from tests.support.site import Site
from tests.support.stream_worker import agree, attach, caught_up, events_of, records, sequences, settings, until_ready
from tests.support.worker_processes import Workers


@pytest.mark.parametrize("point", ["stream_read", "stream_published", "stream_noted", "produced"])
async def test_i11_killed_at_each_step(site: Site, claims_of: Claims, tmp_path: Path, point: str) -> None:
    await site.program("SPRING", 60)
    env = {f"CODEWELL_{name.upper()}": str(value) for name, value in settings(site).items()}
    workers = Workers(tmp_path, env)
    try:
        await workers.start("lifecycle-1")
        await until_ready(site)
        workers.at_next_start["lifecycle-1"] = {"CODEWELL_FAILPOINTS": f"{point}=kill"}
        workers.kill("lifecycle-1")
        await attach(claims_of, 20)

        async def has_died() -> bool:
            return len(workers.deaths) == 2

        await until(has_died, "death at the failpoint", 60)
        await attach(claims_of, 5, first=30)
        await caught_up(site)
        partitions = await records(site)
        await agree(site, partitions)
        assert {StreamPlace.parse(text).epoch for some in partitions for text in sequences(some)} == {1}
    finally:
        await workers.close()


async def test_a_snapshot_that_was_cut_is_begun_anew(site: Site, claims_of: Claims, tmp_path: Path) -> None:
    await site.program("SPRING", 60)
    await attach(claims_of, 5)
    env = {f"CODEWELL_{name.upper()}": str(value) for name, value in settings(site).items()}
    workers = Workers(tmp_path, env)
    try:
        workers.at_next_start["lifecycle-1"] = {"CODEWELL_FAILPOINTS": "stream_snapshot=kill"}
        await workers.start("lifecycle-1")
        await until_ready(site)
        await attach(claims_of, 5, first=30)
        await caught_up(site)
        partitions = await records(site)
        await agree(site, partitions)
        assert events_of(partitions)[0].data == {"epoch": 2, "reason": "snapshot_interrupted"}
    finally:
        await workers.close()
