"""Another region takes over: an asynchronous standby and mirrored topics, each as far as it came.

The mirror writes to topics of another prefix of the same Kafka, as a mirroring tool writes to another cluster.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from services.standalone.postgres_data import binaries
from tests.support import consumer_groups
from tests.support.replaced_database import PROGRAM, Site, cluster, fetch, issuer
from tests.support.running import until
from tests.support.servers import IN_CONTAINERS

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(IN_CONTAINERS, reason="it needs two clusters, and the programs of the wheel"),
]
MIRRORED = ("message-render", "message-render.reply")


@asynccontextmanager
async def mirror(bootstrap: str, prefix: str, other_prefix: str) -> AsyncIterator[None]:
    """Copy every record to the topics of the other prefix, on the same partition, while the block runs."""
    source = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    target = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await asyncio.gather(source.start(), target.start())
    source.assign(await consumer_groups.partitions(bootstrap, [prefix + name for name in MIRRORED]))

    async def copy() -> None:
        async for record in source:
            topic = other_prefix + record.topic.removeprefix(prefix)
            await target.send_and_wait(
                topic, record.value, record.key, record.partition, record.timestamp, list(record.headers)
            )

    copying = asyncio.create_task(copy())
    try:
        yield
        await until(lambda: level(bootstrap, prefix, other_prefix), "the mirror on a level with its source")
    finally:
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)
        await asyncio.gather(source.stop(), target.stop())


async def level(bootstrap: str, prefix: str, other_prefix: str) -> bool:
    ends = await consumer_groups.end_offsets(bootstrap, [prefix + name for name in MIRRORED])
    others = await consumer_groups.end_offsets(bootstrap, [other_prefix + name for name in MIRRORED])
    return all(
        others[TopicPartition(other_prefix + tp.topic.removeprefix(prefix), tp.partition)] == end
        for tp, end in ends.items()
    )


async def copy_cluster(url: str, here: Path, there: Path) -> None:
    """Make an asynchronous standby of the server in `here`; starting it is left."""
    there.mkdir(parents=True)
    copying = await asyncio.create_subprocess_exec(
        binaries() / "pg_basebackup", "-R", "-c", "fast", "-D", there / "data", "-d", url
    )
    assert await copying.wait() == 0
    shutil.copy(here / "password", there / "password")
    owner = here.stat()
    for path in (there, *there.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


async def test_another_region_goes_on_and_loses_only_what_had_not_come_over(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    tmp_path.chmod(0o711)
    site = Site(tmp_path, kafka_bootstrap, "fail-over.md")
    east, west = site.variables["CODEWELL_TOPIC_PREFIX"], f"west-{site.variables['CODEWELL_TOPIC_PREFIX']}"
    async with cluster(tmp_path / "east") as url:
        site.variables["CODEWELL_POSTGRES_URL"] = url
        for words in (("migrate",), ("topics",), PROGRAM, ("code", "generate", "SPRING", "300")):
            (await site.run(*words)).is_done()
        site.variables["CODEWELL_TOPIC_PREFIX"] = west
        (await site.run("topics")).is_done()
        site.variables["CODEWELL_TOPIC_PREFIX"] = east
        await copy_cluster(url, tmp_path / "east" / "postgres", tmp_path / "west" / "postgres")
        async with cluster(tmp_path / "west") as standby, issuer(site, url):
            async with mirror(kafka_bootstrap, east, west):
                given = await site.send("both", 60)
                await until(lambda: has(standby, 60), "the standby on a level with its primary")
                await fetch(standby, "ALTER SYSTEM SET primary_conninfo = ''")
                await fetch(standby, "SELECT pg_reload_conf()")
                await until(lambda: is_alone(standby), "the standby without its primary")
                given |= await site.send("mirrored", 30)
            lost = await site.send("lost", 10)
    # The east is gone.
    site.variables["CODEWELL_TOPIC_PREFIX"] = west
    async with cluster(tmp_path / "west") as standby:
        site.variables["CODEWELL_POSTGRES_URL"] = standby
        assert await fetch(standby, "SELECT pg_promote()")
        assert await fetch(standby, "SELECT count(*) FROM answer") == 60
        said = await site.run("reconcile", "--repair")
        assert said.status == 0
        assert "90 answers in Kafka: repaired 30 of 30 differences." in said.out
        async with issuer(site, standby):
            more = await site.send("west", 120)
        assert len(more) == 120
        assert not more.keys() & given.keys()
        # What came over in neither way may be given again: at most as many codes as answers were lost.
        assert len(more.keys() & lost.keys()) <= len(lost)
        assert await fetch(standby, "SELECT count(*) FROM answer") == 210
        assert (await site.run("audit", "--json")).is_done().objects[0]["clean"]


async def has(url: str, answers: int) -> bool:
    return bool(await fetch(url, f"SELECT count(*) = {answers} FROM answer"))


async def is_alone(url: str) -> bool:
    return bool(await fetch(url, "SELECT count(*) = 0 FROM pg_stat_wal_receiver"))
