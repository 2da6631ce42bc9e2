"""Search by the beginning of a code's text: imported, returned and minted codes, whichever way finds the latter."""

from typing import Any

import pytest

from codewell.codes import lifecycle, prefix_search
from codewell.codes.prefix_search import SEARCH_START, SearchPlace, search
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from tests.support.factories import OFF, message, program
from tests.support.stock import list_block


async def found(codes: ProgramCodes, prefix: str, limit: int) -> list[str]:
    texts: list[str] = []
    after: SearchPlace | None = SEARCH_START
    while after is not None:
        page = await search(codes, prefix, after, limit)
        assert len(page.codes) <= limit
        assert page.next is None or page.next > after
        texts += [one.code for one in page.codes]
        after = page.next
    return texts


async def everything(codes: ProgramCodes) -> list[str]:
    from codewell.codes.listing import page
    from codewell.codes.lookup import START

    return [one.code for one in (await page(codes, START, 1_000)).codes]


@pytest.mark.parametrize("template", ["{[ABC] 2}-{number 1}{check}{number 1}", "{[ABC] 2}-{number 2}{check}"])
async def test_codes_with_a_check_character_are_found_by_both_ways(
    connection: Connection, minters: Minters, template: str
) -> None:
    source: dict[str, Any] = {"source": {"kind": "template", "template": template}, "codes_max": 300}
    spring = await program(connection, minters, **source, **OFF)
    await generate(connection, minters, spring.id, 200, None)
    codes = ProgramCodes(connection, minters, spring.id)
    texts = await everything(codes)

    # A short prefix has more completions than there are codes, a long one fewer.
    for prefix in ("", "A", "AB-", texts[0][:4], texts[0][:5], texts[0][:-1], texts[0]):
        assert sorted(await found(codes, prefix, 7)) == sorted(text for text in texts if text.startswith(prefix))


@pytest.mark.parametrize("limit", [1, 3, 1_000])
@pytest.mark.parametrize(("run", "examined_max"), [(1, 1), (7, 20), (5_000, 100_000)])
async def test_all_codes_that_begin_so_are_found_once(
    connection: Connection, claims: Claims, minters: Minters, monkeypatch: pytest.MonkeyPatch, limit: int, run: int,
    examined_max: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(prefix_search, "_RUN", run)
    monkeypatch.setattr(prefix_search, "EXAMINED_MAX", examined_max)
    source: dict[str, Any] = {"source": {"kind": "template", "template": "{[ABC] 2}-{number 2}"}, "codes_max": 300}
    spring = await program(connection, minters, **source, **OFF)
    await generate(connection, minters, spring.id, 40, None)
    await list_block(connection, spring.id, ["AB-EXTRA", "AB", "ab-12", "AÄ-1", "B%_", "ZZ"])
    changed = {"source": {"kind": "template", "template": "{[ABCD] 2}-{number 2}"}}
    await programs.update(connection, minters, "SPRING", changed, 10)
    await generate(connection, minters, spring.id, 60, None)
    codes = ProgramCodes(connection, minters, spring.id)
    claimed = await claims.attach([message("SPRING", profile_id=f"p-{number}") for number in range(8)])
    for rows in list(claimed.rows.values())[::2]:
        await lifecycle.detach(codes, rows[0].code or "")
    texts = await everything(codes)
    assert len(texts) == len(set(texts)) == 106
    for prefix in ("A", "AB", "AB-", "AB-1", "AB-12", "a", "AÄ", "B%", "B_", "D", "E", "ZZZ", "AB-123", texts[0]):
        wanted = sorted(text for text in texts if text.startswith(prefix))
        assert sorted(await found(codes, prefix, limit)) == wanted


async def test_a_page_of_a_billion_codes_examines_a_limited_number(connection: Connection, minters: Minters) -> None:
    source: dict[str, Any] = {"source": {"kind": "template", "template": "{upstring 10}"}, "codes_max": 2 * 10**9}
    spring = await program(connection, minters, **source, **OFF)
    await generate(connection, minters, spring.id, 10**9, None)
    codes = ProgramCodes(connection, minters, spring.id)
    [one] = [(await minters.texts(connection, spring.id, 1, 999_999_999, 1))[0]]
    assert one in await found(codes, one[:8], 100)
    page = await search(codes, "A", SEARCH_START, 10)
    assert len(page.codes) == 10
    assert page.next is not None


async def test_the_index_of_texts_is_used(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters, **OFF)
    await list_block(connection, spring.id, [f"T-{number}" for number in range(5_000)])
    await connection.execute("ANALYZE code")
    plan = await connection.fetch(f"EXPLAIN {prefix_search._LISTED}", spring.id, "T-12", "T-12\U0010ffff", "", 10)
    text = "\n".join(line[0] for line in plan)
    assert "code_once" in text
    assert "Seq Scan on code " not in text
