"""Every client names its service and its instance, so that quotas and the broker's tools can tell them apart."""

import os
import platform

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError

from codewell.infra.kafka.config import KafkaConfig
from tests.integration.issuer.conftest import site
from tests.support.running import until
from tests.support.site import Site

__all__ = ["site"]


def names(service: str) -> set[str]:
    return {f"codewell-{service}-{platform.node()}-{os.getpid()}"}


async def members(site: Site, group: str) -> set[str]:
    """The client ids of a group's members; none while the broker elects the group's coordinator."""
    try:
        [answer] = await site.admin.describe_consumer_groups([site.prefix + group])
    except GroupCoordinatorNotAvailableError:
        return set()
    [(_, _, state, _, _, found, *_)] = answer.groups
    return {member[1] for member in found} if state == "Stable" else set()


@pytest.mark.parametrize("group", ["codewell-issuer", "codewell-issuer-retry"])
async def test_an_issuer(site: Site, group: str) -> None:
    async def has_joined() -> bool:
        return await members(site, group) == names("issuer")

    async with site.issuer():
        await until(has_joined, "member of the group")


# Faust's member too.
@pytest.mark.parametrize("group", ["codewell-generator", "codewell-profiles"])
async def test_a_generator(site: Site, group: str) -> None:
    async def has_joined() -> bool:
        return await members(site, group) == names("generator")

    async with site.generator():
        await until(has_joined, "member of the group")


async def test_commands_and_senders(site: Site) -> None:
    assert {KafkaConfig(site.bootstrap, service="console").client_options()["client_id"]} == names("console")
    assert {KafkaConfig.parse(site.bootstrap).client_options()["client_id"]} == names("client")
