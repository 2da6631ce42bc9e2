"""Codes as people look at them, page by page and one by one."""

from datetime import timedelta

import pytest

from codewell.codes import place_lookup, possible_texts
from codewell.codes.listing import CodePage, page
from codewell.codes.lookup import START, CodeFacts, CodePlace, find
from codewell.codes.program_codes import ProgramCodes
from codewell.codes.typed import meant_all
from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.minting.template import Template
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.reservations import reservations
from schemas.reservations import ReservationRequest
from tests.support.factories import OFF, TEMPLATE, message, program
from tests.support.stock import delete_codes, list_block


async def pages(connection: Connection, minters: Minters, program_id: int, limit: int) -> list[list[CodeFacts]]:
    found = [await page(ProgramCodes(connection, minters, program_id), START, limit)]
    while found[-1].next is not None:
        found.append(await page(ProgramCodes(connection, minters, program_id), found[-1].next, limit))
    return [one.codes for one in found]


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 7, 22, 23, 100])
async def test_pages_follow_each_other_through_all_blocks(connection: Connection, minters: Minters, limit: int) -> None:
    spring = await program(connection, minters)
    other = await program(connection, minters, "OTHER")
    await generate(connection, minters, spring.id, 4, None)
    await generate(connection, minters, other.id, 4, None)
    await list_block(connection, spring.id, [f"LISTED-{n}" for n in range(7)])
    await generate(connection, minters, spring.id, 1, None)
    await generate(connection, minters, spring.id, 10, None)

    found = await pages(connection, minters, spring.id, limit)

    facts = [one for some in found for one in some]
    assert all(len(some) == limit for some in found[:-1])
    assert len(facts) == len({one.code for one in facts}) == 22
    assert [one.place for one in facts] == sorted(one.place for one in facts)
    assert [one.code for one in facts][15:] == [f"LISTED-{n}" for n in range(7)]
    minted = [one.code for one in facts if not one.code.startswith("LISTED")]
    assert minted == (await minters.get(connection, spring.id, 1)).mint(0, 15)


async def test_a_program_without_codes_has_an_empty_page(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters)

    assert await page(ProgramCodes(connection, minters, spring.id), START, 10) == CodePage([], None)
    assert await page(ProgramCodes(connection, minters, 4_711), START, 10) == CodePage([], None)


async def test_a_page_says_what_became_of_each_code(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, ttl="P1D", **OFF)
    await generate(connection, minters, spring.id, 6, '{"discount": "10"}')
    await claims.attach([message("SPRING", profile_id=f"p-{n}") for n in range(3)])
    await connection.execute("INSERT INTO code_state (block_id, position, activated_at) VALUES (1, 1, now())")
    await delete_codes(connection, 1, [4])
    await connection.execute("UPDATE answer SET expires_at = now() WHERE position = 2")
    await list_block(connection, spring.id, ["DEAD"], lives=timedelta(seconds=-1))

    facts = (await page(ProgramCodes(connection, minters, spring.id), START, 100)).codes

    states = ["attached", "activated", "expired", "pooled", "deleted", "pooled", "expired"]
    assert [one.state for one in facts] == states
    assert [one.profile_id is not None for one in facts] == [True] * 3 + [False] * 4
    assert [one.attached_at is not None for one in facts] == [True] * 3 + [False] * 4
    assert all(one.expires_at is not None for one in facts)
    assert {one.fields for one in facts[:6]} == {'{"discount": "10"}'}
    assert facts[6].code == "DEAD"


async def test_a_code_is_found_with_what_was_given(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, ttl="P1D", ttl_from="attachment", reuse="profile", **OFF)
    for _ in range(3):
        await generate(connection, minters, spring.id, 5, None)
    requests = [message("SPRING", profile_id=f"p-{n}") for n in range(12)]
    claimed = await claims.attach([*requests, message("SPRING", profile_id="p-0")])

    for request in requests:
        [row] = claimed.rows[request.id]
        fact = await find(ProgramCodes(connection, minters, spring.id), row.code or "")
        assert fact is not None
        assert (fact.code, fact.state, fact.profile_id) == (row.code, "attached", row.profile_id)
        assert fact.expires_at == row.expires_at

    minter = await minters.get(connection, spring.id, 1)
    pooled = await find(ProgramCodes(connection, minters, spring.id), minter.mint(14, 1)[0])
    made_at = await connection.fetchval("SELECT max(created_at) FROM block")
    assert pooled == CodeFacts(
        minter.mint(14, 1)[0], "pooled", None, None, None, None, None, CodePlace(0, 1, 14), made_at
    )


async def test_a_code_of_a_list_is_found(connection: Connection, claims: Claims, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    texts = ["A/B", "🎁", "{x}"]
    block_id = await list_block(connection, spring.id, texts, fields='{"discount": "5"}')
    await claims.attach([message("SPRING")])

    facts = [await find(ProgramCodes(connection, minters, spring.id), text) for text in texts]

    assert [fact and (fact.code, fact.state, fact.fields, fact.place) for fact in facts] == [
        (text, "attached" if position == 0 else "pooled", '{"discount": "5"}', CodePlace(1, block_id, position))
        for position, text in enumerate(texts)
    ]


async def test_what_a_program_never_made_is_not_found(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters)
    other = await program(connection, minters, "OTHER")
    await generate(connection, minters, spring.id, 10, None)
    await generate(connection, minters, other.id, 10, None)
    await list_block(connection, other.id, ["LISTED"])
    mine = await minters.get(connection, spring.id, 1)
    theirs = await minters.get(connection, other.id, 1)

    not_minted_yet = mine.mint(10, 1)[0]
    assert Template.parse(TEMPLATE).fits(not_minted_yet)
    foreign = [text for text in theirs.mint(0, 10) if (mine.find_numbers([text])[0] or 0) >= 10]
    for text in [not_minted_yet, *foreign, "LISTED", "", "nonsense", "'; --", "🎁", mine.mint(0, 1)[0].lower()]:
        assert await find(ProgramCodes(connection, minters, spring.id), text) is None, text
    assert await find(ProgramCodes(connection, minters, other.id), "LISTED") is not None


async def test_a_code_with_outer_spaces_comes_before_the_one_without(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters)
    # As templates could be earlier.
    await connection.execute("UPDATE template_version SET template = 'AB-{upstring 4} '")
    minters = Minters(None)
    await generate(connection, minters, spring.id, 2, None)
    spaced, alone = (await minters.get(connection, spring.id, 1)).mint(0, 2)
    await list_block(connection, spring.id, [spaced.strip(), "PLAIN"])
    codes = ProgramCodes(connection, minters, spring.id)

    given = [spaced, spaced.strip(), f" {spaced}", alone, alone.strip(), f"  {alone}", "PLAIN", "\tPLAIN\n", " NONE "]
    assert [meant.text for one in given for meant in await meant_all(codes, [one])] == [
        spaced, spaced.strip(), spaced.strip(), alone, alone.strip(), alone.strip(), "PLAIN", "PLAIN", "NONE"
    ]  # fmt: skip


async def test_a_returned_code_is_looked_up_in_its_list(connection: Connection, minters: Minters) -> None:
    """Its text is a number's too; where it is now is the list."""
    spring = await program(connection, minters)
    await generate(connection, minters, spring.id, 10, None)
    text = (await minters.get(connection, spring.id, 1)).mint(3, 1)[0]
    block_id = await list_block(connection, spring.id, [text])

    found = await find(ProgramCodes(connection, minters, spring.id), text)

    assert found is not None
    assert found.place == CodePlace(1, block_id, 0)


async def test_unknown_texts_are_told_apart_in_a_program_of_the_largest_maximum(
    connection: Connection, minters: Minters
) -> None:
    source = {"kind": "template", "template": "{[AB] 62}"}
    spring = await program(connection, minters, source=source, codes_max=2**62, pool_max=10)
    await generate(connection, minters, spring.id, 1, None)

    bounds = await possible_texts.limits(ProgramCodes(connection, minters, spring.id))

    assert bounds is not None
    assert bounds.exclude_all(["AB", (await minters.get(connection, spring.id, 1)).mint(0, 1)[0]]) == [True, False]


async def test_a_place_in_a_list_finds_its_code_after_reservations_have_split_it(
    connection: Connection, minters: Minters
) -> None:
    spring = await program(connection, minters, source={"kind": "import"}, **OFF)
    block_id = await list_block(connection, spring.id, [f"C-{number}" for number in range(10)])
    codes = ProgramCodes(connection, minters, spring.id)
    places = {CodePlace(1, block_id, number): f"C-{number}" for number in range(10)}
    until = await connection.fetchval("SELECT now() + interval '1 h'")
    for count in (4, 3):
        wanted = ReservationRequest(campaign_id=f"spring {count}", count=count, until=until)
        await reservations.reserve(connection, minters, spring.id, wanted)
        # Those of parts as well, as these are split by the next one.
        for place, text in list(places.items()):
            found = await place_lookup.find(codes, place)
            assert found is not None
            assert found.code == text
            places[found.place] = text

    assert await place_lookup.find(codes, CodePlace(1, block_id, 10)) is None
    assert await place_lookup.find(codes, CodePlace(1, block_id + 100, 0)) is None
