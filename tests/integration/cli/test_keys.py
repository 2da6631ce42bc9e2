"""`codewell keys` says with which master key keys are wrapped, and wraps them with another."""

import os
from base64 import b64encode
from pathlib import Path

from codewell.infra.postgres.connection import Connection
from codewell.keys.master_keys import key_id_of
from codewell.pool.minter_cache import Minters
from tests.support.command_result import Said
from tests.support.commands import environment
from tests.support.factories import program
from tests.support.in_process import codewell


async def test_keys_are_wrapped_for_the_first_time_and_with_another_one(
    connection: Connection, database_url: str, tmp_path: Path
) -> None:
    first, second = os.urandom(32), os.urandom(32)
    texts = {one: b64encode(one).decode() for one in (first, second)}

    async def run(*words: str, **more: str) -> Said:
        given = {"CODEWELL_POSTGRES_URL": database_url, "CODEWELL_KAFKA_BOOTSTRAP": "127.0.0.1:1", **more}
        return await codewell("keys", *words, env=environment(**given), cwd=tmp_path)

    assert (await run("status")).is_done().out == "No keys are stored yet.\n"
    await program(connection, Minters(None), "A")
    (await run("rotate")).is_refused("Set CODEWELL_MASTER_KEY")
    assert "plain" in (await run("status")).is_done().out
    said = (await run("rotate", CODEWELL_MASTER_KEY=texts[first])).is_done().out
    assert said == "Encrypted 1 key with the new master key: no other master key is needed any more.\n"
    (await run("rotate", CODEWELL_MASTER_KEY=texts[second])).is_refused(key_id_of(first).hex(), "CODEWELL_MASTER_KEY")
    both = {"CODEWELL_MASTER_KEY": texts[second], "CODEWELL_MASTER_KEY_PREVIOUS": texts[first]}
    assert (await run("rotate", "--json", **both)).is_done().objects == [{"rotated": 1}]
    assert (await run("rotate", "--json", **both)).is_done().objects == [{"rotated": 0}]
    [shown] = (await run("status", "--json", CODEWELL_MASTER_KEY=texts[first])).is_done().objects
    assert shown == {
        "keys_of": "programs", "number": 1, "master_key": key_id_of(second).hex(), "is_given": False,
        "is_newest": False,
    }  # fmt: skip
