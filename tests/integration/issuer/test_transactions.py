"""Requests that senders write in Kafka transactions: only what is committed gets codes."""

import asyncio

import pytest

from codewell.infra.kafka import lag
from services.issuer import prefetcher
from tests.integration.infra.test_lag import told
from tests.support.client_faults import until_committed
from tests.support.running import until
from tests.support.sender_records import answered, messages
from tests.support.site import Site
from tests.support.transactions import transactional_producer, write


async def test_only_committed_requests_are_answered(site: Site) -> None:
    await site.program("A", 100)
    aborted, committed = messages(10, "A"), messages(10, "A")
    async with site.issuer(), transactional_producer(site) as sender:
        await sender.begin_transaction()
        await write(site, sender, aborted, 0)
        await sender.abort_transaction()
        await sender.begin_transaction()
        await write(site, sender, committed, 0)
        await sender.commit_transaction()
        await site.came("message-render.reply", len(committed))
        # The last record of the partition is the transaction's marker, which no consumer is given.
        await until_committed(site)
    answered(committed, await site.all_of("message-render.reply"))
    assert (await site.stock("A")).attached == len(committed)


async def test_an_open_transaction_holds_its_partition_only(site: Site) -> None:
    await site.program("A", 100)
    held, behind, elsewhere = messages(1, "A"), messages(1, "A"), messages(1, "A")
    async with site.issuer(), transactional_producer(site) as sender:
        await sender.begin_transaction()
        await write(site, sender, held, 0)
        await site.publish(behind, 0)
        await site.publish(elsewhere, 1)
        answered(elsewhere, await site.came("message-render.reply", 1))
        await sender.commit_transaction()
        answered([*elsewhere, *held, *behind], await site.came("message-render.reply", 3))


@pytest.mark.parametrize("ends", ["committed", "aborted"])
async def test_an_idle_issuer_has_no_lag_after_a_transaction(
    site: Site, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """The alert of requests without answers takes the lag: a marker that counts would fire it on an idle system."""
    monkeypatch.setattr(lag, "POLL_INTERVAL_S", 0.05)
    monkeypatch.setattr(prefetcher, "POLL_TIMEOUT_S", 0.1)
    await site.program("A", 100)
    async with site.issuer(), transactional_producer(site) as sender:
        await sender.begin_transaction()
        await write(site, sender, messages(3, "A"), 0)
        if ends == "aborted":
            await sender.abort_transaction()
        else:
            await sender.commit_transaction()
            await site.came("message-render.reply", 3)
        await until_committed(site)

        async def no_lag() -> bool:
            figures = told(site.prefix)
            return bool(figures) and not any(figures.values())

        await until(no_lag, "lag of 0 in all partitions")
        # An open transaction is no backlog either.
        await sender.begin_transaction()
        await write(site, sender, messages(2, "A"), 0)
        for _ in range(5):
            await asyncio.sleep(lag.POLL_INTERVAL_S)
            assert await no_lag()
        await sender.abort_transaction()
