"""No rotation of the master key locks out a worker that runs."""

import os
from base64 import b64encode
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from codewell.audit.audit_log import Actor
from codewell.errors import SettingsInvalid
from codewell.keys import announcements
from codewell.keys.master_keys import MasterKeys, key_id_of
from codewell.keys.rotation import rotate
from tests.integration.console.test_api import console
from tests.integration.issuer.conftest import site
from tests.support.running import until
from tests.support.site import Site

__all__ = ["site"]

OLD, NEW = os.urandom(32), os.urandom(32)
WHO = Actor("command", "anna@host")


def as_text(key: bytes) -> str:
    return b64encode(key).decode()


def start(site: Site, service: str, **given: object) -> AbstractAsyncContextManager[Any]:
    if service == "console":
        return console(site, **given)
    return site.issuer(**given) if service == "issuer" else site.generator(**given)


async def until_connected(site: Site, service: str) -> None:
    async def connected() -> bool:
        query = """SELECT count(*) > 0 FROM pg_stat_activity
                   WHERE application_name = $1 AND datname = current_database()"""
        return bool(await site.database.fetchval(query, f"codewell-{service}"))

    await until(connected, "connection of the worker")


@pytest.mark.parametrize("service", ["issuer", "generator", "console"])
async def test_a_rotation_is_refused_while_a_worker_lacks_the_key(
    site: Site, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    monkeypatch.setattr(announcements, "_PAUSE_S", 0.1)
    keys = MasterKeys(NEW, OLD)
    stored = "SELECT key_wrapped FROM template_version"
    async with start(site, service, master_key=as_text(OLD)):
        await site.program("SPRING", 1)
        await until_connected(site, service)
        with pytest.raises(
            SettingsInvalid, match=f"codewell-{service} runs without .* {key_id_of(NEW).hex()}: restart"
        ):
            await rotate(site.database, keys, WHO, lambda _: None)
        assert not await site.database.fetchval(stored)
    async with start(site, service, master_key=as_text(OLD), master_key_previous=as_text(NEW)):
        await until_connected(site, service)
        assert await rotate(site.database, keys, WHO, lambda _: None) == 1
    assert await site.database.fetchval(stored)
