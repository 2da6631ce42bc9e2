"""How far the groups are behind, as the broker says."""

from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.group_lag import read_lags
from schemas.usage import Lags
from tests.support.running import until
from tests.support.sender_records import message
from tests.support.site import Site, open_site


async def test_lag_is_what_a_group_has_not_committed_yet(database_url: str, kafka_bootstrap: str, prefix: str) -> None:
    async with open_site(database_url, kafka_bootstrap, prefix) as site:
        await site.program("SPRING", 10)
        await site.publish([message("p-1", "SPRING"), message("p-2", "SPRING")])

        before = await lags(site, kafka_bootstrap)
        assert of_topics(before)["message-render"] == ("codewell-issuer", 2)
        assert len(before.lags) == 10
        async with site.issuer():

            async def is_done() -> bool:
                return of_topics(await lags(site, kafka_bootstrap))["message-render"][1] == 0

            await until(is_done, "commit")
        await site.publish([message("p-3", "SPRING")])
        assert of_topics(await lags(site, kafka_bootstrap))["message-render"] == ("codewell-issuer", 1)
        assert set(before.dead_letters.values()) == {0}


async def lags(site: Site, bootstrap: str) -> Lags:
    return await read_lags(KafkaConfig.parse(bootstrap), site.prefix)


def of_topics(found: Lags) -> dict[str, tuple[str, int]]:
    prefix = found.lags[0].topic.partition(".")[0] + "."
    return {one.topic.removeprefix(prefix): (one.group.removeprefix(prefix), one.lag) for one in found.lags}
