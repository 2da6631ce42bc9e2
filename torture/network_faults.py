"""Network faults between workers and servers: broken, silent and slow connections."""

import asyncio
from dataclasses import replace
from typing import Any, Final

from torture.moment import Moment
from torture.proxy import Proxy
from torture.site import Site

_COMMIT: Final = b"COMMIT"
_LIMIT_S: Final = 20.0
_POLL_S: Final = 0.005


async def commit_answers_lost(site: Site, moment: Moment) -> None:
    enough = site.postgres.answers_lost + moment.times
    _change(site.postgres, lose_answer_to=_COMMIT)
    try:
        async with asyncio.timeout(_LIMIT_S):
            while site.postgres.answers_lost < enough:
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        pass
    finally:
        _change(site.postgres, lose_answer_to=None)


async def connections_reset(site: Site, moment: Moment) -> None:
    for _ in range(moment.times):
        moment.chance.choice((site.postgres, site.kafka)).reset()
        await asyncio.sleep(moment.chance.uniform(0.1, 0.5))


async def connections_refused(site: Site, moment: Moment) -> None:
    proxy = moment.chance.choice((site.postgres, site.kafka))
    await proxy.refuse()
    await asyncio.sleep(moment.lasts_s)
    await proxy.open()


async def partition(site: Site, moment: Moment) -> None:
    """Drops all bytes in one direction or both."""
    proxy = moment.chance.choice((site.postgres, site.kafka))
    to_server, to_client = moment.chance.choice(((False, False), (True, False), (False, True)))
    _change(proxy, to_server=to_server, to_client=to_client)
    try:
        await asyncio.sleep(moment.lasts_s)
    finally:
        _change(proxy, to_server=True, to_client=True)


async def slow_network(site: Site, moment: Moment) -> None:
    """Adds about 100 ms to each round trip and limits the rate to 3 Mbit/s."""
    for proxy in (site.postgres, site.kafka):
        _change(proxy, delay_s=0.04, jitter_s=0.02, bytes_per_s=3e6 / 8)
    await asyncio.sleep(moment.lasts_s)
    for proxy in (site.postgres, site.kafka):
        _change(proxy, delay_s=0.0, jitter_s=0.0, bytes_per_s=None)


def _change(proxy: Proxy, **changed: Any) -> None:
    proxy.becomes(replace(proxy.weather, **changed))
