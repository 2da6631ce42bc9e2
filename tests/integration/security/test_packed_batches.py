"""A small packed batch of very much, in each topic that a worker reads: the worker's memory stays as it was."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.client_faults import until_committed
from tests.support.packed_batches import gzip_bomb
from tests.support.pools import AUTOMATIC, tell_changed, tell_demand, until_full
from tests.support.running import no_task_left, until
from tests.support.sender_records import answered, message
from tests.support.site import Site, open_site
from tests.support.worker_processes import Workers, running_workers

VALUE = bytes(250_000)
GROWTH_MIB_MAX = 200
LIMIT_S = 90.0


@pytest.fixture
async def site(database_url: str, kafka_bootstrap: str, prefix: str) -> AsyncIterator[Site]:
    async with no_task_left(), open_site(database_url, kafka_bootstrap, prefix) as opened:
        yield opened


# 2,400 of them once took the generator from 202 to 1,220 MiB, and the issuer from 81 to 1,290.
async def put_bomb(site: Site, topic: str, records: int, key: bytes = b"p") -> None:
    """Publish 250,000 zeros so many times in one batch."""
    batch = site.producer.create_batch()
    batch.append(timestamp=None, key=b"p", value=b"", headers=[])
    batch.close()
    batch._buffer = bytearray(gzip_bomb(records, VALUE, key))
    batch._relative_offset = records
    assert len(batch._buffer) < 1_000_000
    await (await site.producer.send_batch(batch, site.prefix + topic, partition=0))


def peak_mib(workers: Workers, name: str) -> float:
    status = Path(f"/proc/{workers.pid(name)}/status").read_text().splitlines()
    [line] = [line for line in status if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


async def test_the_generator_does_not_grow(site: Site, tmp_path: Path) -> None:
    env = {**site.environment("generator"), "CODEWELL_SWEEP_INTERVAL_S": "3600"}
    first, second, third = [await site.program(name, **AUTOMATIC) for name in ("FIRST", "SECOND", "THIRD")]
    profile = {"profile_id": "p-1", "fields": {"a": "b"}}

    async def is_kept() -> bool:
        return bool(await site.database.fetchval("SELECT count(*) FROM profile WHERE profile_id = 'p-1'"))

    async with running_workers(tmp_path, env, "generator-1") as workers:
        await tell_changed(site, first)
        await until_full(site, first)
        before = peak_mib(workers, "generator-1")
        for topic in ("profile-changed", "pool-demand", "program-changed"):
            await put_bomb(site, topic, 2_400 if topic == "profile-changed" else 400)
        await tell_demand(site, second)
        await until_full(site, second)
        await tell_changed(site, third)
        await until_full(site, third)
        await site.put("profile-changed", json.dumps(profile).encode(), (), b"p-1")
        await until(is_kept, "profile after the batch", LIMIT_S)
        await until_committed(site, "profile-changed", "codewell-profiles")
        after = peak_mib(workers, "generator-1")
        assert workers.deaths == []
    assert after - before < GROWTH_MIB_MAX, f"{before:.0f} MiB before, {after:.0f} MiB after"


async def test_the_issuer_does_not_grow(site: Site, tmp_path: Path) -> None:
    await site.program("A", 10)
    request, later = message("p-1", "A"), message("p-2", "A")
    async with running_workers(tmp_path, site.environment("issuer"), "issuer-1") as workers:
        await site.publish([request], 0)
        await site.came("message-render.reply", 1)
        before = peak_mib(workers, "issuer-1")
        await put_bomb(site, "message-render.retry", 1_200)
        await site.put("message-render.retry", later.value, later.headers, later.key)
        await until_committed(site, "message-render.retry", "codewell-issuer-retry")
        after = peak_mib(workers, "issuer-1")
        assert workers.deaths == []
    answered([request, later], await site.came("message-render.reply", 2))
    assert len(await site.came("message-render.dlq", 1_200)) == 1_200
    assert after - before < GROWTH_MIB_MAX, f"{before:.0f} MiB before, {after:.0f} MiB after"
