"""Programs that change: what was made stays valid, and nothing is changed that could not have been created."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from codewell.audit.promises import audit
from codewell.codes import lifecycle
from codewell.codes.lookup import find
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused, TemplateInvalid
from codewell.infra.postgres.connection import Connection, Pool
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate, needy_programs, top_up
from codewell.pool.minter_cache import Minters
from codewell.programs import overview, programs
from tests.support.factories import OFF, TEMPLATE, message, program, settings
from tests.support.stock import codes, list_block, reasons, stop_in_the_middle, until_waiting

GUESSES_PER_S = 10.0
LONGER = "{upstring 4}-{number 7}"


def template(text: str) -> dict[str, Any]:
    return {"source": {"kind": "template", "template": text}}


async def test_what_is_not_named_stays_as_it_is(connection: Connection, minters: Minters) -> None:
    before = await program(
        connection, minters, title="Spring", groups=("a", "b"), ttl="P30D", fields=[{"name": "x", "required": True}]
    )

    changed = await programs.update(
        connection, minters, "SPRING", {"title": "Sale", "groups": ["c"], "pool_max": 50}, GUESSES_PER_S
    )

    assert changed == before.model_copy(update={"title": "Sale", "groups": ("c",), "pool_max": 50})
    assert await programs.get(connection, "SPRING") == changed
    assert await connection.fetchval("SELECT count(*) FROM template_version") == 1


async def test_every_setting_but_the_name_can_change(connection: Connection, minters: Minters) -> None:
    await program(connection, minters)
    everything = settings(
        title="T", description="D", groups=("g",), active=False, valid_from=datetime(2026, 1, 1, tzinfo=UTC),
        valid_until=datetime(2027, 1, 1, tzinfo=UTC), shared=True, codes_max=500, pool_max=20, ttl=timedelta(days=3),
        ttl_from="attachment", fields=[{"name": "discount", "save": False}], reuse="profile",
        **template("{safe 20}"), **OFF, allow_guessable=False,
    )  # fmt: skip

    changed = await programs.update(connection, minters, "SPRING", everything.model_dump(mode="json"), GUESSES_PER_S)

    assert changed.settings == dict(everything)
    assert await programs.get(connection, "SPRING") == changed


async def test_null_gives_a_setting_its_default_again(connection: Connection, minters: Minters) -> None:
    await program(connection, minters, ttl="P1D", valid_until="2030-01-01T00:00:00Z", title="T", pool_max=7)

    cleared = {"ttl": None, "valid_until": None, "title": None, "pool_max": None}
    changed = await programs.update(connection, minters, "SPRING", cleared, GUESSES_PER_S)

    assert (changed.ttl, changed.valid_until, changed.title, changed.pool_max) == (None, None, "", 10_000)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        (
            {"name": "OTHER"},
            ProgramRefused,
            "The short name of SPRING cannot change: clone",
        ),
        ({"codes_max": 59, "pool_max": 9}, ProgramRefused, "SPRING has had 60 codes: set its maximum to at least"),
        ({"pool_max": 10_001}, ValidationError, "pool_max must not be more than codes_max"),
        ({"valid_from": "2027-01-01T00:00:00Z", "valid_until": "2026-01-01T00:00:00Z"}, ValidationError, "be before"),
        ({"colour": "red"}, ValidationError, "colour"),
        ({"codes_max": None}, ValidationError, "codes_max"),
        (template("{numbr 4}"), TemplateInvalid, '"{numbr 4}" is unknown'),
        (template("{number 3}"), TemplateInvalid, "1,000 unused texts left for up to 9,940 more codes"),
        ({"codes_max": 2**61}, TemplateInvalid, "unused texts left"),
        ({"allow_guessable": False}, TemplateInvalid, "can be guessed"),
        (template("+{number 12}"), TemplateInvalid, "Spreadsheets run codes that begin with +"),
        ({"source": {"kind": "magic"}}, ValidationError, "source"),
    ],
)
async def test_what_could_not_be_created_is_refused_whole(
    connection: Connection, minters: Minters, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    before = await program(connection, minters)
    await generate(connection, minters, before.id, 60, None)

    with pytest.raises(error, match=says):
        await programs.update(connection, minters, "SPRING", {"title": "Changed", **changes}, GUESSES_PER_S)

    assert await programs.get(connection, "SPRING") == before
    assert await connection.fetchval("SELECT max(version) FROM template_version") == 1


async def test_codes_of_an_old_template_stay_valid_and_can_be_found(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=20, pool_max=20, **OFF)
    await generate(connection, minters, spring.id, 10, None)
    await claims.attach([message("SPRING", profile_id=f"p-{n}") for n in range(3)])

    await programs.update(connection, minters, "SPRING", template(LONGER), GUESSES_PER_S)
    await generate(connection, minters, spring.id, 10, None)
    # Enough for the old ones that are left in the pool, and for new ones.
    requests = [message("SPRING", profile_id=f"q-{n}") for n in range(17)]
    given = codes((await claims.attach(requests)).rows, requests)

    assert sorted(len(code or "") for code in given) == [11] * 7 + [12] * 10
    old, new = await minters.get(connection, spring.id, 1), await minters.get(connection, spring.id, 2)
    for text in [*old.mint(0, 10), *new.mint(0, 10)]:
        fact = await find(ProgramCodes(connection, minters, spring.id), text)
        assert fact is not None
        assert (fact.code, fact.state) == (text, "attached")
    assert await audit(connection) == []


async def test_a_template_that_comes_back_has_a_new_key(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters)
    for text in (LONGER, TEMPLATE):
        await programs.update(connection, minters, "SPRING", template(text), GUESSES_PER_S)

    keys = await connection.fetch("SELECT key FROM template_version ORDER BY version")
    texts = [(await minters.get(connection, spring.id, version)).mint(0, 5) for version in (1, 3)]
    assert len({row["key"] for row in keys}) == 3
    assert texts[0] != texts[1]


async def test_an_update_and_who_makes_codes_take_turns(
    connection: Connection, connections: Pool, bystander: Connection, minters: Minters
) -> None:
    spring = await program(connection, minters, codes_max=100, **OFF)
    lower = {"codes_max": 50, "pool_max": 10}
    async with connections.acquire() as one:
        async with bystander.transaction():
            await generate(bystander, minters, spring.id, 60, None)
            updating = asyncio.create_task(programs.update(one, minters, "SPRING", lower, GUESSES_PER_S))
            await until_waiting(connection)
        with pytest.raises(ProgramRefused, match="has had 60 codes"):
            await updating
    assert await audit(connection) == []


async def test_a_code_that_everybody_has_stays_everybodys(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, shared=True, **OFF)
    await generate(connection, minters, spring.id, 10, None)
    for shared in (False, True):
        await programs.update(connection, minters, "SPRING", {"shared": shared}, GUESSES_PER_S)
    requests = [message("SPRING", profile_id=f"p-{n}") for n in range(3)]
    code = codes((await claims.attach(requests)).rows, requests)[0]

    with pytest.raises(ProgramRefused, match="SPRING has attached its shared code: clone the program"):
        await programs.update(connection, minters, "SPRING", {"shared": False}, GUESSES_PER_S)
    # As if it had been given while the setting changed.
    await connection.execute("UPDATE program SET shared = false")
    with pytest.raises(ProgramRefused, match="share"):
        await lifecycle.detach(ProgramCodes(connection, minters, spring.id), code or "")


async def test_a_shared_code_that_is_being_given_stays_everybodys(
    connection: Connection, connections: Pool, bystander: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, shared=True, **OFF)
    await generate(connection, minters, spring.id, 1, None)
    requests = [message("SPRING", profile_id=f"p-{n}") for n in range(3)]
    stopped = await stop_in_the_middle(bystander, requests[-1])
    giving = asyncio.create_task(claims.attach(requests))
    await until_waiting(connection)
    async with connections.acquire() as one:
        updating = asyncio.create_task(programs.update(one, minters, "SPRING", {"shared": False}, GUESSES_PER_S))
        await until_waiting(connection, 2)
        await stopped.rollback()
        with pytest.raises(ProgramRefused, match="SPRING has attached its shared code: clone the program"):
            await updating

    assert len((await giving).rows) == 3
    assert (await programs.get(connection, "SPRING")).shared
    assert await audit(connection) == []


async def test_a_clone_has_the_settings_and_nothing_else(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, title="Spring", groups=("a",), ttl="P30D", reuse="step")
    await generate(connection, minters, spring.id, 10, None)
    await programs.remove(connection, "SPRING")

    summer = await programs.clone(connection, minters, "SPRING", "SUMMER", GUESSES_PER_S)

    assert summer == spring.model_copy(update={"id": summer.id, "name": "SUMMER", "active": False})
    assert (await overview.stock(connection, "SUMMER")).made == 0
    assert (await minters.get(connection, summer.id, 1)).mint(0, 5) != (
        await minters.get(connection, spring.id, 1)
    ).mint(0, 5)
    with pytest.raises(ProgramRefused, match="The short name SUMMER is taken"):
        await programs.clone(connection, minters, "SPRING", "SUMMER", GUESSES_PER_S)
    with pytest.raises(ValidationError):
        await programs.clone(connection, minters, "SPRING", "A B", GUESSES_PER_S)
    with pytest.raises(ProgramRefused, match="There is no program NOPE"):
        await programs.clone(connection, minters, "NOPE", "AUTUMN", GUESSES_PER_S)


async def test_switched_off_nothing_is_given_or_made_and_on_again_it_is(
    connection: Connection, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters)
    await claims.attach([message("SPRING")])

    assert (await programs.set_active(connection, "SPRING", False)).active is False
    refused = message("SPRING")
    assert '"program_inactive"' in reasons((await claims.attach([refused])).rows[refused.id])
    assert await needy_programs(connection) == []

    assert (await programs.set_active(connection, "SPRING", True)).active is True
    given = message("SPRING")
    assert codes((await claims.attach([given])).rows, [given]) != [None]
    assert (await programs.get(connection, "SPRING")) == spring
    assert await audit(connection) == []


async def test_a_removed_program_is_on_record_only(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters)
    await program(connection, minters, "OTHER")
    request = message("SPRING")
    [code] = codes((await claims.attach([request])).rows, [request])
    await programs.remove(connection, "SPRING")

    late = message("SPRING")
    assert '"program_inactive"' in reasons((await claims.attach([late])).rows[late.id])
    assert [one.program.name for one in await overview.overview(connection)] == ["OTHER"]
    assert (await programs.get(connection, "SPRING")).active is False
    fact = await find(ProgramCodes(connection, minters, spring.id), code or "")
    assert fact is not None
    assert fact.state == "attached"
    assert (await overview.stock(connection, "SPRING")).attached == 1
    for refused in (
        programs.remove(connection, "SPRING"),
        programs.set_active(connection, "SPRING", True),
        programs.update(connection, minters, "SPRING", {"title": "Back"}, GUESSES_PER_S),
    ):
        with pytest.raises(ProgramRefused, match="SPRING was removed and cannot be changed: clone it"):
            await refused
    with pytest.raises(ProgramRefused, match="The short name SPRING is taken, perhaps by a removed program"):
        await program(connection, minters)
    assert await audit(connection) == []


async def test_a_program_that_may_create_from_now_on_is_filled(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    assert await needy_programs(connection) == []

    await programs.update(connection, minters, "SPRING", {"campaign_can_create": True}, GUESSES_PER_S)

    assert await needy_programs(connection) == [spring.id]
    filled = await top_up(connection, minters, spring.id)
    assert filled is not None
    assert filled.made == spring.pool_max
    assert await audit(connection) == []


async def test_imported_codes_count_for_the_room_of_a_new_template(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, codes_max=100, **OFF)
    await list_block(connection, spring.id, [f"{n:02}" for n in range(30)])
    await generate(connection, minters, spring.id, 20, None)

    await programs.update(connection, minters, "SPRING", template("{number 2}"), GUESSES_PER_S)
    await generate(connection, minters, spring.id, 50, None)

    assert (await overview.stock(connection, "SPRING")).pooled == 100
    with pytest.raises(TemplateInvalid, match="has 20 unused texts left for up to 21 more codes"):
        await programs.update(connection, minters, "SPRING", {"codes_max": 121}, GUESSES_PER_S)
