import os
from contextlib import suppress

import pytest

from codewell.errors import StackUnavailable
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.keys.master_keys import key_id_of
from codewell.minting.template import Template
from codewell.pool import minter_cache as module
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from tests.support.factories import TEMPLATE, message, program
from tests.support.stock import codes


@pytest.mark.parametrize("size", [16, 24, 32])
async def test_a_key_is_wrapped_in_the_database_and_its_codes_are_the_same(
    connection: Connection, connections: Pool, size: int
) -> None:
    master_key = os.urandom(size)
    spring = await program(connection, Minters(master_key))
    stored = await connection.fetchrow("SELECT key, key_wrapped FROM template_version")
    assert (len(stored["key"]), stored["key_wrapped"]) == (40, True)

    first = (await Minters(master_key).get(connection, spring.id, 1)).mint(0, 10)
    second = (await Minters(master_key).get(connection, spring.id, 1)).mint(0, 10)
    await generate(connection, Minters(None), spring.id, 10, None)
    requests = [message("SPRING") for _ in range(10)]
    claimed = await Claims(connections, Minters(master_key)).attach(requests)

    assert first == second
    assert set(codes(claimed.rows, requests)) == set(first)


async def test_without_a_master_key_a_key_is_stored_as_it_is(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters)
    stored = await connection.fetchrow("SELECT key, key_wrapped FROM template_version")
    assert (len(stored["key"]), stored["key_wrapped"]) == (32, False)

    # Who sets a master key later can still read what is there.
    later = await Minters(os.urandom(32)).get(connection, spring.id, 1)

    assert later.mint(0, 5) == (await minters.get(connection, spring.id, 1)).mint(0, 5)


async def test_no_two_programs_share_a_key(connection: Connection, minters: Minters) -> None:
    made = [await program(connection, minters, name) for name in ("A", "B")]

    texts = [(await minters.get(connection, one.id, 1)).mint(0, 20) for one in made]

    assert not set(texts[0]) & set(texts[1])


async def test_a_wrong_or_a_missing_master_key_is_one_sentence(connection: Connection, connections: Pool) -> None:
    right, given = os.urandom(32), os.urandom(32)
    spring = await program(connection, Minters(right))
    await generate(connection, Minters(None), spring.id, 10, None)

    with pytest.raises(StackUnavailable) as wrong:
        await Minters(given).get(connection, spring.id, 1)
    with pytest.raises(StackUnavailable) as missing:
        await Minters(None).get(connection, spring.id, 1)
    with pytest.raises(StackUnavailable):
        await Claims(connections, Minters(None)).attach([message("SPRING")])

    needed = f"The database's keys are encrypted with the master key of id {key_id_of(right).hex()}"
    assert str(wrong.value) == (
        f"{needed}, but CODEWELL_MASTER_KEY and CODEWELL_MASTER_KEY_PREVIOUS hold {key_id_of(given).hex()}: "
        "add the missing key to one of them."
    )
    assert str(missing.value) == f"{needed}: set CODEWELL_MASTER_KEY to it."
    assert await connection.fetchval("SELECT count(*) FROM answer") == 0


async def test_what_this_version_can_not_mint_is_one_sentence(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters)
    await connection.execute("UPDATE template_version SET algorithm = 2")

    for version in (1, 2):
        with pytest.raises(StackUnavailable) as raised:
            await minters.get(connection, spring.id, version)
        assert str(raised.value) == (
            f"Template version {version} of program {spring.id} is not supported by this version of codewell: "
            "install the version that created it."
        )


async def test_the_longest_unused_minter_is_forgotten_and_comes_back(
    connection: Connection, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MINTERS_MAX", 2)
    ids = [(await program(connection, minters, name)).id for name in ("A", "B", "C")]
    first, second = [await minters.get(connection, program_id, 1) for program_id in ids[:2]]
    assert await minters.get(connection, ids[0], 1) is first

    await minters.get(connection, ids[2], 1)

    assert await minters.get(connection, ids[0], 1) is first
    again = await minters.get(connection, ids[1], 1)
    assert again is not second
    assert again.mint(0, 5) == second.mint(0, 5)
    assert again.template == Template.parse(TEMPLATE)


async def test_there_are_never_too_many_minters_though_one_of_those_wanted_is_of_no_use(
    connection: Connection, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MINTERS_MAX", 2)
    keys = [((await program(connection, minters, name)).id, 1) for name in ("A", "B", "C", "D")]
    await connection.execute("UPDATE template_version SET algorithm = 2 WHERE program_id = $1", keys[3][0])

    with pytest.raises(StackUnavailable):
        await minters.load(connection, keys)
    await connection.execute("DELETE FROM template_version")

    kept = 0
    for program_id, version in keys:
        with suppress(StackUnavailable):
            await minters.get(connection, program_id, version)
            kept += 1
    assert kept == 2


async def test_texts_are_those_of_their_numbers_however_they_are_asked_for(
    connection: Connection, minters: Minters
) -> None:
    spring = await program(
        connection, minters, source={"kind": "template", "template": "{number 2}"}, codes_max=100, pool_max=100
    )
    all_texts = (await minters.get(connection, spring.id, 1)).mint(0, 100)

    for first, count in [(0, 3), (3, 5), (1, 2), (0, 64), (60, 8), (63, 1), (64, 36), (62, 2), (98, 2), (99, 1)]:
        texts = await minters.texts(connection, spring.id, 1, first, count)
        assert list(texts) == all_texts[first : first + count]
    with pytest.raises(ValueError, match="There are no 2 numbers from 99 on"):
        await minters.texts(connection, spring.id, 1, 99, 2)


async def test_few_texts_at_a_time_are_minted_many_at_once(
    connection: Connection, minters: Minters, monkeypatch: pytest.MonkeyPatch
) -> None:
    spring = await program(connection, minters)
    minter = await minters.get(connection, spring.id, 1)
    minted: list[list[str]] = []
    mint = minter.mint

    def counted(first: int, count: int) -> list[str]:
        minted.append(mint(first, count))
        return minted[-1]

    monkeypatch.setattr(minter, "mint", counted)

    for number in range(0, 512, 2):
        await minters.texts(connection, spring.id, 1, number, 2)

    assert len(minted) == 2
