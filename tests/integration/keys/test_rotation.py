"""A master key is replaced while services run, and no code changes by it."""

import asyncio
import os
from base64 import b64encode
from typing import Any

import asyncpg
import pytest

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.errors import SettingsInvalid, StackUnavailable
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.keys import rotation
from codewell.keys.master_keys import MasterKeys, key_id_of
from codewell.keys.rotation import rotate, status
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.remote import signing_secrets
from codewell.webhooks import endpoints, secrets
from schemas.webhooks import NewWebhook
from services.console.main import serve
from services.console.settings import ConsoleSettings
from services.generator.main import run_generator
from services.generator.settings import GeneratorSettings
from services.issuer.main import run_issuer
from services.issuer.settings import IssuerSettings
from tests.support.factories import message, program
from tests.support.remote_programs import remote
from tests.support.servers import as_role
from tests.support.stock import codes

OLD, NEW = os.urandom(24), os.urandom(32)
BOTH = MasterKeys(NEW, OLD)
WHO = Actor("command", "anna@host")
# Minted from this key and template for ever.
GOLDEN_KEY = bytes(range(32))
GOLDEN = ["GPGD-976089", "HNBL-275982", "YEQF-747839", "AYGK-149466", "JOKL-497182"]


def nothing(_: int) -> None:
    pass


async def stored_ways(connection: Connection) -> dict[str, int]:
    """Programs whose keys are stored in every way that there is, and their ids."""
    plain = await program(connection, Minters(None), "PLAIN")
    old = await program(connection, Minters(OLD), "OLD")
    unnoted = await program(connection, Minters(OLD), "UNNOTED")
    await connection.execute("UPDATE template_version SET key_id = NULL WHERE program_id = $1", unnoted.id)
    new = await program(connection, Minters(NEW), "NEW")
    distant = await remote(connection, Minters(OLD), "DISTANT")
    hook = NewWebhook.model_validate({"target": "https://shop.example.com/hooks"})
    await endpoints.create(connection, MasterKeys(OLD), hook)
    chat = NewWebhook.model_validate({"kind": "slack", "target": "https://hooks.slack.com/services/T0/B0/x"})
    await endpoints.create(connection, MasterKeys(OLD), chat)
    return {one.name: one.id for one in (plain, old, unnoted, new, distant)}


async def all_of(connection: Connection, minters: Minters, ids: dict[str, int]) -> dict[str, list[object]]:
    """What all of these keys say: the texts of numbers, and the secrets of a remote service."""
    said: dict[str, list[object]] = {
        name: list((await minters.get(connection, id_, 1)).mint(0, 50))
        for name, id_ in ids.items()
        if name != "DISTANT"
    }
    hooks = [row["id"] for row in await connection.fetch("SELECT id FROM webhook_endpoint ORDER BY id")]
    stored = await secrets.active(connection, hooks)
    said["HOOKS"] = [minters.keys.unwrap(one) for hook in stored.values() for one in hook]
    said["DISTANT"] = list(await signing_secrets.active_secrets(connection, minters, ids["DISTANT"]))
    return said


async def test_all_keys_go_over_to_the_new_one_and_all_codes_stay_the_same(connection: Connection) -> None:
    ids = await stored_ways(connection)
    before = await all_of(connection, Minters(NEW, OLD), ids)
    assert {(one.keys_of, one.number, one.master_key, one.is_newest) for one in await status(connection, BOTH)} == {
        ("programs", 1, "plain", False),
        ("programs", 1, key_id_of(OLD).hex(), False),
        ("programs", 1, "unknown", False),
        ("programs", 1, key_id_of(NEW).hex(), True),
        ("remote services", 1, key_id_of(OLD).hex(), False),
        ("webhooks", 2, key_id_of(OLD).hex(), False),
    }

    assert await rotate(connection, BOTH, WHO, nothing) == 6
    assert await rotate(connection, BOTH, WHO, nothing) == 0

    # The old one is needed no more.
    assert await all_of(connection, Minters(NEW), ids) == before
    assert [one.is_newest for one in await status(connection, MasterKeys(NEW))] == [True] * 3
    with pytest.raises(StackUnavailable):
        await Minters(OLD).get(connection, ids["PLAIN"], 1)
    [entry] = await audit_log.page(connection, 10)
    assert (entry.verb, entry.actor) == ("key.rotate", WHO.actor)
    assert entry.details == {"programs": 3, "remote_services": 1, "webhooks": 2}


async def test_the_texts_of_a_key_are_for_ever(connection: Connection) -> None:
    spring = await program(connection, Minters(None))
    await connection.execute("UPDATE template_version SET key = $1", GOLDEN_KEY)
    assert (await Minters(None).get(connection, spring.id, 1)).mint(0, 5) == GOLDEN
    for keys in ((OLD,), (NEW, OLD)):
        await rotate(connection, MasterKeys(*keys), WHO, nothing)
        assert (await Minters(*keys).get(connection, spring.id, 1)).mint(0, 5) == GOLDEN
    assert await connection.fetchval("SELECT key FROM template_version") != GOLDEN_KEY


async def test_it_may_be_killed_and_run_again(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "BATCH_KEYS_MAX", 2)
    ids = await stored_ways(connection)
    before = await all_of(connection, Minters(NEW, OLD), ids)

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rotate(connection, BOTH, WHO, killed)
    assert await all_of(connection, Minters(NEW, OLD), ids) == before
    assert await rotate(connection, BOTH, WHO, nothing) == 1
    assert await all_of(connection, Minters(NEW), ids) == before


async def test_services_go_on_meanwhile(
    connection: Connection, connections: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BATCH_KEYS_MAX", 3)
    names = [f"P{number}" for number in range(12)]
    ids = [(await program(connection, Minters(OLD), name)).id for name in names]
    rotating = asyncio.create_task(rotate(connection, BOTH, WHO, nothing))
    given: list[str | None] = []
    while not rotating.done() or len(given) < 100:
        # A worker that has just started knows no key yet.
        minters = Minters(NEW, OLD)
        requests = [message(name) for name in names]
        given += codes((await Claims(connections, minters).attach(requests)).rows, requests)
        async with connections.acquire() as own:
            await fill.top_up(own, minters, ids[len(given) % len(ids)])
    assert await rotating == len(names)
    rows = await connection.fetch("SELECT program_id, code FROM answer")
    assert len(rows) == len(set(rows)) == len(given)


async def test_a_row_that_somebody_has_locked_is_waited_for_without_holding_others(
    connection: Connection, connections: Pool
) -> None:
    ids = [(await program(connection, Minters(OLD), name)).id for name in ("A", "B", "C")]
    async with connections.acquire() as holder:
        held = holder.transaction()
        await held.start()
        await holder.execute("UPDATE template_version SET next_number = 0 WHERE program_id = $1", ids[1])
        done: list[int] = []
        rotating = asyncio.create_task(rotate(connection, BOTH, WHO, done.append))
        async with asyncio.timeout(10):
            while done != [2]:
                await asyncio.sleep(0.01)
        await holder.execute("UPDATE template_version SET next_number = 0")
        await held.commit()
    assert await rotating == 3


async def test_without_the_right_keys_nothing_is_changed(connection: Connection) -> None:
    await stored_ways(connection)
    before = await connection.fetch("SELECT * FROM template_version ORDER BY program_id")
    with pytest.raises(SettingsInvalid, match="Set CODEWELL_MASTER_KEY to"):
        await rotate(connection, MasterKeys(), WHO, nothing)
    with pytest.raises(
        SettingsInvalid, match=f"encrypted with the master key of id {key_id_of(OLD).hex()}, but CODEWELL_MAS"
    ):
        await rotate(connection, MasterKeys(NEW), WHO, nothing)
    assert await connection.fetch("SELECT * FROM template_version ORDER BY program_id") == before


async def test_an_id_stands_beside_a_wrapped_key_alone(connection: Connection) -> None:
    await program(connection, Minters(None))
    await remote(connection, Minters(None), "DISTANT")
    for table in ("template_version", "remote_secret"):
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(f"UPDATE {table} SET key_id = '12345678'")


@pytest.mark.parametrize("service", ["issuer", "generator", "console"])
@pytest.mark.parametrize("given", [None, NEW], ids=["none", "new"])
async def test_a_service_without_the_right_key_ends_at_its_start_and_says_what_to_set(
    connection: Connection, database_url: str, service: str, given: bytes | None
) -> None:
    await program(connection, Minters(OLD))
    settings: dict[str, Any] = {
        "postgres_url": as_role(database_url, service),
        "kafka_bootstrap": "127.0.0.1:1",
        "health_port": -1,
        "master_key": given and b64encode(given).decode(),
    }
    starts = {
        "issuer": lambda: run_issuer(IssuerSettings(**settings), asyncio.Event()),
        "generator": lambda: run_generator(GeneratorSettings(**settings), asyncio.Event()),
        "console": lambda: serve(ConsoleSettings(**settings), asyncio.Event()),
    }
    with pytest.raises(SettingsInvalid, match=f"the master key of id {key_id_of(OLD).hex()}.*: (set|add) "):
        await starts[service]()


async def test_a_wrong_key_for_secrets_alone_is_told_at_the_start_too(
    connection: Connection, database_url: str
) -> None:
    await remote(connection, Minters(OLD), "DISTANT")
    url = as_role(database_url, "generator")
    settings: dict[str, Any] = {"postgres_url": url, "kafka_bootstrap": "127.0.0.1:1", "health_port": -1}
    with pytest.raises(SettingsInvalid, match="set CODEWELL_MASTER_KEY"):
        await run_generator(GeneratorSettings(**settings), asyncio.Event())
